"""Secret: its entries are texts and base64. No message here ever holds a value.

https://kubernetes.io/docs/concepts/configuration/secret/
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from fastmesh.config.check.report import At
from fastmesh.config.resource import AnyResource
from fastmesh.model.kubernetes import Secret

TLS_TYPE = "kubernetes.io/tls"


def check_secret(resource: AnyResource, spec: Secret, at: At) -> None:
    for name, value in _entries(spec.data, at["data"]).items():
        if value is not None and not _is_base64(value):
            at["data"][name].error("is not base64, encode the bytes or write them as they are under stringData")
    for name, value in _entries(spec.string_data, at["stringData"]).items():
        if value is not None and not isinstance(value, str):
            at["stringData"][name].error("is not a text, put it into quotes")
    if spec.type == TLS_TYPE:
        for name in ("tls.crt", "tls.key"):
            if name not in spec.names():
                at.error(f"{name} is required with type {TLS_TYPE} and missing, add it under data or stringData")


def _entries(written: Any, at: At) -> dict[str, Any]:
    if isinstance(written, dict):
        return written
    if written is not None:
        at.error("is not a mapping, write name: value")
    return {}


def _is_base64(value: Any) -> bool:
    """As Kubernetes reads it: line ends are passed over, nothing else is."""
    try:
        base64.b64decode(str(value).replace("\n", "").replace("\r", ""), validate=isinstance(value, str))
    except (binascii.Error, ValueError):
        return False
    return isinstance(value, str)
