"""Istio's tables of who sees which object, and of what becomes of several for one host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from fastmesh.config.hosts import covers, intersection
from fastmesh.config.mesh import Mesh, Visibility
from fastmesh.config.routes.delegates import merged_matches
from fastmesh.config.routes.virtual_hosts import binds
from fastmesh.config.services.destinations import DestinationRules, MergedRule
from fastmesh.config.services.scope import Egress
from fastmesh.config.store import ConfigSet
from fastmesh.model.sidecar import EgressListener
from fastmesh.model.virtual_service import HTTPMatchRequest
from tests.config.asking import config_of

TABLE = yaml.safe_load(Path(__file__).with_name("visibility.yaml").read_text())


def things(kind: str, specs: dict[str, tuple[str, dict[str, Any]]]) -> ConfigSet:
    """Objects by name, each with its namespace and spec."""
    objects = [
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        }
        for name, (namespace, spec) in specs.items()
    ]
    return config_of(yaml.safe_dump_all(objects))


def rules(text: dict[str, list[Any]]) -> ConfigSet:
    return things(
        "DestinationRule",
        {
            name: (namespace, {"host": host, "exportTo": export_to, "subsets": [{"name": each} for each in subsets]})
            for name, (namespace, host, export_to, subsets) in text.items()
        },
    )


@pytest.mark.parametrize(("client", "service", "host", "subsets"), TABLE["rules_found"])
def test_which_destination_rule(client: str, service: str, host: str, subsets: list[str] | None) -> None:
    found = DestinationRules(rules(TABLE["destination_rules"]).destination_rules, client, {}).find(host, service)
    assert (list(found.subsets) if found is not None else None) == subsets


def test_rules_of_one_host_are_merged_with_those_that_the_same_see() -> None:
    written = {
        "rule1": ["test", "httpbin.org", [], ["subset1", "subset2"]],
        "rule2": ["test", "httpbin.org", [], ["subset3", "subset4"]],
        "rule3": ["test", "httpbin.org", ["istio-system"], ["subset5", "subset6"]],
    }
    config = rules(written).destination_rules
    local = DestinationRules(config, "test", {}).find("httpbin.org", "test")
    root = DestinationRules(config, "istio-system", {}).find("httpbin.org", "test")
    assert local is not None
    assert root is not None
    assert list(local.subsets) == ["subset1", "subset2", "subset3", "subset4"]
    assert list(root.subsets) == ["subset5", "subset6"]


SELECTED = {
    "nsrule1": ("app1", {"connectionPool": {"tcp": {"maxConnections": 111}}}),
    "nsrule2": ("app2", {"connectionPool": {"http": {"maxRetries": 33}}}),
    "nsrule3": ("app2", {"outlierDetection": {}}),
    "nsrule4": ("", {"connectionPool": {"http": {"maxRetries": 44}}}),
}


@pytest.mark.parametrize(
    ("client", "app", "first", "subsets"),
    [
        ("test", "app1", "nsrule1", ["nsrule1", "nsrule4"]),
        ("test", "app2", "nsrule2", ["nsrule2", "nsrule3", "nsrule4"]),
        ("test", "other", "nsrule4", ["nsrule4"]),
        ("test2", "app1", "nsrule4", ["nsrule4"]),
    ],
)
def test_rules_for_chosen_workloads(client: str, app: str, first: str, subsets: list[str]) -> None:
    """They are not exported; those with one selector are merged, and a rule for all goes into each of them."""
    config = things(
        "DestinationRule",
        {
            name: (
                "test",
                {
                    "host": "httpbin.org",
                    "exportTo": ["."] if chosen else [".", "test2"],
                    "trafficPolicy": policy,
                    "subsets": [{"name": name}],
                    **({"workloadSelector": {"matchLabels": {"app": chosen}}} if chosen else {}),
                },
            )
            for name, (chosen, policy) in SELECTED.items()
        },
    )
    found = DestinationRules(config.destination_rules, client, {"app": app}).find("httpbin.org", "test")
    assert isinstance(found, MergedRule)
    assert (found.policy_from.name, list(found.subsets)) == (first, subsets)


def services(text: dict[str, list[Any]]) -> ConfigSet:
    route = [{"route": [{"destination": {"host": "a.example"}}]}]
    return things(
        "VirtualService",
        {
            name: (namespace, {"hosts": [host], "gateways": gateways, "exportTo": export_to, "http": route})
            for name, (namespace, gateways, host, export_to) in text.items()
        },
    )


ROWS = [("virtual_services", *row) for row in TABLE["exported"]]
ROWS += [("default_services", *row) for row in TABLE["default_exported"]]


@pytest.mark.parametrize(("named", "default", "client", "gateway", "hosts"), ROWS)
def test_exported_virtual_services(named: str, default: list[str], client: str, gateway: str, hosts: list[str]) -> None:
    seen = Visibility(otherwise=tuple(default)).seen
    found = [
        item.spec.hosts[0]
        for item in services(TABLE[named]).virtual_services
        if seen(item.spec.export_to, item.namespace, client) and binds(item, frozenset({gateway}))
    ]
    assert found == hosts


@pytest.mark.parametrize(("default", "export_to", "namespace", "wanted"), TABLE["visible"])
def test_visible_services(default: list[str], export_to: list[str], namespace: str, wanted: bool) -> None:
    assert Visibility(otherwise=tuple(default)).seen(export_to, namespace, "foo") == wanted


IMPORTS = [("choice", *row) for row in TABLE["imported"]]
IMPORTS += [("exclusion_choice", *row) for row in TABLE["exclusion"]]
IMPORTS += [("wildcard_choice", *row) for row in TABLE["wildcard_exclusion"]]


@pytest.mark.parametrize(("named", "hosts", "wanted"), IMPORTS)
def test_imported_virtual_services(named: str, hosts: list[str], wanted: list[str]) -> None:
    route = [{"route": [{"destination": {"host": "a.example"}}]}]
    written = {name: (row[0], {"hosts": row[1:], "http": route}) for name, row in TABLE[named].items()}
    egress = Egress(EgressListener(hosts=hosts), 0, "some-ns")
    chosen = [item.name for item in things("VirtualService", written).virtual_services if egress.virtual_service(item)]
    assert chosen == wanted


@pytest.mark.parametrize(("name", "root", "delegate", "wanted"), TABLE["matches"])
def test_merged_matches(name: str, root: list[Any], delegate: list[Any], wanted: list[Any] | None) -> None:
    above, below, expected = (
        None if rows is None else msgspec.convert(rows, list[HTTPMatchRequest]) for rows in (root, delegate, wanted)
    )
    assert above is not None
    assert below is not None
    assert merged_matches(above, below) == expected


@pytest.mark.parametrize(("one", "other", "wanted"), TABLE["intersections"])
def test_intersections(one: list[str], other: list[str], wanted: list[str]) -> None:
    found = [common for left in one for right in other if (common := intersection(left, right)) is not None]
    assert list(dict.fromkeys(found)) == wanted


@pytest.mark.parametrize(("one", "other", "wanted"), TABLE["overlaps"])
def test_overlaps(one: str, other: str, wanted: bool) -> None:
    assert (intersection(one, other) is not None) == wanted
    assert (intersection(other, one) is not None) == wanted


@pytest.mark.parametrize(("one", "other", "wanted"), TABLE["within"])
def test_within(one: str, other: str, wanted: bool) -> None:
    assert covers(other, one) == wanted


def test_a_mesh_that_says_nothing_shows_everything() -> None:
    assert Mesh().services.seen([], "a", "b")
