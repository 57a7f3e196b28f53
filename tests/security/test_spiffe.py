"""SPIFFE ids are read strictly: what two readers could read differently is refused."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as some

from fastmesh.security import spiffe


@pytest.mark.parametrize(
    ("text", "domain", "path"),
    [
        ("spiffe://cluster.local/ns/default/sa/shop", "cluster.local", "/ns/default/sa/shop"),
        ("spiffe://cluster.local", "cluster.local", ""),
        ("spiffe://a_b-c.1/X", "a_b-c.1", "/X"),
        ("spiffe://td/ns/a/sa/with.dots", "td", "/ns/a/sa/with.dots"),
    ],
)
def test_valid(text: str, domain: str, path: str) -> None:
    found = spiffe.parse(text)
    assert found == (domain, path)
    assert str(found) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://cluster.local/ns/a/sa/b",
        "SPIFFE://cluster.local/a",
        "spiffe:/cluster.local/a",
        "spiffe://",
        "spiffe:///ns/a/sa/b",
        "spiffe://Cluster.local/a",
        "spiffe://cluster.local:443/a",
        "spiffe://user@cluster.local/a",
        "spiffe://clüster.local/a",
        "spiffe://cluster.local/",
        "spiffe://cluster.local//a",
        "spiffe://cluster.local/a/",
        "spiffe://cluster.local/a/../b",
        "spiffe://cluster.local/./b",
        "spiffe://cluster.local/a%2fb",
        "spiffe://cluster.local/a b",
        "spiffe://cluster.local/a?b",
        "spiffe://cluster.local/a#b",
        "spiffe://cluster.local/a\0b",
        "spiffe://cluster.local/a\n",
        "spiffe://cluster.local\n",
        "spiffe://" + "a" * 256,
        "spiffe://td/" + "a" * 2048,
    ],
)
def test_invalid(text: str) -> None:
    with pytest.raises(ValueError, match=r"SPIFFE id|trust domain") as said:
        spiffe.parse(text)
    assert "\n" not in str(said.value)
    assert "\0" not in str(said.value)
    assert len(str(said.value)) < 400


def test_workloads() -> None:
    assert spiffe.parse("spiffe://td/ns/shop/sa/cart").workload == ("shop", "cart")
    assert spiffe.parse("spiffe://td/ns/shop/sa/cart/more").workload is None
    assert spiffe.parse("spiffe://td/other").workload is None
    assert str(spiffe.of_workload("td", "shop", "a.b")) == "spiffe://td/ns/shop/sa/a.b"
    for namespace, account in (
        ("a.b", "c"),
        ("", "c"),
        ("a", ""),
        ("a/b", "c"),
        ("A", "c"),
        ("a", "b..c"),
        ("-a", "c"),
    ):
        with pytest.raises(ValueError, match="is not a"):
            spiffe.of_workload("td", namespace, account)


@given(some.text(alphabet=string.ascii_letters + string.digits + "./:-_%@?#\0\n", max_size=40))
def test_what_is_accepted_reads_back_as_itself(text: str) -> None:
    try:
        found = spiffe.parse("spiffe://" + text)
    except ValueError:
        return
    assert str(found) == "spiffe://" + text
    assert not set(text) & set(":%@?#\0\n")
    assert spiffe.parse(str(found)) == found
