"""Secrets, and the credentials that a plan names: their places, their bytes, and what is said when they are missing."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from fastmesh.config.compile import Role, compile_plan
from fastmesh.config.credentials.names import Credentials
from fastmesh.config.credentials.sources import Wanted, collect
from fastmesh.model.destination_rule import ClientTLS
from fastmesh.model.gateway import ServerTLS, TLSCertificate
from tests.config.asking import config_of
from tests.config.test_decode import parse

HIDDEN = "c2VjcmV0LXZhbHVl"  # base64 of "secret-value"


def secret(name: str, entries: str, kind: str = "Opaque", namespace: str = "default", field: str = "data") -> str:
    head = f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\ntype: {kind}\n"
    return f"{head}{field}: {{{entries}}}\n"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


WEB = secret("web", f"tls.crt: {b64('chain')}, tls.key: {b64('key')}", "kubernetes.io/tls")


def named(text: str, ask: Any, identity: bool = False) -> tuple[Any, list[Wanted], list[str]]:
    """What `ask` answers about the Secrets in `text`, the credentials to be loaded, and what was told."""
    config = config_of("---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {clusterIP: None}\n" + text)
    names = Credentials(config, "default", identity=identity)
    answer = ask(names, config.services[0], ("spec", "tls"))
    plan = msgspec.structs.replace(compile_plan(config, Role())[0], sources=names.sources)
    return answer, collect(config, plan), [str(problem) for problem in names.problems]


def server(**tls: Any) -> Any:
    return lambda names, written, path: names.of_server(ServerTLS(**tls), written, path)


def client(by_name: bool = True, **tls: Any) -> Any:
    return lambda names, written, path: names.of_client(ClientTLS(**tls), written, path, by_name=by_name)


def held(wanted: Wanted) -> dict[str, Any]:
    """The pieces: bytes, or the path."""
    pieces = {name: getattr(wanted, name) for name in ("chain", "key", "crl", "staple")}
    found: dict[str, Any] = {name: piece.data.decode() or piece.path for name, piece in pieces.items() if piece}
    return found | ({"roots": [piece.data.decode() or piece.path for piece in wanted.roots]} if wanted.roots else {})


def test_a_secret_of_each_form() -> None:
    names, wanted, told = named(WEB, server(mode="SIMPLE", credential_name="web"))
    assert (names, told) == (["secret:default/web"], [])
    assert (wanted[0].name, wanted[0].kind, held(wanted[0])) == (names[0], "secret", {"chain": "chain", "key": "key"})
    old = secret("web", "cert: c, key: k, cacert: r, crl: l, tls.ocsp-staple: s", field="stringData")
    _, wanted, _ = named(old, server(mode="MUTUAL", credential_name="web"))
    assert held(wanted[0]) == {"chain": "c", "key": "k", "roots": ["r"], "crl": "l", "staple": "s"}
    both = secret("web", f"tls.crt: {b64('c')}, tls.key: {b64('k')}, ca.crt: {b64('r')}, ca.crl: {b64('l')}")
    _, wanted, _ = named(both, server(mode="OPTIONAL_MUTUAL", credential_name="web"))
    assert held(wanted[0]) == {"chain": "c", "key": "k", "roots": ["r"], "crl": "l"}


def test_a_piece_knows_what_it_is_and_where_it_was_written() -> None:
    _, wanted, _ = named(WEB, server(mode="SIMPLE", credential_name="web"))
    chain = wanted[0].chain
    assert chain is not None
    assert chain.what == "tls.crt of Secret default/web"
    shown = str(wanted[0].problem("is not a certificate", piece=chain))
    assert shown == 'test.yaml:11: Secret/web: data["tls.crt"]: is not a certificate'
    assert str(wanted[0].problem("expired")) == "test.yaml:5: Service/s: spec.tls.credentialName: expired"
    _, wanted, _ = named("", client(mode="SIMPLE", ca_certificates="/ca.pem"))
    shown = str(wanted[0].problem("/ca.pem cannot be read", "warning", wanted[0].roots[0]))
    assert shown == "test.yaml:5: warning: Service/s: spec.tls.caCertificates: /ca.pem cannot be read"


def test_roots_may_lie_in_a_secret_of_their_own() -> None:
    apart = WEB + secret("web-cacert", f"cacert: {b64('r')}")
    names, wanted, told = named(apart, server(mode="MUTUAL", credential_name="web"))
    assert (names, told) == (["secret:default/web+ca=secret:default/web-cacert"], [])
    assert held(wanted[0]) == {"chain": "chain", "key": "key", "roots": ["r"]}
    other = WEB + secret("ca", f"ca.crt: {b64('r')}")
    names, wanted, _ = named(other, server(mode="MUTUAL", credential_name="web", ca_cert_credential_name="ca"))
    assert (names, held(wanted[0])["roots"]) == (["secret:default/web+ca=secret:default/ca"], ["r"])


def test_several_certificates_for_several_kinds_of_key() -> None:
    two = WEB + secret("ec", "cert: c, key: k", field="stringData")
    names, wanted, _ = named(two, server(mode="SIMPLE", credential_names=["web", "ec"]))
    assert names == ["secret:default/web", "secret:default/ec"]
    assert [each.field for each in wanted] == ["spec.tls.credentialNames[0]", "spec.tls.credentialNames[1]"]


def test_files_of_a_server() -> None:
    tls = {"server_certificate": "/c.pem", "private_key": "/k.pem", "ca_certificates": "/ca.pem", "ca_crl": "/l.pem"}
    names, wanted, _ = named("", server(mode="MUTUAL", **tls))
    assert names == ["file:/c.pem+ca=file:/ca.pem+crl=file:/l.pem"]
    assert wanted[0].kind == "files"
    assert held(wanted[0]) == {"chain": "/c.pem", "key": "/k.pem", "roots": ["/ca.pem"], "crl": "/l.pem"}
    names, wanted, _ = named("", server(mode="SIMPLE", **{**tls, "ca_crl": ""}))
    assert (names, held(wanted[0])) == (["file:/c.pem"], {"chain": "/c.pem", "key": "/k.pem"})
    pairs = [TLSCertificate(server_certificate=f"/{n}.pem", private_key=f"/{n}.key") for n in "ab"]
    names, wanted, _ = named("", server(mode="SIMPLE", tls_certificates=pairs))
    assert names == ["file:/a.pem", "file:/b.pem"]


def test_what_clients_show_and_check_against() -> None:
    assert named("", client(mode="SIMPLE"))[:2] == ("", [])
    name, wanted, _ = named("", client(mode="SIMPLE", ca_certificates="/ca.pem"))
    assert (name, held(wanted[0])) == ("ca=file:/ca.pem", {"roots": ["/ca.pem"]})
    files = {"client_certificate": "/c.pem", "private_key": "/k.pem"}
    assert held(named("", client(mode="MUTUAL", **files))[1][0]) == {"chain": "/c.pem", "key": "/k.pem"}
    both = secret("web", "cert: c, key: k, cacert: r", field="stringData")
    assert held(named(both, client(mode="MUTUAL", credential_name="web"))[1][0])["roots"] == ["r"]
    assert held(named(both, client(mode="SIMPLE", credential_name="web"))[1][0]) == {"roots": ["r"]}
    blind = {"mode": "MUTUAL", "credential_name": "web", "insecure_skip_verify": True}
    assert held(named(both, client(**blind))[1][0]) == {"chain": "c", "key": "k"}


def test_a_sidecar_honours_a_credential_name_only_for_chosen_workloads() -> None:
    name, wanted, told = named(WEB, client(by_name=False, mode="MUTUAL", credential_name="web"))
    assert (name, wanted) == ("secret:default/web", [])
    assert "workloadSelector" in told[0]
    assert named(WEB, client(by_name=False, mode="SIMPLE", credential_name="web"))[0] == ""


def test_the_identity_of_the_proxy() -> None:
    for ask in (server(mode="ISTIO_MUTUAL"), client(mode="ISTIO_MUTUAL")):
        name, wanted, told = named("", ask, identity=True)
        assert (name if isinstance(name, str) else name[0], wanted[0].kind, wanted[0].chain) == ("mesh", "mesh", None)
        assert told == []
        name, wanted, told = named("", ask)
        assert (name if isinstance(name, str) else name[0], wanted) == ("mesh", [])
        assert told[0].startswith("test.yaml:5: warning: Service/s: spec.tls.mode: needs the identity of this proxy")
    config = config_of(WEB)
    assert [each.kind for each in collect(config, compile_plan(config, Role(identity=True))[0])] == ["mesh"]
    assert collect(config, compile_plan(config, Role())[0]) == []


@pytest.mark.parametrize(
    ("text", "ask", "message"),
    [
        ("", server(mode="SIMPLE", credential_name="web"), "there is no Secret default/web; until it is there"),
        (
            secret("web", "a: b", namespace="x", field="stringData"),
            server(mode="SIMPLE", credential_name="web"),
            "but one in x",
        ),
        (secret("web", "a: b", field="stringData"), server(mode="SIMPLE", credential_name="web"), "neither tls.crt"),
        (WEB, server(mode="MUTUAL", credential_name="web"), "no Secret default/web-cacert"),
        (WEB, client(mode="MUTUAL", credential_name="web"), "peers cannot be checked"),
    ],
)
def test_missing_material_is_told_and_not_loaded(text: str, ask: Any, message: str) -> None:
    name, wanted, told = named(text, ask)
    assert wanted == []
    assert (name if isinstance(name, str) else name[0]) != ""  # the plan has a name that nothing answers to
    assert message in told[0]
    assert told[0].startswith("test.yaml:5: warning: Service/s: spec.tls.credentialName: ")


@pytest.mark.parametrize(
    ("entries", "field", "path", "message"),
    [
        (f"tls.key: {HIDDEN}%", "data", 'data["tls.key"]', "is not base64"),
        ("tls.key: 12345678", "data", 'data["tls.key"]', "is not base64"),
        ("tls.key: [12345678]", "stringData", 'stringData["tls.key"]', "is not a text"),
    ],
)
def test_mistakes_of_a_secret_are_told_without_its_values(entries: str, field: str, path: str, message: str) -> None:
    result = parse(secret("x", entries, field=field))
    assert [(problem.field, problem.message[: len(message)]) for problem in result.errors] == [(path, message)]
    assert HIDDEN not in str(result.problems[0])
    assert "12345678" not in str(result.problems[0])


def test_no_text_of_a_secret_is_shown_anywhere() -> None:
    for text in (f"data: {HIDDEN}\n", f"stringData: [{HIDDEN}]\n", f"data: {{a: !!binary {HIDDEN}}}\n"):
        result = parse(secret("x", "").rpartition("data")[0] + text)
        assert result.errors
        assert HIDDEN not in repr(result.problems)
    result = parse(secret("x", f"a: {HIDDEN}"))
    assert result.ok
    assert HIDDEN not in repr(list(result.resources))


def test_a_tls_secret_has_both_parts() -> None:
    result = parse(secret("x", f"tls.crt: {HIDDEN}", "kubernetes.io/tls"))
    assert [problem.message for problem in result.errors] == [
        "tls.key is required with type kubernetes.io/tls and missing, add it under data or stringData"
    ]
    folded = f'{{tls.crt: "{HIDDEN[:8]}\\n{HIDDEN[8:]}\\n", tls.key: ""}}\n'
    result = parse(secret("x", "", "kubernetes.io/tls").rpartition("data")[0] + "data: " + folded)
    assert result.ok
    assert result.resources.secrets[0].spec.entry("tls.crt") == b"secret-value"
