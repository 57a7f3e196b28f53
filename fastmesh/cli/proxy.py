"""`fastmesh proxy`: the settings from flags and environment, checked, handed to the master."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fastmesh.cli.options import collect, with_options
from fastmesh.cli.proxy_checks import checked
from fastmesh.server import assemble, master
from fastmesh.server.parts import Parts
from fastmesh.server.parts import preflight as check
from fastmesh.server.settings import ProxySettings


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


@click.command(short_help="Run the mesh proxy, a gateway or a sidecar.")
@proxy_options
def proxy(preflight: bool, **given: Any) -> int:
    """Run the mesh proxy (--listen HOST:PORT), a gateway (--role gateway) on the ports of the Gateway objects, or a
    sidecar (--role sidecar) before and behind one workload.
    """
    return run_proxy(given, preflight, assemble.parts)
