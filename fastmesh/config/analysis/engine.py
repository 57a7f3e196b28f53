"""Everything that can be said about a set of objects, each finding with its cause.

What reading says of single objects and of names that lead nowhere is the beginning; the analyses of this package add
how objects fit each other. Objects that are wrong take part as far as they could be read.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable

import msgspec

from fastmesh.config.analysis.annotations import analyze_annotations
from fastmesh.config.analysis.causes import cause_of, severity_of
from fastmesh.config.analysis.destination_rules import analyze_destination_rules
from fastmesh.config.analysis.envoy_filters import analyze_envoy_filters
from fastmesh.config.analysis.gateways import CheckSecret, analyze_credentials, analyze_gateways
from fastmesh.config.analysis.policies import analyze_plugins, analyze_policies
from fastmesh.config.analysis.service_entries import analyze_service_entries
from fastmesh.config.analysis.services import analyze_services
from fastmesh.config.analysis.status import analyze_status
from fastmesh.config.analysis.virtual_services import analyze_virtual_services
from fastmesh.config.analysis.workloads import Workloads
from fastmesh.config.place import Source
from fastmesh.config.read.load import Loaded
from fastmesh.config.store import ConfigSet, read_documents
from fastmesh.errors import Problem

SUPPRESS = "galley.istio.io/analyze-suppress"  # an annotation: causes that are not told of this object, or *

_ANALYSES: tuple[Callable[[ConfigSet, Workloads, list[Problem]], None], ...] = (
    analyze_virtual_services,
    analyze_destination_rules,
    analyze_service_entries,
    analyze_gateways,
    analyze_services,
    analyze_policies,
    analyze_annotations,
)


def analyze(
    loaded: Loaded, suppressed: Iterable[tuple[str, str]] = (), credential: CheckSecret | None = None
) -> list[Problem]:
    """All findings in the order of the files, with `cause` and the severity of that cause.

    `credential` says what is wrong with the key material of a Secret, which this package knows nothing of.
    `suppressed`: a cause and a pattern of `KIND NAME.NAMESPACE`; neither is told.
    """
    documents = list(loaded.documents)
    result = read_documents(loaded, allow_unenforced=True)
    problems, workloads = result.problems, Workloads(result.resources)
    for analysis in _ANALYSES:
        analysis(result.resources, workloads, problems)
    analyze_credentials(result.resources, workloads, credential, problems)
    analyze_envoy_filters(documents, problems)
    analyze_plugins(documents, workloads, problems)
    analyze_status(documents, problems)
    named = [
        msgspec.structs.replace(problem, cause=cause_of(problem), severity=severity_of(problem))
        for problem in dict.fromkeys(problems)
    ]
    order = {file: index for index, file in enumerate(loaded.files)}
    told = [problem for problem in named if not _is_suppressed(problem, _marked(documents), tuple(suppressed))]
    return sorted(told, key=lambda problem: (order.get(problem.file, -1), problem.line))


def _marked(documents: list[Source]) -> dict[tuple[str, str, str], set[str]]:
    """The causes that objects themselves want nobody to tell."""
    found: dict[tuple[str, str, str], set[str]] = {}
    for document in documents:
        metadata = document.root.get("metadata") if isinstance(document.root, dict) else None
        annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
        marks = annotations.get(SUPPRESS) if isinstance(annotations, dict) else None
        if isinstance(marks, str) and isinstance(metadata, dict):
            name = (str(document.root.get("kind")), str(metadata.get("namespace") or ""), str(metadata.get("name")))
            found[name] = {mark.strip() for mark in marks.split(",")}
    return found


def _is_suppressed(
    problem: Problem, marked: dict[tuple[str, str, str], set[str]], suppressed: tuple[tuple[str, str], ...]
) -> bool:
    namespaces = (problem.namespace, "") if problem.namespace == "default" else (problem.namespace,)
    for namespace in namespaces:
        marks = marked.get((problem.kind, namespace, problem.name))
        if marks and ("*" in marks or problem.cause in marks):
            return True
    whole = f"{problem.kind} {problem.name}" + (f".{problem.namespace}" if problem.namespace else "")
    return any(problem.cause == cause and fnmatch.fnmatchcase(whole, pattern) for cause, pattern in suppressed)
