"""`fastmesh demo`: the shop of the article with traffic and a live table, or checked once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

import click
import orjson
import uvloop

from fastmesh.demo.check import check as check_shop
from fastmesh.demo.live import live
from fastmesh.errors import EXIT_FAILURE, EXIT_OK

T = TypeVar("T")


@click.command(short_help="Run the shop of the article with traffic.")
@click.option("--check", is_flag=True, help="Run every scenario once, print a JSON summary, exit 1 when one failed.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="The gateway's; 0: any free one."
)
def demo(check: bool, port: int) -> int:
    """Run a shop of four services behind the mesh, send it traffic and show what happens, until Ctrl-C."""
    if not check:
        _until_told(live(port))
        return EXIT_OK
    summary = _until_told(check_shop(port))
    if summary is None:
        raise click.Abort
    click.echo(orjson.dumps(summary, option=orjson.OPT_INDENT_2))
    return EXIT_OK if not summary["failed"] else EXIT_FAILURE


def _until_told(work: Coroutine[Any, Any, T]) -> T | None:
    """Its result, or None when Ctrl-C or SIGTERM ended it; `work` ends what it started in either case."""

    async def run() -> T | None:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Once: a second Ctrl-C shall not cut the tidying up short, which has a bound of its own.
            loop.add_signal_handler(number, lambda: task.cancel() if not task.cancelling() else None)
        try:
            return await task
        except asyncio.CancelledError:
            return None

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())
