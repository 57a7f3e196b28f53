"""The shop's own CA, and a certificate for each service account, made as an operator makes them: `fastmesh cert`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from fastmesh.demo.processes import Children

NAMESPACE = "default"


def identity(account: str) -> str:
    return f"spiffe://cluster.local/ns/{NAMESPACE}/sa/{account}"


async def issue(children: Children, folder: Path, accounts: Iterable[str]) -> None:
    """A folder for each account in `folder`, for `fastmesh proxy --certs`."""
    ca = str(folder / "ca")
    await children.run("the making of the CA", ["fastmesh", "cert", "ca", "--out", ca])

    async def one(account: str) -> None:
        arguments = ["fastmesh", "cert", "issue", f"{account}.{NAMESPACE}", "--ca", ca]
        await children.run(f"the certificate of {account}", [*arguments, "--out", str(folder / account)])

    await asyncio.gather(*map(one, accounts))
