"""PeerAuthentication: what connections a workload accepts: mutual TLS, plaintext, or both.

https://istio.io/latest/docs/reference/config/security/peer_authentication/
"""

from __future__ import annotations

from typing import Literal

from fastmesh.model.base import MatchLabels, Spec

MTLSMode = Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]


class MutualTLS(Spec, frozen=True):
    """UNSET takes what the next wider level says."""

    mode: MTLSMode = "UNSET"


class PeerAuthentication(Spec, frozen=True):
    """`port_level_mtls` is by the WORKLOAD's port, whose number is a text as all keys are; None: not written."""

    selector: MatchLabels | None = None
    mtls: MutualTLS | None = None
    port_level_mtls: dict[str, MutualTLS] | None = None
