"""Certificates of a running proxy: renewed while it serves, kept when what comes is bad, shown without a secret."""

from __future__ import annotations

import json
import re
import signal
import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fastmesh.security import certs, pem
from fastmesh.security.authority import Pair
from fastmesh.security.files import CHAIN, KEY, ROOTS
from tests.security.making import DAY, leaf, now, root, write
from tests.server.proxies import Proxy, eventually, request
from tests.server.test_upgrade import upgraded

MakeProxy = Callable[..., Proxy]
CA = root()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "certs"


def renew(folder: Path, lifetime: timedelta = DAY) -> str:
    """Write a new certificate; its serial number."""
    made = leaf(CA, lifetime=lifetime)
    write(folder, made, roots=[CA])
    return certs.serial(made.certificate)


def serial(one: Proxy) -> str:
    """What a worker runs with."""
    return request(one.address, "/credentials")[1].split()[0].removeprefix("mesh=")


def metric(one: Proxy, name: str) -> dict[str, float]:
    """Labels to value."""
    text = one.ask("/stats/prometheus")[1]
    return {labels: float(value) for labels, value in re.findall(rf"^{name}\{{(.*)\}} (\S+)$", text, re.MULTILINE)}


FAILURES = "fastmesh_certificate_reload_failures_total"
EXPIRY = "fastmesh_certificate_expiry_timestamp_seconds"
RENEWALS = "fastmesh_certificate_renewals_total"


def rotate(one: Proxy, folder: Path, times: int) -> list[float]:
    """Rotations at one a second; how long each took until it was seen from outside."""
    took = []
    for _ in range(times):
        wanted, began = renew(folder), time.monotonic()
        eventually(lambda wanted=wanted: serial(one) == wanted)  # type: ignore[misc]
        took.append(time.monotonic() - began)
        time.sleep(max(0.0, began + 1 - time.monotonic()))
    return took


def test_five_rotations(proxy: MakeProxy, folder: Path) -> None:
    renew(folder)
    one = proxy("--certs", str(folder), "--workers", "1").ready()
    version = one.info()["config_version"]
    took = rotate(one, folder, 5)
    assert statistics.median(took) < 1, took
    assert metric(one, RENEWALS) == {'name="mesh"': 5}
    assert metric(one, FAILURES) == {'name="mesh"': 0}
    assert list(metric(one, EXPIRY)) == [f'name="mesh",serial="{serial(one)}"']  # one series, not one a renewal
    assert one.info()["config_version"] == version
    assert json.loads(one.ask("/config_dump")[1])["reloads"] == {"accepted": 0, "refused": 0, "unchanged": 0}
    assert one.info()["worker_restarts"] == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_hundred_rotations(proxy: MakeProxy, folder: Path) -> None:
    renew(folder)
    one = proxy("--certs", str(folder)).ready()
    took = rotate(one, folder, 100)
    assert statistics.quantiles(took, n=100)[94] < 1, took
    assert metric(one, RENEWALS) == {'name="mesh"': 100}
    assert one.info()["worker_restarts"] == 0


def test_bad_material_is_not_taken_and_told_once(proxy: MakeProxy, folder: Path) -> None:
    first = renew(folder)
    one = proxy("--certs", str(folder), "--workers", "1").ready()
    (folder / KEY).write_bytes(pem.of_key(leaf(CA).key))
    line = one.wait_for("does not fit the certificate of spiffe://")
    assert re.search(rf"warning config\[\d+\] {folder / KEY}: does not fit", line)
    assert "the certificate from before stays, valid until 20" in line
    assert serial(one) == first
    assert metric(one, FAILURES) == {'name="mesh"': 1}
    assert "does not fit" in json.loads(one.ask("/config_dump")[1])["warnings"][0]
    (folder / CHAIN).write_text("hello")
    one.wait_for("is not PEM")
    assert metric(one, FAILURES) == {'name="mesh"': 2}
    second = renew(folder)
    eventually(lambda: serial(one) == second)
    assert metric(one, FAILURES) == {'name="mesh"': 2}
    assert sum("does not fit" in said for said in one.said) == 1


def test_a_key_that_comes_a_moment_after_its_chain_is_no_failure(proxy: MakeProxy, folder: Path) -> None:
    """Files are two: between the writing of one and of the other they do not fit."""
    renew(folder)
    one = proxy("--certs", str(folder), "--workers", "1").ready()
    made = leaf(CA)
    (folder / CHAIN).write_bytes(pem.of_certificates([made.certificate]))
    time.sleep(0.4)  # longer than a look and what it takes to settle
    (folder / KEY).write_bytes(pem.of_key(made.key))
    eventually(lambda: serial(one) == certs.serial(made.certificate))
    assert metric(one, FAILURES) == {'name="mesh"': 0}
    assert not any("does not fit" in said for said in one.said)


def test_material_that_workers_refuse(proxy: MakeProxy, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = folder.parent / "refuse"
    monkeypatch.setenv("FAKE_REFUSAL", str(refusal))
    first = renew(folder)
    one = proxy("--certs", str(folder), "--workers", "1").ready()
    refusal.touch()
    renew(folder)
    one.wait_for("mesh: the workers do not take the new material, the old stays: this key is too exotic")
    assert serial(one) == first
    assert metric(one, FAILURES) == {'name="mesh"': 1}
    refusal.unlink()
    second = renew(folder)
    eventually(lambda: serial(one) == second)


def test_a_reload_keeps_what_runs_when_the_files_are_bad(proxy: MakeProxy, folder: Path) -> None:
    first = renew(folder)
    one = proxy("--certs", str(folder), "--workers", "1", "--no-watch").ready()
    (folder / KEY).unlink()
    one.say(version="v2")
    one.signal(signal.SIGHUP)
    one.wait_for("accepted")
    assert "is not there" in one.wait_for("from before stays")
    assert request(one.address)[1].startswith("v2 ")
    assert serial(one) == first
    second = renew(folder)
    one.signal(signal.SIGHUP)
    one.wait_for("accepted", 2)
    assert serial(one) == second


def test_a_reload_that_asks_for_a_bad_credential_is_refused(proxy: MakeProxy, folder: Path) -> None:
    renew(folder)
    one = proxy("--certs", str(folder), "--workers", "1").ready()
    bad = {"name": "file:x", "chain": {"place": "nowhere.pem", "path": "nowhere.pem", "asked": "gw.yaml:7"}}
    one.say(version="v2", requests=[bad])
    one.wait_for(r"nowhere.pem: is not there; .* \(gw.yaml:7\)")
    one.wait_for("refused; the last good configuration keeps serving")
    assert request(one.address)[1].startswith("v1 ")


def test_several_credentials_change_by_themselves(proxy: MakeProxy, folder: Path) -> None:
    other = folder.parent / "other"
    renew(folder)
    before = renew(other)
    paths = {"chain": str(other / CHAIN), "key": str(other / KEY)}
    asked = {"name": "file:other", **{part: {"place": path, "path": path} for part, path in paths.items()}}
    one = proxy("--certs", str(folder), "--workers", "1", requests=[asked]).ready()
    assert request(one.address, "/credentials")[1].split()[0] == f"mesh={serial_of(folder)},file:other={before}"
    (other / KEY).write_text("bad")
    one.wait_for("is not PEM")
    mine = renew(folder)  # a bad neighbour does not hold it up
    eventually(lambda: f"mesh={mine},file:other={before}" in request(one.address, "/credentials")[1])
    assert metric(one, FAILURES) == {'name="mesh"': 0, 'name="file:other"': 1}


def serial_of(folder: Path) -> str:
    return certs.serial(pem.certificates((folder / CHAIN).read_bytes())[0])


def test_an_upgrade_takes_what_the_files_have(proxy: MakeProxy, folder: Path) -> None:
    renew(folder)
    one = proxy("--certs", str(folder), "--workers", "1", "--no-watch").ready()
    second = renew(folder)
    upgraded(one)
    eventually(lambda: len(one.info()["workers"]) == 1)
    assert serial(one) == second
    (folder / CHAIN).write_text("hello")
    one.signal(signal.SIGUSR2)
    assert f"{folder / CHAIN}: is not PEM" in one.wait_for("upgrade refused")
    assert serial(one) == second


def test_the_end_of_a_certificate_is_told_in_time(proxy: MakeProxy, folder: Path) -> None:
    write(folder, short_lived(), roots=[CA])
    one = proxy("--certs", str(folder), "--workers", "1").ready()
    line = one.wait_for("only, until 20")
    text = f"{folder / CHAIN}: spiffe://cluster.local/ns/default/sa/shop is valid for 9 min only"
    assert re.search(rf"warning certificates\[\d+\] {text}", line)
    assert "server.days_until_first_cert_expiring: 0" in one.ask("/stats")[1]


def short_lived() -> Pair:
    """Of an hour, with ten minutes left."""
    return leaf(CA, lifetime=timedelta(hours=1), begins=now() - timedelta(minutes=50))


def test_certs_page_is_envoys(proxy: MakeProxy, folder: Path) -> None:
    own = renew(folder, lifetime=30 * DAY)
    one = proxy("--certs", str(folder), "--workers", "1").ready()
    status, text = one.ask("/certs")
    assert status == 200
    found: dict[str, Any] = json.loads(text)
    ((group,),) = (found.values(),)
    (chain,) = group[0]["cert_chain"]
    assert chain["path"] == str(folder / CHAIN)
    assert chain["serial_number"] == own
    assert chain["subject_alt_names"] == [{"uri": "spiffe://cluster.local/ns/default/sa/shop"}]
    assert chain["days_until_expiration"] == "29"
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", chain["valid_from"])
    assert chain["valid_from"] < chain["expiration_time"]
    (ca,) = group[0]["ca_cert"]
    assert ca["path"] == str(folder / ROOTS)
    assert ca["subject_alt_names"] == [{"uri": "spiffe://cluster.local"}]
    key = (folder / KEY).read_text().splitlines()[1]
    for page in ("/certs", "/config_dump", "/server_info", "/stats", "/stats/prometheus"):
        said = one.ask(page)[1]
        assert key not in said
        assert "PRIVATE KEY" not in said
    assert not any(key in line for line in one.said)


def test_without_certificates_nothing_is_loaded_for_them(proxy: MakeProxy) -> None:
    one = proxy("--workers", "1").ready()
    assert json.loads(one.ask("/certs")[1]) == {"certificates": []}
    assert "certificate" not in one.ask("/stats/prometheus")[1]
    maps = Path(f"/proc/{one.process.pid}/maps").read_text()
    assert "cryptography" not in maps
