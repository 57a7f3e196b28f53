"""What a limit adds to a request: a token of a bucket that all workers share, or one of a lease from Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from fastmesh.config.plan import LimitPlan, Origin, SharedPlan
from fastmesh.core.route.limit_probe import Limited

REQUEST = b"GET /a HTTP/1.1\r\nhost: shop\r\nuser-agent: bench\r\naccept: */*\r\nx-user: ann\r\n\r\n"
HERE = Origin(kind="RateLimit", namespace="default", name="bench")


def cases() -> Iterator[tuple[str, Callable[[int], object]]]:
    for name, more in (
        ("local", {}),
        ("local, by a header", {"keys": [("header", "x-user")]}),
        ("local, of two conditions", {"traits": [("target", "", "is", "/a"), ("header", "x-user", "present", "")]}),
        ("global, with a lease", {"shared": SharedPlan(domain="bench", lease=1_000_000, credit=1_000_000)}),
    ):
        plan = LimitPlan(name=name, origin=HERE, requests=4_000_000_000, period=1000, burst=4_000_000_000, **more)  # type: ignore[arg-type]
        yield name, Limited(msgspec.msgpack.decode(msgspec.msgpack.encode(plan)), REQUEST).admit
