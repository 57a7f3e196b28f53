"""The certificates of one run: a CA, what proxies show to clients, and the names of two workloads. Never kept."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

TRUST_DOMAIN = "cluster.local"
CONFIG = "[req]\ndistinguished_name=none\n[none]\n"  # the machine's openssl.cnf has no say
CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
RSA = ("-newkey", "rsa:2048")
LEAF = (
    *("-addext", "basicConstraints=critical,CA:FALSE", "-addext", "keyUsage=critical,digitalSignature"),
    *("-addext", "extendedKeyUsage=serverAuth,clientAuth"),
)


@dataclass(frozen=True)
class Pem:
    """A chain and its key in Istio's file names, and the roots that check the other side."""

    folder: Path

    @property
    def chain(self) -> Path:
        return self.folder / "cert-chain.pem"

    @property
    def key(self) -> Path:
        return self.folder / "key.pem"

    @property
    def roots(self) -> Path:
        return self.folder / "root-cert.pem"

    def together(self, target: Path) -> Path:
        """Chain and key in one file, as HAProxy reads them."""
        target.write_text(self.chain.read_text() + self.key.read_text())
        return target


@dataclass(frozen=True)
class Certificates:
    ecdsa: Pem
    rsa: Pem
    client: Pem
    server: Pem


def spiffe(name: str) -> str:
    return f"spiffe://{TRUST_DOMAIN}/ns/default/sa/{name}"


def make(folder: Path) -> Certificates:
    """All of a run's certificates, in `folder`; raises RuntimeError with openssl's words when it cannot be done."""
    folder.mkdir(parents=True)
    (folder / "openssl.cnf").write_text(CONFIG)
    authority = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    _openssl(folder, "ca", *CURVE, "-subj", "/O=bench", *authority)
    names = "DNS:bench,DNS:bench.example"
    return Certificates(
        ecdsa=_leaf(folder, "ecdsa", CURVE, names),
        rsa=_leaf(folder, "rsa", RSA, names),
        client=_leaf(folder, "client", CURVE, f"DNS:client,URI:{spiffe('client')}"),
        server=_leaf(folder, "bench", CURVE, f"DNS:bench,URI:{spiffe('bench')}"),
    )


def _leaf(folder: Path, name: str, kind: tuple[str, ...], names: str) -> Pem:
    signer = ("-CA", str(folder / "ca.pem"), "-CAkey", str(folder / "ca.key"))
    _openssl(folder, name, *kind, "-subj", f"/CN={name}", *signer, *LEAF, "-addext", f"subjectAltName={names}")
    made = Pem(folder / name)
    made.folder.mkdir()
    (folder / f"{name}.pem").rename(made.chain)
    (folder / f"{name}.key").rename(made.key)
    made.roots.write_bytes((folder / "ca.pem").read_bytes())
    return made


def _openssl(folder: Path, name: str, *options: str) -> None:
    places = ("-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem"))
    command = ["openssl", "req", "-x509", "-config", str(folder / "openssl.cnf"), "-nodes", "-days", "2", *places]
    try:
        made = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60)
    except OSError as error:
        raise RuntimeError(f"no openssl: {error}") from error
    if made.returncode:
        raise RuntimeError(f"openssl makes no certificate: {made.stderr.strip()[-300:]}")
