"""Where objects and bytes meet: what the files of a proxy make of its plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastmesh.config.plan import Plan
from fastmesh.security import pem
from fastmesh.server.configure import Compiled
from fastmesh.server.failure import SourcesError
from fastmesh.server.settings import ProxySettings
from fastmesh.server.sources import FileSources
from tests.security.making import leaf, root, write

CA = root()
GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{}}
  servers:
  - port: {{number: 443, name: https, protocol: HTTPS}}
    hosts: ["*"]
    tls: {{mode: SIMPLE, serverCertificate: {folder}/cert-chain.pem, privateKey: {folder}/key.pem}}
"""
WORKLOAD = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart, namespace: shop}
spec: {address: 127.0.0.1, labels: {app: cart}, serviceAccount: cart}
"""


def sources(folder: Path, yaml: str, **settings: object) -> FileSources:
    (folder / "mesh.yaml").write_text(yaml)
    return FileSources(ProxySettings(files=[str(folder / "mesh.yaml")], **settings))  # type: ignore[arg-type]


def sidecar(folder: Path, **settings: object) -> FileSources:
    fixed = {"role": "sidecar", "workload": "cart.shop", "namespace": "shop", "certs": str(folder / "certs")}
    pair = ["127.0.0.1:15006=127.0.0.1:3000"]
    return sources(folder, WORKLOAD, inbound=pair, **{**fixed, **settings})


def client_domains(plan: Plan) -> list[str]:
    tls = next(chain.tls for each in plan.listeners for chain in each.chains if chain.tls is not None)
    return tls.trust_domains


def test_a_sidecar_knows_who_it_is(tmp_path: Path) -> None:
    write(tmp_path / "certs", leaf(CA, "spiffe://cluster.local/ns/shop/sa/cart"), roots=[CA])
    compiled = sidecar(tmp_path).compile({}, None)
    mesh = compiled.plan.mesh
    assert mesh.trust_domain == "cluster.local"
    assert (mesh.workload.name, mesh.workload.namespace) == ("cart", "shop")
    assert mesh.workload.principal == "spiffe://cluster.local/ns/shop/sa/cart"
    assert [each.name for each in compiled.plan.listeners] == ["inbound_15006"]
    (credential,) = compiled.plan.credentials
    assert (credential.name, list(credential.bundles)) == ("mesh", ["cluster.local"])
    assert client_domains(compiled.plan) == ["cluster.local"]
    assert compiled.warnings == []


def test_the_first_certificate_says_the_trust_domain_for_good(tmp_path: Path) -> None:
    east, west = root("east"), root("west")
    write(tmp_path / "certs", leaf(east, "spiffe://east/ns/shop/sa/cart"), roots=[east])
    mine = sidecar(tmp_path)
    first = mine.compile({}, None)
    assert first.plan.mesh.trust_domain == "east"
    write(tmp_path / "certs", leaf(west, "spiffe://west/ns/shop/sa/cart"), roots=[west])
    second = mine.renew(first)
    assert second.encoded == first.encoded
    assert "is of the trust domain west, and the proxy's is east" in second.loaded.warnings[0]


def test_bundles_let_clients_of_other_trust_domains_in(tmp_path: Path) -> None:
    write(tmp_path / "certs", leaf(CA, "spiffe://cluster.local/ns/shop/sa/cart"), roots=[CA])
    mine = sidecar(tmp_path)
    first = mine.compile({}, None)
    bundle = tmp_path / "certs/bundle-east.pem"
    bundle.write_bytes(pem.of_certificates([root("east").certificate]))
    assert str(bundle) in mine.watched(first)
    renewed = mine.renew(first)
    assert client_domains(renewed.plan) == ["cluster.local", "east"]
    assert renewed.plan.listeners == mine.compile({}, renewed).plan.listeners
    bundle.unlink()
    assert mine.renew(renewed).encoded == first.encoded


def test_files_of_a_gateway(tmp_path: Path) -> None:
    write(tmp_path, leaf(CA), roots=[CA])
    mine = sources(tmp_path, GATEWAY.format(folder=tmp_path), role="gateway")
    first = mine.compile({}, None)
    (credential,) = first.plan.credentials
    assert pem.certificates(credential.chain) == pem.certificates((tmp_path / "cert-chain.pem").read_bytes())
    assert set(mine.watched(first)) >= {f"{tmp_path}/cert-chain.pem", f"{tmp_path}/key.pem"}
    write(tmp_path, leaf(CA), roots=[CA])
    second = mine.renew(first)
    assert second.plan.credentials[0].serial != credential.serial
    assert second.plan.mesh.version == first.plan.mesh.version
    assert changed(first, second) == ["credentials"]


def changed(one: Compiled, other: Compiled) -> list[str]:
    """The parts of the plan that differ."""
    return [name for name in Plan.__struct_fields__ if getattr(one.plan, name) != getattr(other.plan, name)]


@pytest.mark.parametrize("environment", ["", "web"])
def test_who_a_proxy_without_a_workload_stands_for(
    tmp_path: Path, environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISTIO_META_WORKLOAD_NAME", environment)
    write(tmp_path / "certs", leaf(CA), roots=[CA])
    plan = sources(tmp_path, WORKLOAD, listen="127.0.0.1:1", certs=str(tmp_path / "certs")).compile({}, None).plan
    assert plan.mesh.workload.principal == "spiffe://cluster.local/ns/default/sa/shop"
    assert plan.mesh.workload.name == (environment or "unknown")


UNSERVED = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a.example]
  http: [{route: [{destination: {host: a.example}}], headers: {request: {set: {x: '%STREAM_ID%'}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a}
spec: {hosts: [a.example], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
"""
UNNAMED = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {}
  servers:
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: none}}
"""
UNENFORCED = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: a}
spec: {}
"""


def test_strict_refuses_whatever_is_warned_of(tmp_path: Path) -> None:
    """What an object says alone, and what only a compiled plan shows; not what its own flag lets through."""
    for made, told in (
        (lambda **more: sources(tmp_path, UNSERVED, **more), "%STREAM_ID% is valid but not served yet"),
        (lambda **more: sources(tmp_path, UNNAMED, role="gateway", **more), "Secret"),
        (lambda **more: sidecar(tmp_path, workload="other.shop", certs="", **more), "--workload other.shop"),
    ):
        assert any(told in line for line in made().compile({}, None).warnings), made().compile({}, None).warnings
        with pytest.raises(SourcesError) as refused:
            made(strict=True).compile({}, None)
        assert (refused.value.code, any(told in line for line in refused.value.problems)) == (65, True)
    compiled = sources(tmp_path, UNENFORCED, strict=True, allow_unenforced=True).compile({}, None)
    assert "is not enforced yet" in compiled.warnings[0]
