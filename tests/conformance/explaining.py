"""`fastmesh explain` in this process: files and a request in, the JSON answer out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
from click.testing import CliRunner

from fastmesh.cli.explain import explain


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    result = CliRunner().invoke(explain, list(arguments), standalone_mode=False)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.return_value or 0, result.stdout, result.stderr


def ask(files: Iterable[Path | str], *request: str) -> dict[str, Any]:
    """The answer to METHOD URL and options."""
    paths = [part for file in files for part in ("-f", str(file))]
    code, out, err = run(*paths, *request, "-o", "json")
    assert code == 0, err
    answer: dict[str, Any] = orjson.loads(out)
    return answer
