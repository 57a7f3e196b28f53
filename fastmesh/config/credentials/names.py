"""Which certificates and keys the objects of a configuration ask for: each gets a name, and what is missing is told.

A Gateway's and a DestinationRule's Secrets are those of the proxy's own namespace, as Istio has it.
"""

from __future__ import annotations

from fastmesh.config.credentials.sources import CHAINS, KEYS, ROOTS, entry_of
from fastmesh.config.origins import origin
from fastmesh.config.place import Path, dotted
from fastmesh.config.plan import CredentialSourcePlan, Origin
from fastmesh.config.resource import AnyResource, Resource
from fastmesh.config.store import ConfigSet
from fastmesh.errors import Problem
from fastmesh.model.destination_rule import ClientTLS
from fastmesh.model.gateway import ServerTLS, TLSCertificate
from fastmesh.model.kubernetes import Secret

MESH = "mesh"
CA_SUFFIX = "-cacert"

_REFUSED = "until it is there every handshake is refused"


class Credentials:
    """Gives names to the credentials of one plan; what is missing is told to `problems`."""

    def __init__(self, config: ConfigSet, namespace: str, *, identity: bool) -> None:
        self._told: dict[tuple[str, int, str], Problem] = {}
        self._config = config
        self._namespace = namespace  # of the proxy: Secrets of Istio's objects are looked for there
        self._identity = identity
        self._sources: dict[str, CredentialSourcePlan] = {}
        if identity:
            asked = Origin(kind="", namespace="", name="")
            self._sources[MESH] = CredentialSourcePlan(name=MESH, origin=asked, mesh=True)

    @property
    def problems(self) -> list[Problem]:
        return list(self._told.values())

    @property
    def sources(self) -> list[CredentialSourcePlan]:
        return list(self._sources.values())

    def mesh(self, written: AnyResource | None = None, path: Path = ()) -> str:
        """The proxy's own identity; when it has none, `written` is told, if that asks for it."""
        if not self._identity and written is not None:
            self._warn(written, path, f"needs the identity of this proxy, start it with --certs DIR; {_REFUSED}")
        return MESH

    def of_server(self, tls: ServerTLS, written: AnyResource, path: Path) -> list[str]:
        """What a server of a Gateway shows to clients, and what it checks theirs against."""
        if tls.mode == "ISTIO_MUTUAL":
            return [self.mesh(written, (*path, "mode"))]
        verifies = tls.mode != "SIMPLE"
        names = tls.credential_names or [tls.credential_name] * bool(tls.credential_name)
        if not names:
            return self._server_files(tls, written, path, verifies)
        step = (*path, "credentialNames" if tls.credential_names else "credentialName")
        roots = None
        if verifies:
            own = (*path, "caCertCredentialName") if tls.ca_cert_credential_name else step
            roots = self.roots_place(self._namespace, tls.ca_cert_credential_name or names[0], written, own)
        found = []
        for index, name in enumerate(names):
            at = (*step, index) if tls.credential_names else step
            pair = self.pair_place(self._namespace, name, written, at)
            found.append(self.put(written, at, pair, pair, [roots] if verifies else [], roots or ""))
        return found

    def _server_files(self, tls: ServerTLS, written: AnyResource, path: Path, verifies: bool) -> list[str]:
        roots: list[str | None] = []
        crl = f"file:{tls.ca_crl}" if tls.ca_crl else ""
        if verifies and tls.ca_cert_credential_name:
            place = (*path, "caCertCredentialName")
            roots = [self.roots_place(self._namespace, tls.ca_cert_credential_name, written, place)]
            crl = roots[0] or ""
        elif verifies:
            roots = [f"file:{tls.ca_certificates}"]
        own = TLSCertificate(server_certificate=tls.server_certificate, private_key=tls.private_key)
        found = []
        for index, pair in enumerate(tls.tls_certificates or [own]):
            at = (*path, "tlsCertificates", index) if tls.tls_certificates else (*path, "serverCertificate")
            chain, key = f"file:{pair.server_certificate}", f"file:{pair.private_key}"
            found.append(self.put(written, at, chain, key, roots, crl))
        return found

    def of_client(self, tls: ClientTLS, written: AnyResource, path: Path, *, by_name: bool) -> str:
        """What a client shows and what it checks servers against; "" is nothing, and the system's roots.

        `by_name`: this proxy honours `credentialName` (a gateway, or a rule for chosen workloads).
        """
        if tls.mode == "ISTIO_MUTUAL":
            return self.mesh(written, (*path, "mode"))
        shows, checks = tls.mode == "MUTUAL", not tls.insecure_skip_verify
        if not tls.credential_name:
            return self._client_files(tls, written, path)
        at, name = (*path, "credentialName"), tls.credential_name
        if not by_name:
            self._warn(written, at, "is honoured at gateways, elsewhere only in a rule with workloadSelector; add one")
            return f"secret:{self._namespace}/{name}" if shows else ""
        pair = self.pair_place(self._namespace, name, written, at) if shows else ""
        roots = self.roots_place(self._namespace, name, written, at) if checks else ""
        return self.put(written, at, pair, pair, [roots] if checks else [], roots or "")

    def _client_files(self, tls: ClientTLS, written: AnyResource, path: Path) -> str:
        chain = f"file:{tls.client_certificate}" if tls.client_certificate else ""
        key = f"file:{tls.private_key}" if tls.private_key else ""
        checks = not tls.insecure_skip_verify
        roots: list[str | None] = [f"file:{tls.ca_certificates}"] if tls.ca_certificates and checks else []
        crl = f"file:{tls.ca_crl}" if tls.ca_crl and checks else ""
        step = "clientCertificate" if chain else "caCertificates" if roots else "caCrl"
        return self.put(written, (*path, step), chain, key, roots, crl) if chain or roots or crl else ""

    def put(
        self,
        written: AnyResource,
        path: Path,
        chain: str | None,
        key: str | None,
        roots: list[str | None],
        crl: str = "",
    ) -> str:
        """The name of a credential of these places; a place that is None is missing, and so is the credential."""
        parts = [chain or "", *(f"ca={place}" for place in roots if place)]
        parts.append(f"crl={crl}" if crl.startswith("file:") else "")
        name = "+".join(dict.fromkeys(part for part in parts if part)) or "nothing"
        if chain is None or key is None or None in roots:
            return f"{name} (missing)"
        if name not in self._sources:
            self._sources[name] = CredentialSourcePlan(
                name=name,
                origin=origin(written, path=path),
                field=dotted(path),
                chain=chain,
                key=key,
                roots=[place for place in roots if place],
                crl=crl,
            )
        return name

    def pair_place(self, namespace: str, name: str, written: AnyResource, path: Path) -> str | None:
        """The Secret with a certificate and its key, or None after its lack was told."""
        secret = self._secret(namespace, name)
        if secret is None:
            self._warn(written, path, f"there is no Secret {namespace}/{name}{self._elsewhere(name)}; {_REFUSED}")
        elif entry_of(secret, CHAINS) is None or entry_of(secret, KEYS) is None:
            message = f"Secret {namespace}/{name} has neither tls.crt and tls.key nor cert and key; {_REFUSED}"
            self._warn(written, path, message)
        else:
            return f"secret:{namespace}/{name}"
        return None

    def roots_place(self, namespace: str, name: str, written: AnyResource, path: Path) -> str | None:
        """The Secret with roots: `NAME-cacert` before NAME itself; None after its lack was told."""
        base = name.removesuffix(CA_SUFFIX)
        for known in (base + CA_SUFFIX, name, base):
            secret = self._secret(namespace, known)
            if secret is not None and entry_of(secret, ROOTS) is not None:
                return f"secret:{namespace}/{known}"
        wanted = f"Secret {namespace}/{base + CA_SUFFIX} with ca.crt or cacert, nor {namespace}/{base} with them"
        self._warn(written, path, f"there is no {wanted}; peers cannot be checked and {_REFUSED}")
        return None

    def map_place(self, namespace: str, name: str, written: AnyResource, path: Path) -> str | None:
        """The ConfigMap with roots, or None after its lack was told."""
        found = self._config.get("ConfigMap", namespace, name)
        if found is not None and entry_of(found, ROOTS) is not None:
            return f"configmap:{namespace}/{name}"
        lack = "has no ca.crt" if found is not None else "is not there"
        self._warn(written, path, f"ConfigMap {namespace}/{name} {lack}; peers cannot be checked and {_REFUSED}")
        return None

    def refuse(self, written: AnyResource, path: Path, message: str) -> None:
        """Tell of material that may not be used."""
        self._warn(written, path, f"{message}; {_REFUSED}")

    def _secret(self, namespace: str, name: str) -> Resource[Secret] | None:
        return self._config.get("Secret", namespace, name)

    def _elsewhere(self, name: str) -> str:
        others = [secret.namespace for secret in self._config.secrets if secret.name == name]
        return f", but one in {', '.join(others)} (the proxy's own namespace counts: --namespace)" if others else ""

    def _warn(self, written: AnyResource, path: Path, message: str) -> None:
        problem = written.problem(path, message, "warning", "reference")
        self._told.setdefault((problem.file, problem.line, problem.message), problem)
