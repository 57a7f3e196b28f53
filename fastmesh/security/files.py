"""Files of key material: written whole or not at all, keys for their owner only."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

CHAIN, KEY, ROOTS = "cert-chain.pem", "key.pem", "root-cert.pem"  # as Istio mounts a workload's certificate
CRL = "ca-crl.pem"
CA_CHAIN, CA_KEY = "ca-cert.pem", "ca-key.pem"  # as Istio reads its plugged-in CA
SECRET = frozenset((KEY, CA_KEY))


def write_together(folder: Path, contents: Mapping[str, bytes]) -> None:
    """All are written beside their places, then renamed one after the other: a reader that looks in between sees old
    and new ones for some microseconds, never half a file. Links (`..data`) in the folder are followed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ready: list[tuple[str, Path]] = []
    try:
        for name, content in contents.items():
            place = Path(os.path.realpath(folder / name))
            fd, fresh = tempfile.mkstemp(prefix=f".{name}.", dir=place.parent)
            ready.append((fresh, place))
            with open(fd, "wb") as file:
                os.fchmod(fd, 0o600 if name in SECRET else 0o644)
                file.write(content)
                file.flush()
                os.fsync(fd)
        while ready:
            os.rename(*ready.pop(0))
    finally:
        for fresh, _ in ready:
            os.unlink(fresh)
