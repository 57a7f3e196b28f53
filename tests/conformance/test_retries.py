"""istio/istio pilot/pkg/networking/core/route/retry/retry_test.go: what a `retries` block asks for.

Whether a hash decides is the cluster's: there, retries leave the endpoint only when `leaves_hash` says so.
"""

from __future__ import annotations

from typing import Any

import pytest

from fastmesh.config.routes.retries import DEFAULT, inbound_retry, retry_plan
from fastmesh.model.base import Duration
from fastmesh.model.virtual_service import HTTPRetry

FAKE = ["some", "fake", "conditions"]

TABLE: list[tuple[str, dict[str, Any] | None, dict[str, Any]]] = [
    ("TestNilRetryShouldReturnDefault", None, {"attempts": 2, "retry_on": DEFAULT.retry_on, "status_codes": []}),
    ("TestZeroAttemptsShouldReturnNilPolicy", {"attempts": 0}, {"attempts": 0}),
    ("TestRetryWithAllFieldsSet",
     {"attempts": 2, "retry_on": "some,fake,conditions", "per_try_timeout": Duration(3000), "backoff": Duration(2000)},
     {"attempts": 2, "retry_on": FAKE, "per_try_timeout": 3000, "status_codes": [], "remote_localities": False,
      "ignore_previous_hosts": True, "backoff": 2000}),
    ("TestRetryOnWithEmptyParts", {"attempts": 2, "retry_on": "some,fake,conditions,,,"},
     {"retry_on": FAKE, "status_codes": []}),
    ("TestRetryOnWithRetriableStatusCodes", {"attempts": 2, "retry_on": "gateway-error,retriable-status-codes,503"},
     {"retry_on": ["gateway-error", "retriable-status-codes"], "status_codes": [503]}),
    ("TestRetryOnWithResetBeforeRequest", {"attempts": 2, "retry_on": "reset-before-request"},
     {"retry_on": ["reset-before-request"]}),
    ("TestRetryOnWithWhitespace", {"attempts": 2, "retry_on": " some,\t,fake ,\tconditions, ,"},
     {"retry_on": FAKE, "status_codes": []}),
    ("TestRetryOnContainingStatusCodes", {"attempts": 2, "retry_on": "some,fake,5xx,404,conditions,503"},
     {"retry_on": ["some", "fake", "5xx", "conditions", "retriable-status-codes"], "status_codes": [404, 503]}),
    ("TestRetryOnWithInvalidStatusCodesShouldAddToRetryOn", {"attempts": 2, "retry_on": "some,fake,conditions,1000"},
     {"retry_on": [*FAKE, "1000"], "status_codes": []}),
    ("TestMissingRetryOnShouldReturnDefaults", {"attempts": 2}, {"retry_on": DEFAULT.retry_on, "status_codes": []}),
    ("TestMissingPerTryTimeoutShouldReturnNil", {"attempts": 2}, {"per_try_timeout": None}),
    ("TestRetryRemoteLocalities", {"attempts": 2, "retry_remote_localities": True},
     {"retry_on": DEFAULT.retry_on, "remote_localities": True}),
    ("TestRetryPreviousHostsDefault", {"attempts": 2}, {"remote_localities": False, "ignore_previous_hosts": True}),
    ("TestRetryPreviousHostsDefaultWithHashPolicy", {"attempts": 2}, {"attempts": 2, "leaves_hash": False}),
    ("TestRetryPreviousHostsForHashPolicyWithRetryIgnorePreviousHosts",
     {"attempts": 2, "retry_ignore_previous_hosts": True}, {"ignore_previous_hosts": True, "leaves_hash": True}),
    ("TestRetryPreviousHostsDisabled", {"attempts": 2, "retry_ignore_previous_hosts": False},
     {"ignore_previous_hosts": False, "leaves_hash": False}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "written", "wanted"), TABLE, ids=[row[0] for row in TABLE])
def test_retry(name: str, written: dict[str, Any] | None, wanted: dict[str, Any]) -> None:
    plan = retry_plan(HTTPRetry(**written) if written is not None else None)
    assert {key: getattr(plan, key) for key in wanted} == wanted


# TestInboundRetry: what `defaultInboundHttpRetryPolicy` of the MeshConfig says for a sidecar's own application.
INBOUND: list[tuple[str, dict[str, Any] | None, dict[str, Any]]] = [
    ("TestNilRetryShouldReturnDefault", None, {"attempts": 2, "retry_on": ["reset-before-request"]}),
    ("TestZeroAttemptsShouldReturnNilPolicy", {"attempts": 0}, {"attempts": 0}),
    ("TestAttemptsOnlyKeepsDefaultRetryOn", {"attempts": 5}, {"attempts": 5, "retry_on": ["reset-before-request"]}),
    ("TestRetryOnAndBackoff", {"attempts": 3, "retry_on": "reset,503", "backoff": Duration(10)},
     {"attempts": 3, "retry_on": ["reset", "retriable-status-codes"], "status_codes": [503], "backoff": 10}),
    ("TestIrrelevantFieldsAreIgnored",
     {"attempts": 2, "per_try_timeout": Duration(3000), "retry_remote_localities": True,
      "retry_ignore_previous_hosts": True},
     {"per_try_timeout": None, "remote_localities": False, "leaves_hash": False}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "written", "wanted"), INBOUND, ids=[row[0] for row in INBOUND])
def test_inbound_retry(name: str, written: dict[str, Any] | None, wanted: dict[str, Any]) -> None:
    plan = inbound_retry(HTTPRetry(**written) if written is not None else None)
    assert {key: getattr(plan, key) for key in wanted} == wanted
