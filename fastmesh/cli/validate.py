"""`fastmesh validate`: is this configuration right? Every mistake at once, with its place and what would be right."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click
import msgspec

from fastmesh.cli.filter_checks import filter_problems
from fastmesh.config.compile import Role, compile_plan
from fastmesh.config.store import ReadResult, read
from fastmesh.errors import EXIT_DATA, EXIT_OK, Problem
from fastmesh.filter_modules import folder_complaint

_FIELDS = ("file", "line", "kind", "namespace", "name", "field", "message")


@click.command()
@click.option("-f", "--file", "files", multiple=True, metavar="PATH", help="A file, a directory, or - for stdin.")
@click.option("--strict", is_flag=True, envvar="FASTMESH_STRICT", help="Warnings are errors.")
@click.option(
    "--allow-unenforced", is_flag=True, envvar="FASTMESH_ALLOW_UNENFORCED",
    help="Accept security objects that are not enforced yet.",
)  # fmt: skip
@click.option(
    "--per-object", is_flag=True, envvar="FASTMESH_PER_OBJECT",
    help="Say what a proxy with --per-object serves: a wrong object is left out.",
)  # fmt: skip
@click.option(
    "--mesh-config", default="", envvar="FASTMESH_MESH_CONFIG", metavar="PATH", help="A file with MeshConfig."
)
@click.option(
    "--filter-path", "folders", multiple=True, metavar="FOLDER", envvar="FASTMESH_FILTER_PATH",
    help="Look for the code of filters here, and whether it can be read; it is not run.",
)  # fmt: skip
@click.option(
    "--import-filters", is_flag=True,
    help="Run the code of filters as a worker does: modules are imported, factories are called.",
)  # fmt: skip
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.argument("more", nargs=-1, metavar="[PATH]...")
def validate(
    files: tuple[str, ...],
    more: tuple[str, ...],
    strict: bool,
    allow_unenforced: bool,
    per_object: bool,
    mesh_config: str,
    folders: tuple[str, ...],
    import_filters: bool,
    output: str,
) -> None:
    """Check configuration files. Ends with 0, or with 65 when something is refused.

    The code of filters is looked at with --filter-path and run with --import-filters only.

    Errors, warnings and notes go to standard error, a line each; with -o json the verdict goes to standard output.
    """
    paths = [*files, *more]
    if not paths and not mesh_config:
        raise click.UsageError("nothing to check, name a file or directory: -f PATH")
    if strict and per_object:
        raise click.UsageError(
            "--strict refuses the whole for a warning, --per-object nothing but one object: keep one"
        )
    if import_filters and not folders:
        raise click.UsageError("--import-filters runs what lies in a --filter-path FOLDER; name one")
    for complaint in map(folder_complaint, folders):
        if complaint:
            raise click.UsageError(f"--filter-path: {complaint}")
    result = read(
        paths, strict=strict, allow_unenforced=allow_unenforced, per_object=per_object, mesh_config=mesh_config
    )
    result = _compiled(result, per_object=per_object)
    code = filter_problems(result.resources.filters, folders, run=import_filters) if folders else []
    result.problems.extend(code)
    if output == "json":
        click.echo(as_json(result))
        _say(problem for problem in result.problems if problem.severity == "note")
    else:
        _say(iter(result.problems))
        if not result.errors:
            click.echo(f"valid: {len(result.resources)} objects in {len(result.files)} files")
            if result.resources.filters:
                click.echo(_said_of_filters(len(result.resources.filters), folders, import_filters))
        else:
            click.echo(f"{len(result.errors)} errors, {len(result.warnings)} warnings{_served(result)}", err=True)
    sys.exit(EXIT_DATA if result.errors else EXIT_OK)


def _compiled(result: ReadResult, *, per_object: bool) -> ReadResult:
    """Also what is wrong only beside other objects, as a client of the mesh would meet it."""
    while result.ok:
        _, problems = compile_plan(result.resources, Role(identity=True, intercepts=True))
        errors = [problem for problem in problems if problem.severity == "error"]
        rest = result.without(errors) if per_object and errors else None
        if rest is None:
            result.problems.extend(errors)
            break
        result = rest
    return result


def _served(result: ReadResult) -> str:
    if not result.left_out or not result.ok:
        return ""
    return f"; {len(result.resources)} objects would be served, {len(result.left_out)} left out"


def as_json(result: ReadResult) -> str:
    """`{"valid": bool, "errors": [...], "warnings": [...], "left_out": [...]}`, an object for each problem."""
    verdict = {
        "valid": not result.errors,
        "errors": [_entry(problem) for problem in result.errors],
        "warnings": [_entry(problem) for problem in result.warnings],
        "left_out": [{name: getattr(item, name) for name in _FIELDS[:5]} for item in result.left_out],
    }
    return msgspec.json.format(msgspec.json.encode(verdict), indent=2).decode()


def _said_of_filters(count: int, folders: tuple[str, ...], run: bool) -> str:
    if not folders:
        return f"{count} filters: their code was not looked at (--filter-path FOLDER)"
    done = "was imported and gave its hooks" if run else "is there and can be read; it was not run (--import-filters)"
    return f"{count} filters: their code {done}"


def _entry(problem: Problem) -> dict[str, str | int]:
    return {name: getattr(problem, name) for name in _FIELDS}


def _say(problems: Iterable[Problem]) -> None:
    for problem in problems:
        click.echo(str(problem), err=True)
