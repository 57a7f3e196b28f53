"""`fastmesh capacity`: what services in series and in parallel can do, and which is overloaded at what rate."""

from __future__ import annotations

import click
import msgspec

from fastmesh.cli import capacity_model
from fastmesh.cli.capacity_live import live
from fastmesh.cli.options import Duration
from fastmesh.config.store import read
from fastmesh.errors import EXIT_DATA, EXIT_ISSUES, EXIT_OK, FastmeshError


class NoModelError(FastmeshError):
    exit_code = EXIT_DATA


@click.command(short_help="Say which service is overloaded at what rate.")
@click.option("-f", "--file", "files", multiple=True, metavar="PATH", help="Files with a CapacityModel (repeatable).")
@click.option("--live", "urls", multiple=True, metavar="URL", help="The admin interface of a proxy (repeatable).")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Requests a second to ask about.")
@click.option("--entry", default="", help="With --live: count requests for this service as those of users.")
@click.option(
    "--interval", type=Duration(), default="5s", show_default=True, help="With --live: measure for this; 0: all so far."
)
@click.option(
    "--concurrency", type=click.FloatRange(min=0, min_open=True), default=1, show_default=True,
    help="With --live: requests that an instance works on at a time.",
)  # fmt: skip
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def capacity(
    files: tuple[str, ...],
    urls: tuple[str, ...],
    rate: float | None,
    entry: str,
    interval: int,
    concurrency: float,
    output: str,
) -> int:
    """Capacity of services: instances in parallel add up, stages in series take the sum of their times.

    Ends with 0, with 79 when something is overloaded at the rate asked about, with 65 when a file is wrong, and with 69
    when a proxy does not answer.
    """
    if bool(files) == bool(urls):
        raise click.UsageError("write one of -f PATH and --live URL")
    found = [live(urls, interval / 1000, concurrency, entry, rate)] if urls else _of_files(files, rate)
    if output == "json":
        shown = [msgspec.to_builtins(each) for each in found]
        click.echo(msgspec.json.format(msgspec.json.encode({"capacities": shown}), indent=2).decode())
    else:
        click.echo("\n\n".join("\n".join(capacity_model.text(each)) for each in found))
    return EXIT_ISSUES if any(each.overloaded for each in found) else EXIT_OK


def _of_files(files: tuple[str, ...], rate: float | None) -> list[capacity_model.Capacity]:
    result = read(files, allow_unenforced=True)
    models = result.resources.capacity_models
    if result.errors:
        raise NoModelError("\n".join(map(str, result.errors)))
    if not models:
        raise NoModelError(f"{', '.join(files)}: there is no CapacityModel here, see docs/overload.md for one")
    return [capacity_model.of_model(each.name, each.spec, rate) for each in models]
