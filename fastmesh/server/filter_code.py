"""The code of filters joins the plan: the master reads it, and runs none of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fastmesh.config.plan import Plan
from fastmesh.errors import EXIT_CONFIG, Problem
from fastmesh.filter_modules import FilterError, find
from fastmesh.server.failure import SourcesError


def with_code(plan: Plan, folders: Sequence[str]) -> Plan:
    """The plan with the text of each module; SourcesError with all that cannot be had."""
    if not plan.filters:
        return plan
    made, problems = [], []
    for each in plan.filters:
        try:
            file, source = find(each.function, folders)
            made.append(msgspec.structs.replace(each, file=file, source=source))
        except FilterError as error:
            place = each.origin
            problems.append(
                Problem(
                    severity="error", code="reference", file=place.file, line=place.line, message=str(error),
                    kind=place.kind, namespace=place.namespace, name=place.name, field="spec.function",
                )
            )  # fmt: skip
    if problems:
        raise SourcesError([str(problem) for problem in problems], EXIT_CONFIG)
    return msgspec.structs.replace(plan, filters=made)
