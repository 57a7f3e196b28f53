"""Istio's test configurations, one feature a file: what they promise of requests and connections, asked of `explain`.

With traffic: tests/story/test_feature_files.py. What the files send to and do not have stands here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fastmesh.config.services.peer_authentications import PeerAuthentications
from tests.config.asking import config_of
from tests.conformance.explaining import ask, run
from tests.corpora import corpora_dir

pytest.importorskip("fastmesh.core.proxy.explain")

FOLDER = corpora_dir() / "istio/tests/testdata/config"
ROWS = yaml.safe_load(Path(__file__).with_name("feature_files.yaml").read_text())
SERVICES = (
    ("service3.default.svc.cluster.local", "HTTP", 80, 81),
    ("eu.bookinfo.com", "HTTP", 80),
    ("istio-egressgateway.testns.svc.cluster.local", "HTTP", 80),
    ("c.testns.svc.cluster.local", "HTTP", 80),
    ("a.istio-system.svc.cluster.local", "TCP", 31400),
    ("www.webinf.info", "HTTP", 80),
    ("ssl1.webinf.info", "HTTP", 443),
    ("random.webinf.info", "HTTP", 80),
    ("locality.cluster.local", "HTTP", 80),
    ("a.foo.com", "HTTP", 80),
    ("httpbin.com", "HTTP", 80),
)


def thing(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    version = "networking.istio.io/v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "testns"}, "spec": spec}


def around() -> list[dict[str, Any]]:
    found = []
    for number, (host, protocol, *ports) in enumerate(SERVICES):
        endpoints = [
            {"address": f"10.9.0.{number}", "labels": {"version": "v1"}, "locality": "eu/a"},
            {"address": f"10.9.1.{number}", "labels": {"version": "v2"}, "locality": "us/b"},
        ]
        named = [{"number": port, "name": f"p{port}", "protocol": protocol} for port in ports]
        spec = {"hosts": [host], "ports": named, "resolution": "STATIC", "endpoints": endpoints}
        found.append(thing("ServiceEntry", f"around-{number}", spec))
    return found


def subsets() -> list[dict[str, Any]]:
    versions = [{"name": name, "labels": {"version": name}} for name in ("v1", "v2")]
    hosts = ("service3.default.svc.cluster.local", "c.testns.svc.cluster.local")
    return [thing("DestinationRule", f"of-{host[0]}", {"host": host, "subsets": versions}) for host in hosts]


def plain_gateway() -> list[dict[str, Any]]:
    """gateway-all without its redirect."""
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["c.foo"]}
    return [thing("Gateway", "my-gateway", {"selector": {"app": "my-gateway-controller"}, "servers": [server]})]


OURS = {"subsets": subsets, "plain-gateway": plain_gateway}


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['files'][0]} {row['ask']}" for row in ROWS])
def test_feature(row: dict[str, Any], tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        yaml.safe_dump_all([*around(), *(one for name in row["files"] if name in OURS for one in OURS[name]())])
    )
    files = [*(FOLDER / f"{name}.yaml" for name in row["files"] if name not in OURS), own]
    question = [word.replace("_", " ") for word in row["ask"].split(" ")]
    answer = ask(files, *question)
    answer["steps"] = {
        name: [step["decision"] for step in answer["steps"] if step["step"] == name]
        for name in row["found"].get("steps", {})
    }
    if {"attempt", "tls"} & set(row["found"]):
        lines = run(*(part for file in files for part in ("-f", str(file))), *question)[1].splitlines()
        told = {line.split()[0]: line.strip().partition(" ")[2].strip() for line in lines}
        answer["tls"] = told.get("tls", "").partition(", credential")[0]
        answer["attempt"] = told.get("attempt", "").rpartition(" (")[2].rstrip(")")
    assert {key: answer[key] for key in row["found"]} == row["found"]


@pytest.mark.parametrize(
    ("file", "namespace", "mode"), [("authn", "default", "PERMISSIVE"), ("peer-authn-strict", "testns", "STRICT")]
)
def test_what_a_workload_accepts(file: str, namespace: str, mode: str) -> None:
    """On the wire: tests/story/test_sidecar.py."""
    policies = PeerAuthentications(config_of((FOLDER / f"{file}.yaml").read_text()).peer_authentications)
    assert policies.mode(namespace, {}, 80)[0] == mode
    assert policies.mode("other", {}, 80)[0] == "PERMISSIVE"
