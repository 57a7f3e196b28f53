"""Words that several parts of a plan use."""

from __future__ import annotations

from typing import Literal

import msgspec


class PlanPart(msgspec.Struct, kw_only=True, frozen=True):
    """Base of every part of a plan."""


class Origin(PlanPart, frozen=True):
    """Where a rule was written; shown by `explain`, `/config_dump` and the log."""

    kind: str  # "VirtualService", "Service", "RateLimit", ...
    namespace: str
    name: str
    route: str = ""  # HTTPRoute.name as the access log shows it (`route.match` is made at run time from match names)
    file: str = ""
    line: int = 0


class StringMatchPlan(PlanPart, frozen=True):
    """One comparison. `value` is in lower case when `ignore_case` is set; a regex matches the whole value (RE2)."""

    kind: Literal["exact", "prefix", "suffix", "regex", "present"]
    value: str = ""
    ignore_case: bool = False


class NamedMatchPlan(PlanPart, frozen=True):
    """A comparison of a header or query parameter. Header names are lower case; pseudo headers keep their colon."""

    name: str
    match: StringMatchPlan
    invert: bool = False  # withoutHeaders: a missing header counts as empty, but the presence form wants it absent
    claim: list[str] = []  # of a validated token, from the outside in: then `name` is no header


class MatchPlan(PlanPart, frozen=True):
    """One HTTPMatchRequest, static parts (port, gateways, sourceLabels, sourceNamespace) decided: AND of all fields."""

    name: str = ""
    path: StringMatchPlan | None = None  # on the path without query; "prefix" is a raw string prefix
    path_segments: bool = False  # Gateway API PathPrefix: the prefix ends at a segment border
    scheme: StringMatchPlan | None = None
    method: StringMatchPlan | None = None
    authority: StringMatchPlan | None = None  # raw Host header, port included
    headers: list[NamedMatchPlan] = []
    query: list[NamedMatchPlan] = []
    stat_prefix: str = ""


class HashPlan(PlanPart, frozen=True):
    """What of a request is hashed and, for consistentHash, the table that leads from a hash to an endpoint."""

    source: Literal["", "header", "cookie", "source_ip", "query"] = ""
    name: str = ""
    cookie: str | None = None  # what stands behind `name="value"` of a cookie that the proxy makes; None: it makes none
    table: Literal["ring", "maglev"] = "ring"
    size: int = 1024  # least points of the ring, places of the maglev table
