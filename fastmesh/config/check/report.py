"""A cursor into an object under check: where we are, and how to say what is wrong there."""

from __future__ import annotations

import msgspec

from fastmesh.config.place import Path
from fastmesh.config.resource import AnyResource
from fastmesh.errors import Problem


def strictly(problems: list[Problem]) -> list[Problem]:
    """Every warning as an error, but for security objects: whoever gave --allow-unenforced has answered for those."""
    return [
        msgspec.structs.replace(problem, severity="error")
        if problem.severity == "warning" and problem.code != "unenforced"
        else problem
        for problem in problems
    ]


class At:
    """`at["http"][0].error("...")` reports at `spec.http[0]`; making a cursor costs no look-up of a line."""

    __slots__ = ("_path", "_problems", "_resource")

    def __init__(self, resource: AnyResource, problems: list[Problem], path: Path = ("spec",)) -> None:
        self._resource = resource
        self._problems = problems
        self._path = path

    def __getitem__(self, step: str | int) -> At:
        return At(self._resource, self._problems, (*self._path, step))

    def error(self, message: str) -> None:
        """Refuse the value here."""
        self._problems.append(self._resource.problem(self._path, message))

    def advice(self, message: str, cause: str = "") -> None:
        """Warn where Istio warns, or where a value is legal but surely not meant. `cause`: Istio's number of it."""
        self._problems.append(self._resource.problem(self._path, message, "warning", "advice", cause))

    def missing(self, message: str, cause: str = "IST0101") -> None:
        """Warn of a name of something that is not there."""
        self._problems.append(self._resource.problem(self._path, message, "warning", "reference", cause))

    def found(self, cause: str, message: str) -> None:
        """What an analysis found; how bad that is stands in the table of causes."""
        self._problems.append(self._resource.problem(self._path, message, "warning", "analysis", cause))

    def unserved(self, what: str = "") -> None:
        """Warn of a valid value that this version does not act on."""
        message = f"{what or 'this'} is valid but not served yet, it has no effect"
        self._problems.append(self._resource.problem(self._path, message, "warning", "unserved"))

    def idle(self, why: str) -> None:
        """Warn of a valid value that changes nothing, and say why."""
        self._problems.append(self._resource.problem(self._path, f"has no effect: {why}", "warning", "unserved"))

    def unheeded(self, path: Path, message: str) -> None:
        """Warn, in words of its own, of what this version does not act on; `path` is of the whole object."""
        self._problems.append(self._resource.problem(path, message, "warning", "unserved"))

    def elsewhere(self) -> None:
        """Note a value that is for a control plane or for a proxy that one starts: it has no meaning here."""
        message = "is for a proxy that a control plane runs and has no meaning here"
        self._problems.append(self._resource.problem(self._path, message, "note", "skipped"))

    def unenforced(self, *, allowed: bool) -> None:
        """Refuse a security object that nothing enforces, or warn of it when the user knows."""
        kind = self._resource.kind
        message = f"{kind} is not enforced yet and what it protects would be open, accept that with --allow-unenforced"
        self._problems.append(
            self._resource.problem(self._path, message, "warning" if allowed else "error", "unenforced")
        )
