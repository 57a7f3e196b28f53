"""Fault injection of an http rule: delays and aborts.

https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPFaultInjection
"""

from __future__ import annotations

from fastmesh.config.check.report import At
from fastmesh.config.check.shared import check_duration, check_percent
from fastmesh.config.read.shape import closest
from fastmesh.model.virtual_service import FaultAbort, FaultDelay, HTTPFaultInjection

GRPC_STATUSES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip


def check_fault(fault: HTTPFaultInjection, at: At) -> None:
    if fault.delay is None and fault.abort is None:
        at.error("does nothing, add one of delay, abort")
    if fault.delay is not None:
        _check_delay(fault.delay, at["delay"])
    if fault.abort is not None:
        _check_abort(fault.abort, at["abort"])


def _check_delay(delay: FaultDelay, at: At) -> None:
    check_percent(delay.percentage, at["percentage"])
    if not 0 <= delay.percent <= 100:
        at["percent"].error(f"{delay.percent} is not a percentage, write percentage: {{value: 0 to 100}}")
    elif delay.percent:
        at["percent"].advice(f"is deprecated, write percentage: {{value: {delay.percent}}}", "IST0002")
    check_duration(delay.fixed_delay, at["fixedDelay"])
    if delay.exponential_delay is not None:
        at["exponentialDelay"].error("is not supported by Istio, write fixedDelay")
    elif delay.fixed_delay is None:
        at.advice("has no length and delays nothing, add fixedDelay")
    if delay.percentage is None and not delay.percent:
        at.advice("has no percentage and so delays nobody, add percentage: {value: 100}")


def _check_abort(abort: FaultAbort, at: At) -> None:
    check_percent(abort.percentage, at["percentage"])
    if abort.http_status is not None and (abort.grpc_status or abort.http2_error):
        at.error("has several kinds of error, keep one of httpStatus, grpcStatus")
    if abort.http2_error:
        at["http2Error"].error("is not supported by Istio, write httpStatus or grpcStatus")
    elif abort.grpc_status:
        if abort.grpc_status not in GRPC_STATUSES:
            guess = closest(abort.grpc_status, GRPC_STATUSES) or ", write a name such as UNAVAILABLE"
            at["grpcStatus"].error(f"{abort.grpc_status} is not a gRPC status{guess}")
    elif abort.http_status is None:
        at.advice("has no error and aborts nothing, add httpStatus")
    elif not 200 <= abort.http_status <= 600:
        at["httpStatus"].error(f"{abort.http_status} is not a status to answer with, write 200 to 599")
    if abort.percentage is None:
        at.advice("has no percentage and so aborts nobody, add percentage: {value: 100}")
