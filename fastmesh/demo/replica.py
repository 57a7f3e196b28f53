"""One replica as a process: `python -m fastmesh.demo.replica SERVICE NAME VERSION DESCRIPTOR [MESH]`.

It serves on the bound socket that it inherits, and ends at SIGTERM or when its standard input is closed: whoever
started it is gone then.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys

import uvloop

from fastmesh.demo import calls
from fastmesh.demo.serve import serve
from fastmesh.demo.services import make, stock

READY = "replica ready"


async def run(service: str, name: str, version: str, descriptor: str, mesh: str = "") -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(0, stop.set)  # nobody writes to it: readable means closed
    sock = socket.socket(fileno=int(descriptor))

    def ready() -> None:
        print(READY, file=sys.stderr, flush=True)

    if service == "stock":
        await calls.serve(stock(name), name, sock, stop, ready)
    else:
        await serve(make(service, name, version, mesh), sock, stop, ready)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(*sys.argv[1:]))
