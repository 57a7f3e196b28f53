"""What a compile found that the owner of the configuration has to know, beyond what single objects say."""

from __future__ import annotations

from fastmesh.config.clusters import Clusters
from fastmesh.errors import Problem


def findings(clusters: Clusters) -> list[Problem]:
    """Traffic that a rule wants encrypted and that goes out in plaintext."""
    found: dict[str, Problem] = {}
    for name, rule in clusters.plaintext.items():
        message = f"tls is not served yet: requests to {name} leave this proxy in plaintext"
        written = rule.policy_from
        problem = written.problem(("spec", "trafficPolicy"), message, "warning", "unserved")
        found.setdefault(f"{written.namespace}/{written.name}/{name}", problem)
    return list(found.values())
