"""What all kinds share: the strict struct, durations, and small types that several Istio kinds use.

Field names are snake_case here and lowerCamelCase in YAML (`rename="camel"`); the snake_case form is also
accepted when a file is read, as Istio accepts proto names. A default of `None` means "not written"; where Istio
cannot tell "not written" from zero, the default is the zero itself.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
UInt32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
UInt64 = Annotated[int, msgspec.Meta(ge=0)]

_DURATION = re.compile(r"([+-]?)((?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+\Z|[+-]?0\Z")
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_NANOSECONDS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6,
    "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip
_MILLISECOND = 10**6


class Duration(int):
    """A time span: an integer number of milliseconds, written as `5s`, `1.5h` or `100ms`.

    Istio allows whole milliseconds only (https://istio.io/latest/docs/reference/config/networking/virtual-service/);
    a lower bound of 1ms belongs to the field and is checked by `config.check`.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Duration:
        """Read the written form; ValueError says what is wrong and what would be right."""
        if not isinstance(text, str) or not _DURATION.match(text):
            raise ValueError(f"{text!r} is not a duration, write a number with a unit such as 5s, 1.5h or 100ms")
        nanoseconds = 0.0
        for number, unit in _PART.findall(text):
            nanoseconds += float(number) * _NANOSECONDS[unit]
        if text.startswith("-") and nanoseconds:
            raise ValueError(f"{text} is negative, a duration is 0s or more")
        if round(nanoseconds) % _MILLISECOND:
            raise ValueError(f"{text} is finer than a millisecond, a duration is a whole number of milliseconds")
        return cls(round(nanoseconds) // _MILLISECOND)

    def __str__(self) -> str:
        """The shortest written form in whole seconds or milliseconds."""
        milliseconds = int(self)
        return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"


class Spec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Base of Istio's messages and ours: an unknown field is an error."""


class Lenient(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of Kubernetes' own messages: fields that fastmesh does not use are passed over."""


class StringMatch(Spec, frozen=True):
    """One of exact, prefix, regex (RE2, the whole value). None of them: the presence test, where a field allows it."""

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None

    @property
    def is_presence(self) -> bool:
        """`{}`, null, or the regex `*`: the value only has to be there."""
        return (self.exact is None and self.prefix is None and self.regex is None) or self.regex == "*"


class Percent(Spec, frozen=True):
    """0 to 100, as a fraction of a hundred."""

    value: float = 0.0


class PortSelector(Spec, frozen=True):
    number: UInt32 = 0


class Port(Spec, frozen=True):
    """A port of a Gateway server or a Sidecar listener."""

    number: UInt32 = 0
    protocol: str = ""
    name: str = ""
    target_port: UInt32 = 0


class LabelSelector(Spec, frozen=True):
    """`workloadSelector.labels` of ServiceEntry and Sidecar: every label must be equal."""

    labels: dict[str, str] = {}


class MatchLabels(Spec, frozen=True):
    """`workloadSelector.matchLabels` of DestinationRule: every label must be equal."""

    match_labels: dict[str, str] = {}


class TargetReference(Spec, frozen=True):
    """`targetRef` of a policy: one object of the policy's own namespace."""

    kind: str
    name: str
    group: str = ""
    namespace: str = ""


def decode_hook(wanted: type, value: Any) -> Any:
    """msgspec's `dec_hook` for the types of this package."""
    if wanted is Duration:
        return Duration.parse(value)
    raise NotImplementedError(f"no rule to read {wanted!r}")


def encode_hook(value: Any) -> Any:
    """msgspec's `enc_hook`: the written form of the types of this package."""
    if isinstance(value, Duration):
        return str(value)
    raise NotImplementedError(f"no rule to write {type(value)!r}")
