"""Retries: Istio's default and its vocabulary."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from fastmesh.config.plan import RetryPlan
from fastmesh.model.virtual_service import HTTPRetry

DEFAULT_ON = ["connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes"]
DEFAULT = RetryPlan(attempts=2, retry_on=DEFAULT_ON, written=DEFAULT_ON)
OFF = RetryPlan(attempts=0, retry_on=[])
INBOUND_ON = ["reset-before-request"]
INBOUND = RetryPlan(attempts=2, retry_on=INBOUND_ON, written=INBOUND_ON)

_STATUSES = frozenset(int(status) for status in HTTPStatus)


def retry_plan(written: HTTPRetry | None, otherwise: RetryPlan = DEFAULT) -> RetryPlan:
    """No block: the mesh's default. A block without attempts: off. An empty `retryOn`: the default list."""
    if written is None:
        return otherwise
    if written.attempts <= 0:
        return OFF
    policies, codes = _split(written.retry_on) if written.retry_on else (DEFAULT_ON, [])
    shown = [*policies, *map(str, codes)]
    if codes and "retriable-status-codes" not in policies:
        policies = [*policies, "retriable-status-codes"]
    ignore = written.retry_ignore_previous_hosts
    return RetryPlan(
        attempts=written.attempts,
        retry_on=policies,
        status_codes=codes,
        per_try_timeout=int(written.per_try_timeout) if written.per_try_timeout else None,
        backoff=int(written.backoff or 25),
        ignore_previous_hosts=True if ignore is None else ignore,
        leaves_hash=bool(ignore),
        remote_localities=bool(written.retry_remote_localities),
        written=shown,
    )


def default_retry(written: HTTPRetry | None) -> RetryPlan:
    """What holds for rules that say nothing, by the mesh's settings: a time for each try has no place there."""
    return DEFAULT if written is None else retry_plan(msgspec.structs.replace(written, per_try_timeout=None))


def inbound_retry(written: HTTPRetry | None) -> RetryPlan:
    """Towards a sidecar's own application, which is one endpoint: by default only what surely never reached it."""
    if written is None:
        return INBOUND
    found = retry_plan(HTTPRetry(attempts=written.attempts, retry_on=written.retry_on, backoff=written.backoff))
    if written.attempts > 0 and not written.retry_on:
        return msgspec.structs.replace(found, retry_on=INBOUND_ON, written=INBOUND_ON)
    return found


def _split(written: str) -> tuple[list[str], list[int]]:
    policies: list[str] = []
    codes: list[int] = []
    for word in written.split(","):
        word = word.strip()
        if word.isdecimal() and int(word) in _STATUSES:
            codes.append(int(word))
        elif word:
            policies.append(word)
    return policies, codes
