"""The finished form of the configuration: what `compile` makes and what the data plane runs.

A plan is plain data: every name is resolved, every default is filled in, every rule is in the order in which it is
tried. The data plane (`fastmesh.core.route.snapshot`) reads a plan item by item and never sees the YAML. Between the
master and its workers a plan is a sequence of msgpack items (`items`): a worker can take it over in small slices.

Units: times are integer milliseconds, sizes are bytes. `None` means "not set" where a field is optional.
"""

from __future__ import annotations

from fastmesh.config.plan.clusters import (
    AdaptivePlan,
    BreakerPlan,
    ClusterPlan,
    ConcurrencyPlan,
    EjectionPlan,
    EndpointPlan,
    HealthCheckPlan,
    OutlierPlan,
    OwnAnswerPlan,
    PriorityPlan,
    ResiliencePlan,
    SlowPlan,
    UtilizationPlan,
    ZonesPlan,
)
from fastmesh.config.plan.items import encode, iterate
from fastmesh.config.plan.listeners import ChainPlan, DomainPlan, ListenerPlan
from fastmesh.config.plan.parts import HashPlan, MatchPlan, NamedMatchPlan, Origin, PlanPart, StringMatchPlan
from fastmesh.config.plan.routes import (
    CorsPlan,
    DestinationPlan,
    DirectPlan,
    FallbackPlan,
    FaultPlan,
    FilterPlan,
    HeaderOpsPlan,
    LimitPlan,
    MirrorPlan,
    PolicyPlan,
    RedirectPlan,
    RefusalPlan,
    RetryPlan,
    RewritePlan,
    RulePlan,
    SegmentPlan,
    SessionPlan,
    SharedPlan,
    VirtualHostPlan,
)
from fastmesh.config.plan.tls import ClientTLSPlan, CredentialPlan, CredentialSourcePlan, ServerTLSPlan
from fastmesh.config.plan.whole import MeshPlan, Plan, WorkloadPlan

__all__ = [
    "AdaptivePlan",
    "BreakerPlan",
    "ChainPlan",
    "ClientTLSPlan",
    "ClusterPlan",
    "ConcurrencyPlan",
    "CorsPlan",
    "CredentialPlan",
    "CredentialSourcePlan",
    "DestinationPlan",
    "DirectPlan",
    "DomainPlan",
    "EjectionPlan",
    "EndpointPlan",
    "FallbackPlan",
    "FaultPlan",
    "FilterPlan",
    "HashPlan",
    "HeaderOpsPlan",
    "HealthCheckPlan",
    "LimitPlan",
    "ListenerPlan",
    "MatchPlan",
    "MeshPlan",
    "MirrorPlan",
    "NamedMatchPlan",
    "Origin",
    "OutlierPlan",
    "OwnAnswerPlan",
    "Plan",
    "PlanPart",
    "PolicyPlan",
    "PriorityPlan",
    "RedirectPlan",
    "RefusalPlan",
    "ResiliencePlan",
    "RetryPlan",
    "RewritePlan",
    "RulePlan",
    "SegmentPlan",
    "ServerTLSPlan",
    "SessionPlan",
    "SharedPlan",
    "SlowPlan",
    "StringMatchPlan",
    "UtilizationPlan",
    "VirtualHostPlan",
    "WorkloadPlan",
    "ZonesPlan",
    "encode",
    "iterate",
]
