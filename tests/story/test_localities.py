"""Locality load balancing with traffic: who is near serves, who is far when the near ones fail.

As on Istio's page: https://istio.io/latest/docs/tasks/traffic-management/locality-load-balancing/
"""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.explaining import ask as explained
from tests.running import Proxy
from tests.traffic import Client, Replica, ask, destination_rule, reload, replicas, thing, virtual_service

PLACES = {"here": "eu/a/1", "rack": "eu/a/2", "zone": "eu/b/1", "us": "us/a/1", "asia": "asia/a/1"}
DETECTION = {"consecutive5xxErrors": 1, "interval": "100ms", "baseEjectionTime": "60s", "maxEjectionPercent": 100}


def mesh(made: list[Replica], policy: dict[str, Any], **service: Any) -> str:
    spec = {"selector": {"app": "app"}, "ports": [{"name": "http", "port": 80, "targetPort": 8000}], **service}
    yaml = thing("Service", "app", spec, "v1")
    for replica in made:
        where = replica.name.split("-")[0]
        labels = {"app": "app", "version": where}
        entry = {"address": "127.0.0.1", "ports": {"http": replica.port}, "labels": labels, "locality": PLACES[where]}
        yaml += thing("WorkloadEntry", replica.name, entry)
    yaml += destination_rule("app", policy) if policy else ""
    return yaml + virtual_service("app", {"retries": {"attempts": 0}})


def met(proxy: Proxy, times: int = 20) -> collections.Counter[str]:
    """Who answered, with 200."""
    counts: collections.Counter[str] = collections.Counter()
    for _ in range(times // 10):
        with Client(proxy.port, "app") as client:
            answers = [client.ask() for _ in range(10)]
        counts.update(answer.text for answer in answers if answer.status == 200)
    return counts


def locality(**setting: Any) -> dict[str, Any]:
    return {"loadBalancer": {"simple": "ROUND_ROBIN", "localityLbSetting": setting}}


def test_failover_step_by_step(tmp_path: Path) -> None:
    """Subzone, zone, region, then the region that `failover` names, then the rest."""
    policy = {**locality(failover=[{"from": "eu", "to": "us"}]), "outlierDetection": DETECTION}
    with (
        replicas(*PLACES) as made,
        Proxy(tmp_path, mesh(made, policy), "--locality", "eu/a/1", workers=2) as proxy,
    ):
        for replica in made:
            assert met(proxy) == {replica.name: 20}
            replica.act = lambda request: 500
            left = 9 if replica is not made[-1] else 0
            assert met(proxy, 10).total() == left, "one error ejects it, for both workers"
        assert ask(proxy).text == "no healthy upstream"


def test_outlier_detection_alone_switches_failover_on(tmp_path: Path) -> None:
    with replicas("here", "us") as made, Proxy(tmp_path, mesh(made, {}), "--locality", "eu/a/1") as proxy:
        assert set(met(proxy, 40)) == {"here", "us"}
        reload(proxy, mesh(made, {"outlierDetection": DETECTION}))
        assert set(met(proxy, 40)) == {"here"}
        reload(proxy, mesh(made, {**locality(enabled=False), "outlierDetection": DETECTION}))
        assert set(met(proxy, 40)) == {"here", "us"}


def test_a_share_spills_over(tmp_path: Path) -> None:
    """Half of the near ones are sick: 50 % times 1.4 stay."""
    with replicas("here-1", "here-2", "us-1", "us-2") as made:
        made[0].act = lambda request: 500
        yaml = mesh(made, {"loadBalancer": {"simple": "ROUND_ROBIN"}, "outlierDetection": DETECTION})
        with Proxy(tmp_path, yaml, "--locality", "eu/a/1", workers=2) as proxy:
            met(proxy, 10)
            counts = met(proxy, 600)
            assert counts["here-2"] == pytest.approx(420, abs=60)
            assert counts["us-1"] == pytest.approx(90, abs=35)


def test_distribution(tmp_path: Path) -> None:
    """Istio's example: 70 % here, 20 % in the next zone, 10 % far away, and nothing for the rest."""
    to = {"eu/a/*": 70, "eu/b/1": 20, "us/*": 10}
    policy = locality(distribute=[{"from": "eu/a/*", "to": to}])
    with replicas(*PLACES) as made, Proxy(tmp_path, mesh(made, policy), "--locality", "eu/a/1", workers=2) as proxy:
        counts = met(proxy, 1000)
        assert counts["here"] + counts["rack"] == pytest.approx(700, abs=70)
        assert counts["zone"] == pytest.approx(200, abs=60)
        assert counts["us"] == pytest.approx(100, abs=45)
        assert "asia" not in counts


def test_labels_decide(tmp_path: Path) -> None:
    policy = {**locality(failoverPriority=["version=rack"]), "outlierDetection": DETECTION}
    with replicas("here", "rack", "us") as made, Proxy(tmp_path, mesh(made, policy), "--locality", "eu/a/1") as proxy:
        assert met(proxy) == {"rack": 20}
        made[1].act = lambda request: 500
        met(proxy, 10)
        assert set(met(proxy, 40)) == {"here", "us"}


def test_a_service_that_prefers_its_zone(tmp_path: Path) -> None:
    """trafficDistribution needs no outlierDetection."""
    with replicas("here", "rack", "zone", "us") as made:
        yaml = mesh(made, {}, trafficDistribution="PreferSameZone")
        with Proxy(tmp_path, yaml, "--locality", "eu/a/1") as proxy:
            assert set(met(proxy, 40)) == {"here", "rack"}


def test_the_mesh_says_it(tmp_path: Path) -> None:
    config = tmp_path / "mesh-config.yaml"
    config.write_text("localityLbSetting: {distribute: [{from: eu/*, to: {us: 100}}]}\n")
    with (
        replicas("here", "us") as made,
        Proxy(tmp_path, mesh(made, {}), "--locality", "eu/a/1", "--mesh-config", str(config)) as proxy,
    ):
        assert met(proxy) == {"us": 20}


def test_explain_tells_the_priorities(tmp_path: Path) -> None:
    with replicas("here", "us") as made:
        file = tmp_path / "mesh.yaml"
        file.write_text(mesh(made, {"outlierDetection": DETECTION}))
        told = explained([file], "GET", "http://app/", "--locality", "eu/a/1")
        steps = [step["decision"] for step in told["steps"] if step["step"] == "locality"]
        assert steps == [
            f"priority 0: 127.0.0.1:{made[0].port} (eu/a/1)",
            f"priority 1: 127.0.0.1:{made[1].port} (us/a/1)",
        ]
        file.write_text(mesh(made, locality(distribute=[{"from": "eu/*", "to": {"eu": 80, "us": 20}}])))
        told = explained([file], "GET", "http://app/", "--locality", "eu/a/1")
        steps = [step["decision"] for step in told["steps"] if step["step"] == "locality"]
        assert steps == ["priority 0: eu/a/1 80 %, us/a/1 20 %"]
