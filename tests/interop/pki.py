"""The keys and certificates of all parties, by one CA: of web servers and clients, and of workloads of a mesh."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509

from fastmesh.security.files import CHAIN, KEY, ROOTS
from tests.security import making

DOMAIN = "cluster.local"
SERVER = "app.example"
CLIENT = "client.example"


@dataclass(frozen=True)
class Party:
    """Whose files lie in `folder`, under the names that Istio mounts."""

    folder: Path

    @property
    def chain(self) -> Path:
        return self.folder / CHAIN

    @property
    def key(self) -> Path:
        return self.folder / KEY

    @property
    def roots(self) -> Path:
        return self.folder / ROOTS

    @property
    def both(self) -> Path:
        """Chain and key in one file, as HAProxy wants it."""
        whole = self.folder / "both.pem"
        if not whole.exists():
            whole.write_bytes(self.chain.read_bytes() + self.key.read_bytes())
        return whole


class Authority:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = making.root(DOMAIN)
        self.other = making.root(DOMAIN)  # somebody else's CA of the same name
        self.server = self._web("server", SERVER, "localhost", "*.example")
        self.client = self._web("client", CLIENT)
        self.stranger = self._web("stranger", CLIENT, issuer=self.other)

    @property
    def roots(self) -> Path:
        return self.server.roots

    def _web(self, folder: str, *names: str, issuer: making.Pair | None = None) -> Party:
        wanted: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        wanted.append(x509.IPAddress(IPv4Address("127.0.0.1")))
        pair = making.odd(issuer or self.root, uris=(), names=wanted, common_name=names[0])
        return self._written(folder, pair)

    def workload(self, account: str, namespace: str = "default") -> Party:
        """The files of `spiffe://cluster.local/ns/NAMESPACE/sa/ACCOUNT`."""
        name = f"{account}.{namespace}"
        if (self.folder / name).exists():
            return Party(self.folder / name)
        return self._written(name, making.leaf(self.root, identity(account, namespace)))

    def foreigner(self, account: str) -> Party:
        """A workload of that name by the other CA."""
        name = f"foreign-{account}"
        if (self.folder / name).exists():
            return Party(self.folder / name)
        return self._written(name, making.leaf(self.other, identity(account)), self.other)

    def _written(self, folder: str, pair: making.Pair, *roots: making.Pair) -> Party:
        (self.folder / folder).mkdir(parents=True)
        making.write(self.folder / folder, pair, roots=[self.root, *roots])
        return Party(self.folder / folder)


def identity(account: str, namespace: str = "default") -> str:
    return f"spiffe://{DOMAIN}/ns/{namespace}/sa/{account}"
