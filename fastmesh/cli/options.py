"""Click options made from the rows of `fastmesh.server.settings`: the flag, its FASTMESH_ variable, its default, its
help.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import click
import msgspec

from fastmesh.server import units
from fastmesh.server.settings import Flag, Setting

Command = Callable[..., Any]


class Duration(click.ParamType[int]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return units.parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Size(click.ParamType[int]):
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return units.parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Row:
    """One setting: where it stands in the tree of settings, and how it is written."""

    def __init__(self, path: tuple[str, ...], kind: Any, default: Any, flag: Flag) -> None:
        self.path = path
        self.kind = kind
        self.default = default
        self.flag = flag

    @property
    def parameter(self) -> str:
        return "__".join(self.path)

    @property
    def variable(self) -> str:
        return "FASTMESH_" + self.flag.name.split("/")[0].lstrip("-").replace("-", "_").upper()


def rows(settings: type[Setting], path: tuple[str, ...] = ()) -> list[Row]:
    """The rows of a group and of the groups in it."""
    found: list[Row] = []
    hints = get_type_hints(settings, include_extras=True)
    for field in msgspec.structs.fields(settings):
        hint = hints[field.name]
        here = (*path, field.name)
        if isinstance(hint, type) and issubclass(hint, Setting):
            found += rows(hint, here)
        elif get_origin(hint) is Annotated:
            kind, flag = get_args(hint)[:2]
            default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
            found.append(Row(here, kind, default, flag))
    return found


def with_options(settings: type[Setting]) -> Callable[[Command], Command]:
    """Decorates a command with an option for each row."""

    def decorate(command: Command) -> Command:
        for row in reversed(rows(settings)):
            command = _option(row)(command)
        return command

    return decorate


def collect(settings: type[Setting], given: Mapping[str, Any]) -> Any:
    """The settings from the parameters that click hands to the command."""
    tree: dict[str, Any] = {}
    for row in rows(settings):
        place = tree
        for name in row.path[:-1]:
            place = place.setdefault(name, {})
        value = given[row.parameter]
        place[row.path[-1]] = list(value) if isinstance(value, tuple) else value
    return msgspec.convert(tree, settings)


def _option(row: Row) -> Callable[[Command], Command]:
    flag, several = row.flag, get_origin(row.kind) is list
    names = [row.parameter, *([flag.short] if flag.short else []), flag.name]
    return click.option(
        *names,
        type=_type(row),
        default=None if several else row.default,
        multiple=several,
        is_flag=row.kind is bool,
        envvar=row.variable,
        show_envvar=True,
        show_default=_show_default(row),
        metavar=flag.metavar or None,
        help=flag.help,
    )


def _type(row: Row) -> Any:
    if row.flag.unit == "duration":
        return Duration()
    if row.flag.unit == "size":
        return Size()
    kind = get_args(row.kind)[0] if get_origin(row.kind) is list else row.kind
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind))
    if get_origin(kind) in (Union, types.UnionType):
        kind = get_args(kind)[0]
    return click.IntRange(min=0) if kind is int else kind


def _show_default(row: Row) -> str | bool:
    if row.flag.unit == "duration":
        return units.show_duration(row.default)
    if row.flag.unit == "size":
        return units.show_size(row.default)
    return row.default not in ("", [], None, False)
