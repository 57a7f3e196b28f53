"""Reading a part of somebody else's configuration: what is not asked for is told, nothing passed over in silence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from fastmesh.config.place import Path
from fastmesh.model.base import Duration

Tell = Callable[[Path, str], None]


class Rest:
    """A mapping under inspection. Protobuf's JSON has two spellings of a name, and both are read."""

    def __init__(self, value: Any, path: Path, tell: Tell) -> None:
        self.path = path
        self.tell = tell
        self.bad = not isinstance(value, dict)
        self._left: dict[str, tuple[str, Any]] = {}
        if self.bad:
            tell(path, "is not a mapping")
            return
        for key, entry in value.items():
            self._left[_snake(str(key))] = (str(key), entry)

    def has(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, default: Any = None) -> Any:
        return self._left.pop(name, ("", default))[1]

    def text(self, name: str, default: str = "") -> str:
        value = self._take(name, default)
        return self._wrong(name, value, "a text", default) if not isinstance(value, str) else value

    def number(self, name: str, default: int = 0) -> int:
        value = self._take(name, default)
        if isinstance(value, str) and value.isdecimal():
            return int(value)
        wrong = not isinstance(value, int) or isinstance(value, bool) or value < 0
        return self._wrong(name, value, "a whole number", default) if wrong else int(value)

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._take(name, default)
        return value if isinstance(value, bool) else self._wrong(name, value, "true or false", default)

    def duration(self, name: str) -> int:
        """Milliseconds; 0 when it is absent."""
        value = self._take(name, "0s")
        try:
            return int(Duration.parse(value))
        except ValueError as error:
            self.tell((*self.path, name), str(error))
            self.bad = True
            return 0

    def inside(self, name: str) -> Rest:
        key, value = self._left.pop(name, (name, {}))
        found = Rest(value, (*self.path, key), self.tell)
        self.bad |= found.bad
        return found

    def items(self, name: str) -> Iterator[Rest]:
        key, value = self._left.pop(name, (name, []))
        if not isinstance(value, list):
            self.tell((*self.path, key), "is not a list")
            self.bad = True
            return
        for index, item in enumerate(value):
            found = Rest(item, (*self.path, key, index), self.tell)
            self.bad |= found.bad
            yield found

    def end(self, what: str = "is not served") -> bool:
        """Whether nothing is left and all was right; what is left is told."""
        for key, _ in self._left.values():
            self.tell((*self.path, key), what)
        return not self._left and not self.bad

    def _take(self, name: str, default: Any) -> Any:
        return self._left.pop(name, ("", default))[1]

    def _wrong(self, name: str, value: Any, wanted: str, default: Any) -> Any:
        self.tell((*self.path, name), f"{value!r} is not {wanted}")
        self.bad = True
        return default


def _snake(name: str) -> str:
    return name if "." in name else re.sub(r"(?<=[a-z0-9])[A-Z]", lambda found: "_" + found[0].lower(), name)
