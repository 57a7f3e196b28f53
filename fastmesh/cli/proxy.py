"""`fastmesh proxy`: the settings from flags and environment, checked, handed to the master."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from fastmesh.cli.options import collect, with_options
from fastmesh.server import assemble, master
from fastmesh.server.parts import Parts
from fastmesh.server.parts import preflight as check
from fastmesh.server.settings import ProxySettings
from fastmesh.server.sockets import parse_address


def load_env_file(ctx: click.Context, param: click.Parameter, path: str | None) -> str | None:
    """KEY=VALUE lines of FASTMESH_ settings, read before the other options are. An upgrade reads the file again."""
    if path is None:
        return None
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.removeprefix("export ").partition("=")
        if not equals or not name.strip().startswith("FASTMESH_"):
            raise click.BadParameter(f"{path}:{number}: write FASTMESH_NAME=value")
        os.environ[name.strip()] = value.strip().strip("\"'")
    return path


def run_proxy(given: dict[str, Any], preflight: bool, make_parts: Callable[[ProxySettings], Parts]) -> int:
    """The whole life of a proxy, or with `preflight` everything up to the first socket."""
    settings = checked(collect(ProxySettings, given))
    parts = make_parts(settings)
    if preflight:
        return check(parts)
    return master.run(settings, parts)


def proxy_options(command: Callable[..., int]) -> Callable[..., int]:
    """All options of `fastmesh proxy`; tests make a proxy of other parts with them."""
    command = click.option("--preflight", is_flag=True, hidden=True)(command)
    command = with_options(ProxySettings)(command)
    return click.option(
        "--env-file",
        type=click.Path(exists=True, dir_okay=False),
        envvar="FASTMESH_ENV_FILE",
        show_envvar=True,
        is_eager=True,
        expose_value=False,
        callback=load_env_file,
        help="FASTMESH_NAME=value lines, stronger than the environment; read again at SIGUSR2.",
    )(command)


@click.command(short_help="Run the mesh proxy or a gateway.")
@proxy_options
def proxy(preflight: bool, **given: Any) -> int:
    """Run the mesh proxy (--listen HOST:PORT), or a gateway (--role gateway) on the ports of the Gateway objects."""
    return run_proxy(given, preflight, assemble.parts)


def checked(settings: ProxySettings) -> ProxySettings:
    """What can be said about settings without reading a file; UsageError names the flag."""
    if not settings.files:
        raise click.UsageError("give the files of the mesh: -f PATH")
    if "-" in settings.files:
        raise click.UsageError("-f -: a proxy reads its files again when it reloads, standard input cannot be")
    if settings.role == "mesh" and not settings.listen:
        raise click.UsageError("a mesh proxy needs --listen HOST:PORT (or use --role gateway)")
    if settings.role == "gateway" and settings.listen:
        raise click.UsageError(
            "a gateway listens on the ports of its Gateway objects: use --map and --bind, not --listen"
        )
    addresses = [
        ("--listen", settings.listen),
        ("--admin", settings.admin),
        *(("--status", s) for s in settings.status),
    ]
    for flag, text in addresses:
        if text and text != "off":
            _check(flag, parse_address, text)
    _check("--map", settings.port_map)
    _check("--labels", settings.label_map)
    if not 1 <= settings.worker.limits.fields <= 128:
        raise click.UsageError("--max-fields is at least 1 and at most 128")
    log = None if settings.access_log in ("off", "") else settings.access_log
    if log not in (None, "-"):
        log = str(Path(log).absolute())
    worker = msgspec.structs.replace(settings.worker, role=settings.role, access_log=log)
    return msgspec.structs.replace(settings, worker=worker)


def _check(flag: str, read: Any, *arguments: str) -> None:
    try:
        read(*arguments)
    except ValueError as error:
        raise click.UsageError(f"{flag}: {error}") from None
