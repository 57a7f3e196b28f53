"""The folder of `--certs`: the proxy's own identity, and the roots of the trust domains that it believes.

cert-chain.pem, key.pem, root-cert.pem as Istio mounts them. Roots of other trust domains are `bundle-TD.pem` beside
them, or `TD.pem` in a folder `trust-bundles`. `ca-crl.pem`, Istio's name, revokes; it need not be there.
"""

from __future__ import annotations

import os

from fastmesh.security import spiffe
from fastmesh.security.files import CHAIN, CRL, KEY, ROOTS
from fastmesh.security.material import Piece, Request

MESH = "mesh"
BUNDLE, BUNDLES, PEM = "bundle-", "trust-bundles", ".pem"


def mesh_request(folder: str, trust_domain: str = "") -> Request:
    """What the folder has now: bundles come and go."""
    believed, wrong = _bundles(folder)
    return Request(
        name=MESH,
        chain=_piece(folder, CHAIN),
        key=_piece(folder, KEY),
        roots=(_piece(folder, ROOTS),),
        crl=_piece(folder, CRL, optional=True),
        bundles=tuple(believed),
        wrong=tuple(wrong),
        mesh=True,
        trust_domain=trust_domain,
    )


def _bundles(folder: str) -> tuple[list[tuple[str, Piece]], list[str]]:
    """Trust domains and the files of their roots; and what is wrong with the names of such files."""
    inside = os.path.join(folder, BUNDLES)
    found = [(folder, name, name.removeprefix(BUNDLE)) for name in _names(folder) if name.startswith(BUNDLE)]
    found += [(inside, name, name) for name in _names(inside) if not name.startswith(".")]
    believed, wrong = [], []
    for where, name, domain in found:
        if not name.endswith(PEM):
            continue
        piece = _piece(where, name)
        try:
            believed.append((spiffe.trust_domain(domain.removesuffix(PEM)), piece))
        except ValueError as error:
            wrong.append(piece.line(str(error)))
    return believed, wrong


def _piece(folder: str, name: str, optional: bool = False) -> Piece:
    path = os.path.join(folder, name)
    return Piece(place=path, path=path, optional=optional)


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []  # what has to be in it is missed by name
