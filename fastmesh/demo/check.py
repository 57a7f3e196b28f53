"""`fastmesh demo --check`: every scenario once, then a summary."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import click

from fastmesh.demo.scenarios import SCENARIOS, BrokenError, Figures, Visit
from fastmesh.demo.shop import Shop, open_shop

PATIENCE = 20.0  # seconds for a scenario; the longest takes about three


async def check(port: int) -> dict[str, Any]:
    started = time.monotonic()
    async with open_shop(port, watch=False) as shop:
        click.echo(f"the shop is open at {shop.url} after {time.monotonic() - started:.1f} s", err=True)
        entries = {scenario.__name__: await _run(scenario, shop) for scenario in SCENARIOS}
    passed = sum(entry["ok"] for entry in entries.values())
    return {"scenarios": entries, "passed": passed, "failed": len(entries) - passed}


async def _run(scenario: Any, shop: Shop) -> dict[str, Any]:
    """The scenario's entry in the summary. Whatever goes wrong in it is its own failure, and the next one runs."""
    visit, figures, reason = Visit(shop), Figures(), ""
    started = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE):
            await scenario(visit, figures)
    except TimeoutError:
        reason = f"not finished after {PATIENCE:.0f} s"
    except BrokenError as error:
        reason = str(error)
    except Exception as error:
        reason = f"{error.__class__.__name__}: {error}"
    finally:
        visit.close()
    if lost := shop.children.lost:
        reason = f"{', '.join(child.name for child in lost)} ended. {reason}".rstrip()
    took = time.monotonic() - started
    click.echo(f"{'ok' if not reason else 'FAILED'}  {scenario.__name__}  {took:.1f} s  {reason}".rstrip(), err=True)
    return {"ok": not reason, **({"reason": reason} if reason else {}), **figures}
