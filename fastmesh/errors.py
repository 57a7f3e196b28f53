"""Exit codes, and what can be wrong with a configuration.

A Problem is a value, not an exception: a reader collects them all and shows them at once. `ConfigError` carries them
over a border that can only raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

# sysexits, as istioctl uses them.
EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 64
EXIT_DATA = 65
EXIT_UNAVAILABLE = 69
EXIT_CONFIG = 78
EXIT_ISSUES = 79  # something was found, as by istioctl analyze

Severity = Literal["error", "warning", "note"]

# Why a problem was reported; programs select on this, people read the message.
Code = Literal[
    "invalid",  # refused, as Istio refuses it
    "advice",  # Istio would accept it with a warning
    "deviation",  # not the proper form, but the intent is clear and honoured
    "unserved",  # valid, but this version does not act on it
    "unenforced",  # a security object that nothing enforces
    "reference",  # names something that is not there
    "skipped",  # another project's object
    "analysis",  # objects that do not fit each other, as `analyze` finds them
]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One finding, at a place. `line` counts from 1; 0 means the file as a whole."""

    severity: Severity
    code: Code
    file: str
    line: int
    message: str
    kind: str = ""
    namespace: str = ""
    name: str = ""
    field: str = ""
    cause: str = ""  # IST0101 and its like, where Istio has a number for it; see config.analysis.causes

    def __str__(self) -> str:
        """`FILE:LINE: kind/name: field.path: message`; a warning or note says so after the place."""
        parts = [f"{self.file}:{self.line}"]
        if self.severity != "error":
            parts.append(self.severity)
        if self.kind:
            parts.append(f"{self.kind}/{self.name}" if self.name else self.kind)
        if self.field:
            parts.append(self.field)
        return ": ".join([*parts, self.message])


class FastmeshError(Exception):
    """An expected failure: the command prints it without a traceback and ends with `exit_code`."""

    exit_code = EXIT_FAILURE


class ConfigError(FastmeshError):
    """A configuration that was refused whole; `problems` holds every finding."""

    exit_code = EXIT_DATA

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems if problem.severity == "error"))
