"""`fastmesh proxy` with an identity, and as a sidecar: what stops a start, with its exit code and its text."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import pytest

from fastmesh.cli import proxy_checks
from fastmesh.security import pem
from fastmesh.security.files import CHAIN, KEY
from fastmesh.server.settings import ProxySettings
from tests.security.making import DAY, leaf, now, odd, root, write

ROOT = Path(__file__).resolve().parents[2]
CA = root()
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {ports: [{name: http, port: 80}]}
"""
RULE = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop
  workloadSelector: {matchLabels: {app: x}}
  trafficPolicy: {tls: %s}
"""


def start(folder: Path, yaml: str, *flags: str, prefix: Sequence[str] = ()) -> tuple[int, str]:
    """How a proxy ends that should not start, and what it says."""
    file = folder / "mesh.yaml"
    file.write_text(yaml)
    command = [*prefix, sys.executable, "-m", "fastmesh", "proxy", "-f", "mesh.yaml", "--listen", "127.0.0.1:0", *flags]
    command += ["--admin", "off", "--labels", "app=x"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda at: (at / KEY).unlink(), "certs/key.pem: is not there; write the path of a file in PEM"),
    "not PEM": (lambda at: (at / CHAIN).write_text("hello"), "certs/cert-chain.pem: is not PEM: there is no "),
    "key": (lambda at: write(at, leaf(CA), roots=[CA], key=CA.key), "certs/key.pem: does not fit the certificate of"),
    "expired": (
        lambda at: write(at, leaf(CA, begins=now() - 3 * DAY), roots=[CA]),
        "certs/cert-chain.pem: was valid until 20",
    ),
    "early": (
        lambda at: write(at, leaf(CA, begins=now() + DAY), roots=[CA]),
        "certs/cert-chain.pem: is not valid before 20",
    ),
    "CA": (lambda at: write(at, CA, roots=[CA]), "certs/cert-chain.pem: is the certificate of a CA"),
    "two": (
        lambda at: write(at, odd(CA, uris=("spiffe://a/b", "spiffe://a/c")), roots=[CA]),
        "certs/cert-chain.pem: has 2 URI names ('spiffe://a/b', 'spiffe://a/c'); an identity of the mesh has exactly",
    ),
}


@pytest.mark.parametrize("what", SPOILED)
def test_bad_identity_exits_78(tmp_path: Path, what: str) -> None:
    spoil, text = SPOILED[what]
    write(tmp_path / "certs", leaf(CA), roots=[CA])
    spoil(tmp_path / "certs")
    code, said = start(tmp_path, SERVICE, "--certs", "certs")
    assert code == 78, said
    assert any(line.startswith(text) for line in said.splitlines()), said
    assert "Traceback" not in said
    assert start(tmp_path, SERVICE, "--certs", "certs", "--preflight") == (code, said)


def test_no_folder_exits_78(tmp_path: Path) -> None:
    code, said = start(tmp_path, SERVICE, "--certs", "nowhere")
    assert code == 78
    assert said.startswith("nowhere/cert-chain.pem: is not there")


def test_unreadable_exits_78(tmp_path: Path) -> None:
    prefix = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    if prefix and shutil.which("setpriv") is None:
        pytest.skip("root may read everything, and there is no setpriv")
    write(tmp_path / "certs", leaf(CA), roots=[CA])
    (tmp_path / "certs" / KEY).chmod(0)
    code, said = start(tmp_path, SERVICE, "--certs", "certs", prefix=prefix)
    assert code == 78
    assert "certs/key.pem: cannot be read: Permission denied" in said


def test_other_trust_domain_exits_78(tmp_path: Path) -> None:
    write(tmp_path / "certs", leaf(CA), roots=[CA])
    code, said = start(tmp_path, SERVICE, "--certs", "certs", "--trust-domain", "east")
    assert code == 78
    assert "is of the trust domain cluster.local, and the proxy's is east" in said


def test_bad_configuration_comes_first(tmp_path: Path) -> None:
    assert start(tmp_path, "kind: Nothing\n", "--certs", "nowhere")[0] == 65


def test_files_that_an_object_names(tmp_path: Path) -> None:
    write(tmp_path, leaf(CA), roots=[CA], key=CA.key)
    tls = f"{{mode: MUTUAL, clientCertificate: {CHAIN}, privateKey: {KEY}, caCertificates: nowhere.pem}}"
    code, said = start(tmp_path, SERVICE + RULE % tls)
    assert code == 78
    place = "(mesh.yaml:14: DestinationRule/shop: spec.trafficPolicy.tls.clientCertificate)"
    assert f"nowhere.pem: is not there; write the path of a file in PEM {place}" in said


def test_a_secret(tmp_path: Path) -> None:
    old = leaf(CA, begins=now() - 3 * DAY)
    data = {"tls.crt": pem.of_certificates([old.certificate]), "tls.key": pem.of_key(old.key), "ca.crt": b"hello"}
    entries = ", ".join(f"{name}: {base64.b64encode(value).decode()}" for name, value in data.items())
    secret = f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: web}}\ndata: {{{entries}}}\n"
    code, said = start(tmp_path, SERVICE + RULE % "{mode: MUTUAL, credentialName: web}" + secret)
    assert code == 78
    assert 'Secret/web: data["ca.crt"]: is not PEM' in said
    assert base64.b64encode(pem.of_key(old.key)).decode()[:40] not in said
    assert pem.of_key(old.key).decode().splitlines()[1] not in said


# ---- the sidecar's flags

SIDECAR = {"role": "sidecar", "files": ["x"], "workload": "cart.shop", "inbound": ["127.0.0.1:15006=127.0.0.1:3000"]}


def checked(**more: object) -> ProxySettings:
    return proxy_checks.checked(ProxySettings(**{**SIDECAR, **more}))  # type: ignore[arg-type]


def test_a_sidecar() -> None:
    found = checked(outbound="127.0.0.1:15001", inbound=["127.0.0.1:1=127.0.0.1:2", "[::1]:3=localhost:4"])
    assert found.inbound_pairs() == [("127.0.0.1:1", "127.0.0.1:2"), ("[::1]:3", "localhost:4")]
    assert (found.namespace, found.workload_name(), found.worker.role) == ("shop", "cart", "sidecar")


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"workload": ""}, "say --workload NAME.NAMESPACE"),
        ({"workload": "cart"}, "is not NAME.NAMESPACE"),
        ({"workload": ".shop"}, "is not NAME.NAMESPACE"),
        ({"namespace": "other"}, "--namespace other and --workload cart.shop contradict each other"),
        ({"inbound": []}, "needs --inbound HOST:PORT=HOST:PORT, --outbound HOST:PORT, or both"),
        ({"listen": "127.0.0.1:1"}, "not --listen"),
        ({"inbound": ["15006"]}, "is not HOST:PORT=HOST:PORT"),
        ({"inbound": ["127.0.0.1:15006="]}, "is not HOST:PORT=HOST:PORT"),
        ({"inbound": ["127.0.0.1=127.0.0.1:3000"]}, "is not HOST:PORT"),
        ({"inbound": ["127.0.0.1:15006=app:3000"]}, "app:3000 is not ADDRESS:PORT of the workload"),
        ({"inbound": ["127.0.0.1:15006=127.0.0.1:0"]}, "is not ADDRESS:PORT of the workload"),
        ({"inbound": ["unix:///x=127.0.0.1:3000"]}, "is a socket of the file system"),
        ({"inbound": ["127.0.0.1:1=127.0.0.1:3", "127.0.0.1:1=127.0.0.1:4"]}, "listens there already"),
        ({"outbound": "127.0.0.1:15006"}, "listens there already"),
        ({"outbound": "nowhere"}, "--outbound"),
        ({"trust_domain": "East"}, "--trust-domain: 'East' is not a trust domain"),
        ({"role": "gateway"}, "--inbound is for a sidecar"),
        ({"role": "mesh", "inbound": [], "listen": "127.0.0.1:1", "outbound": ":2"}, "--outbound is for a sidecar"),
    ],
)
def test_wrong_flags_of_a_sidecar(more: dict[str, object], text: str) -> None:
    with pytest.raises(click.UsageError) as error:
        checked(**more)
    assert text in error.value.message


@pytest.mark.parametrize(
    ("more", "whose"),
    [
        ({"inbound": ["127.0.0.1:15006=127.0.0.1:15006"]}, "--inbound 127.0.0.1:15006"),
        ({"inbound": ["0.0.0.0:15006=127.0.0.1:15006"]}, "--inbound 0.0.0.0:15006"),
        ({"inbound": [":15006=127.0.0.1:15006"]}, "--inbound :15006"),
        ({"inbound": ["127.0.0.1:15006=localhost:15006"]}, "--inbound"),
        ({"inbound": ["127.0.0.1:1=127.0.0.1:2", "127.0.0.1:2=127.0.0.1:3"]}, "--inbound 127.0.0.1:2"),
        ({"outbound": "127.0.0.1:15001", "inbound": ["127.0.0.1:15006=0.0.0.0:15001"]}, "--outbound 127.0.0.1:15001"),
        ({"inbound": ["127.0.0.1:15006=127.0.0.1:15000"]}, "--admin 127.0.0.1:15000"),
        ({"status": ["[::]:15021"], "inbound": ["127.0.0.1:15006=[::1]:15021"]}, "--status [::]:15021"),
    ],
)
def test_loops_are_refused(more: dict[str, object], whose: str) -> None:
    with pytest.raises(click.UsageError) as error:
        checked(**more)
    assert f"leads back into this proxy ({whose}" in error.value.message


def test_what_is_no_loop() -> None:
    checked(inbound=["127.0.0.2:3000=127.0.0.1:3000"])  # the same port at another address
    checked(inbound=["0.0.0.0:3000=192.0.2.7:3000"])  # another machine
    checked(inbound=["127.0.0.1:0=127.0.0.1:3000"], admin="off")
