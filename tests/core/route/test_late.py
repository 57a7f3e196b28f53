"""Clusters rest as bytes until a request needs them."""

from __future__ import annotations

import pytest

from fastmesh.config.plan import ClusterPlan, EndpointPlan, MeshPlan, Plan, WorkloadPlan, encode, iterate

Snapshot = pytest.importorskip("fastmesh.core.route.snapshot").Snapshot


def built(*clusters: ClusterPlan) -> dict[str, object]:
    """What stands in the place of each cluster: the cluster when it was made, or None."""
    workload = WorkloadPlan()
    plan = Plan(
        mesh=MeshPlan(version="1", workload=workload),
        workloads=[workload],
        limits=[],
        clusters=list(clusters),
        vhosts=[],
        listeners=[],
    )
    snapshot = Snapshot(iterate(encode(plan)))
    assert snapshot.step(0)
    return {name: late.cluster for name, late in snapshot.clusters.items()}


def addresses(count: int) -> list[EndpointPlan]:
    return [EndpointPlan(address=f"10.0.{number // 250}.{number % 250}", port=80) for number in range(count)]


def test_a_cluster_rests_until_it_is_asked_for() -> None:
    found = built(ClusterPlan(name="a", endpoints=addresses(200)), ClusterPlan(name="b", tls=None))
    assert found == {"a": None, "b": None}


def test_a_large_one_is_made_with_the_snapshot_so_that_no_request_waits() -> None:
    assert built(ClusterPlan(name="a", endpoints=addresses(201)))["a"] is not None


def test_one_that_cannot_be_made_is_found_out_before_it_runs() -> None:
    with pytest.raises(ValueError, match="not an IP address"):
        built(ClusterPlan(name="a", endpoints=[EndpointPlan(address="no-address", port=80)]))
