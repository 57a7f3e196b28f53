"""Why the proxy cannot start or go on, with the exit code that says so."""

from __future__ import annotations

from fastmesh.errors import EXIT_DATA

INTERRUPTED = 130  # a second SIGINT


class StartError(Exception):
    """The start ends here: each line of `lines` is printed, then the process exits with `code`."""

    def __init__(self, code: int, *lines: str) -> None:
        super().__init__("; ".join(lines))
        self.code = code
        self.lines = lines


class SourcesError(Exception):
    """The sources cannot be run; `problems` has every one of them, ready to print. `code` is how a start ends."""

    def __init__(self, problems: list[str], code: int = EXIT_DATA) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
        self.code = code
