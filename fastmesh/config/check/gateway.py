"""Gateway (networking.istio.io): servers, their hosts, ports and TLS.

https://istio.io/latest/docs/reference/config/networking/gateway/
"""

from __future__ import annotations

import re

from fastmesh.config import ciphers
from fastmesh.config.check.report import At
from fastmesh.config.check.shared import check_labels, check_port_number, say
from fastmesh.config.place import snake
from fastmesh.config.read import syntax
from fastmesh.config.read.shape import closest
from fastmesh.config.resource import AnyResource
from fastmesh.model.gateway import Gateway, Server, ServerTLS, TLSCertificate

_HASH = re.compile(r"[0-9A-Fa-f]{64}\Z|([0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}\Z")
_SPKI = re.compile(r"[A-Za-z0-9+/]{43}=\Z")
_TERMINATES = ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL")
_SOURCES = {
    "serverCertificate": "server_certificate", "privateKey": "private_key", "caCertificates": "ca_certificates",
    "tlsCertificates": "tls_certificates", "credentialName": "credential_name", "credentialNames": "credential_names",
}  # fmt: skip


def check_gateway(resource: AnyResource, spec: Gateway, at: At) -> None:
    """Everything Istio refuses in a Gateway."""
    if "." in resource.name:
        at.error(f"{resource.name} is not the name of a Gateway, rename it without dots")
    check_labels(spec.selector, at["selector"])
    if not spec.servers:
        at["servers"].error("is empty, add a server with port and hosts")
    names: set[str] = set()
    for index, server in enumerate(spec.servers):
        place = at["servers"][index]
        if server.port.name and server.port.name in names:
            place["port"]["name"].error(f"{server.port.name} is the name of an earlier port, give each its own")
        names.add(server.port.name)
        _check_server(server, place)


def _check_server(server: Server, at: At) -> None:
    if not server.hosts:
        at["hosts"].error('is empty, name at least one host, or write ["*"]')
    for index, host in enumerate(server.hosts):
        check_namespaced_host(host, at["hosts"][index], gateway=True)
    protocol = server.port.protocol.upper()
    _check_port(server, at["port"])
    if server.bind.startswith(syntax.UNIX):
        say(at["bind"], syntax.unix_address(server.bind.removeprefix(syntax.UNIX)))
        if server.port.number:
            at["port"]["number"].error("a socket has no port, write number: 0")
    elif server.bind:
        say(at["bind"], syntax.address(server.bind))
    if server.tls is not None:
        check_server_tls(server.tls, at["tls"])
    if protocol in syntax.TLS_PROTOCOLS:
        if server.tls is None:
            at.error(f"tls is required with protocol {server.port.protocol} and missing, add tls: {{mode: ...}}")
        elif server.tls.https_redirect:
            at["tls"]["httpsRedirect"].advice(f"is for HTTP servers and has no effect on {server.port.protocol}")
    elif server.tls is not None and not syntax.protocol(server.port.protocol):
        _check_plain_tls(server.tls, server.port.protocol, at["tls"])


def _check_port(server: Server, at: At) -> None:
    port = server.port
    if not port.protocol:
        at.error("protocol is required and missing, add protocol: HTTP")
    else:
        say(at["protocol"], syntax.protocol(port.protocol))
    if port.number or not server.bind.startswith(syntax.UNIX):
        check_port_number(port.number, at["number"])
    if port.target_port:
        at["targetPort"].error("has no effect on a Gateway, remove it")
    if not port.name:
        at.error("name is required and missing, add name: ...")


def _check_plain_tls(tls: ServerTLS, protocol: str, at: At) -> None:
    """An HTTP server may redirect to https and nothing else; other plain protocols have no tls at all."""
    if protocol.upper() not in syntax.HTTP_PROTOCOLS:
        at.error(f"tls has no place with protocol {protocol}, write protocol: TLS or remove it")
        return
    if tls.mode not in ("PASSTHROUGH", "AUTO_PASSTHROUGH"):
        at["mode"].error(f"mode {tls.mode} has no place with protocol {protocol}, write protocol: HTTPS")
    for name in ("serverCertificate", "privateKey", "caCertificates"):
        if getattr(tls, _SOURCES[name]):
            at[name].error(f"has no place with protocol {protocol}, write protocol: HTTPS")


def check_server_tls(tls: ServerTLS, at: At) -> None:
    """Where certificates come from, by mode. Also the tls of a Sidecar's ingress."""
    given = [name for name, attribute in _SOURCES.items() if getattr(tls, attribute)]
    if tls.mode == "ISTIO_MUTUAL":
        for name in given:
            at[name].error("has no place with mode ISTIO_MUTUAL, the mesh brings its own certificates; remove it")
        return
    if tls.mode in ("PASSTHROUGH", "AUTO_PASSTHROUGH"):
        for name in (*given, *(["caCrl"] if tls.ca_crl else [])):
            at[name].advice(f"is not used with mode {tls.mode}, remove it or write mode: SIMPLE")
    _check_protocol(tls, at)
    _check_client(tls, at)
    sources: list[str] = [name for name in ("credentialName", "credentialNames", "tlsCertificates") if name in given]
    if tls.server_certificate and tls.private_key:
        sources.append("serverCertificate")
    if len(sources) > 1:
        at[sources[1]].error(f"{' and '.join(sources)} exclude each other, keep one source of certificates")
    for name in ("credentialNames", "tlsCertificates"):
        if len(getattr(tls, _SOURCES[name])) > 2:
            at[name].advice("has more than 2 certificates, keep one for each kind of key")
    if tls.mode in _TERMINATES:
        _check_files(tls, at)


def _check_protocol(tls: ServerTLS, at: At) -> None:
    """Versions, cipher suites, curves. An unknown suite is left out, as Istio leaves it out."""
    if tls.min_protocol_version in ("TLSV1_0", "TLSV1_1") and not tls.cipher_suites:
        message = f"{tls.min_protocol_version} needs cipher suites that are off by default, add cipherSuites"
        at["minProtocolVersion"].advice(message)
    versions = (tls.min_protocol_version, tls.max_protocol_version)
    if "TLS_AUTO" not in versions and versions[0] > versions[1]:
        message = f"{tls.min_protocol_version} is above maxProtocolVersion {tls.max_protocol_version}, exchange them"
        at["minProtocolVersion"].error(message)
    for index, name in enumerate(tls.cipher_suites):
        place = at["cipherSuites"][index]
        if name not in ciphers.KNOWN:
            guess = closest(name, ciphers.KNOWN) or ", write OpenSSL's name of one"
            place.advice(f"{name} is not a cipher suite of TLS 1.2 that is known here{guess}; it is left out")
        elif name in tls.cipher_suites[:index]:
            place.advice(f"{name} is there twice, keep one")
    for index, name in enumerate(tls.ecdh_curves):
        if name not in ciphers.CURVES:
            guess = closest(name, ciphers.CURVES) or f", those are {', '.join(sorted(ciphers.CURVES))}"
            at["ecdhCurves"][index].advice(f"{name} is not a curve that is served here{guess}; it is left out")


def _check_client(tls: ServerTLS, at: At) -> None:
    """What a client's certificate has to be."""
    for index, text in enumerate(tls.verify_certificate_hash):
        if not _HASH.match(text):
            at["verifyCertificateHash"][index].error("is not a SHA-256, write 64 hex digits, with colons or without")
    for index, text in enumerate(tls.verify_certificate_spki):
        if not _SPKI.match(text):
            at["verifyCertificateSpki"][index].error("is not a SHA-256 in base64, write 44 characters that end in =")
    if tls.mode in ("MUTUAL", "OPTIONAL_MUTUAL"):
        return
    for name in ("subjectAltNames", "verifyCertificateSpki", "verifyCertificateHash", "insecureSkipVerify"):
        if getattr(tls, snake(name)):
            at[name].advice(f"is about certificates of clients, which mode {tls.mode} does not ask for; write MUTUAL")


def _check_files(tls: ServerTLS, at: At) -> None:
    if tls.ca_crl and tls.credential_name:
        at["caCrl"].advice("is not used with credentialName, put the list into the credential")
    if tls.credential_name or tls.credential_names:
        return
    if tls.mode == "SIMPLE":
        if tls.ca_crl:
            at["caCrl"].error("has no place with mode SIMPLE, which asks clients for no certificate; remove it")
    elif not tls.ca_certificates and not tls.ca_cert_credential_name:
        at.error(f"caCertificates is required with mode {tls.mode} and missing, add a path or credentialName")
    pairs = [(at["tlsCertificates"][index], pair) for index, pair in enumerate(tls.tls_certificates)]
    own = TLSCertificate(server_certificate=tls.server_certificate, private_key=tls.private_key)
    for place, pair in pairs or [(at, own)]:
        for name, value in (("serverCertificate", pair.server_certificate), ("privateKey", pair.private_key)):
            if not value:
                place.error(f"{name} is required with mode {tls.mode} and missing, add a path or credentialName")


def check_namespaced_host(text: str, at: At, *, gateway: bool) -> None:
    """`namespace/host`; a Gateway may leave the namespace out, a Sidecar may exclude with `~`."""
    namespace, slash, host = text.partition("/")
    if not slash:
        if not gateway:
            at.error(f"{text} has no namespace, write */{text} or namespace/{text}")
            return
        namespace, host = "*", text
    if not namespace or not host:
        at.error(f'"{text}" lacks a part, write namespace/host')
        return
    if not gateway:
        namespace = namespace.removeprefix("~") or "*"
    if namespace not in ("*", "."):
        say(at, syntax.label(namespace, "namespace"))
    if host == "*" or (gateway and syntax.is_address(host)):
        return
    if "." not in host:
        at.error(f"{host} is a short name, write the whole one such as {host}.default.svc.cluster.local")
    elif not say(at, syntax.wildcard_domain(host)) and host.startswith("*") and not host.startswith("*."):
        at.error(f"{host} is a wildcard of a part of a label, write *.{host.lstrip('*-.').partition('.')[2]}")
