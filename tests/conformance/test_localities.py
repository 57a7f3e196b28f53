"""Istio's tables of locality load balancing: priorities and shares of endpoints, and which setting holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from fastmesh.config.mesh import Mesh
from fastmesh.config.services.localities import ByLocality, ByRegion, Site, setting_of
from fastmesh.model.destination_rule import LoadBalancer, LocalityLoadBalancer, ZoneAwareLoadBalancer

TABLE = yaml.safe_load(Path(__file__).with_name("localities.yaml").read_text())
HERE = "region1/zone1/subzone1"


def by_name(rows: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("row", rows, ids=[row["name"] for row in rows])


@by_name(TABLE["arrangements"])
def test_arrangement(row: dict[str, Any]) -> None:
    sites = [Site(**site) for site in TABLE["sites"][row["sites"]]]
    written = {"zoneAwareLbSetting": row["zones"]} if "zones" in row else {"localityLbSetting": row["setting"]}
    setting = setting_of(Mesh(), msgspec.convert(written, LoadBalancer), "")
    if setting is None:
        assert row["priorities"] == [0] * len(sites)
        return
    found = setting.arrange(Site(HERE, row.get("labels", {})), sites, row.get("ejects", True))
    assert found.priorities == row["priorities"]
    if "localities" in row:
        assert [list(each) for each in found.localities] == row["localities"]


@by_name(TABLE["settings"])
def test_setting(row: dict[str, Any]) -> None:
    mesh = Mesh(
        locality=msgspec.convert(row.get("mesh"), LocalityLoadBalancer | None),
        zone_aware=msgspec.convert(row.get("zones"), ZoneAwareLoadBalancer | None),
    )
    rule = msgspec.convert(row["rule"], LoadBalancer) if "rule" in row else None
    found, wanted = setting_of(mesh, rule, row.get("service", "")), row["wanted"]
    if wanted is None:
        assert found is None
    elif "zones" in wanted:
        assert found == ByRegion(msgspec.convert(wanted["zones"], ZoneAwareLoadBalancer))
    else:
        locality = msgspec.convert(wanted["locality"], LocalityLoadBalancer)
        assert found == ByLocality(locality, forced=wanted.get("forced", False))
