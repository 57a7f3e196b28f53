"""Which protocol a port speaks, from what its owner declared: `appProtocol`, the port's name, or nothing ("SNIFF")."""

from __future__ import annotations

HTTP = frozenset({"HTTP", "HTTP2", "HTTP_PROXY", "GRPC", "GRPC-WEB"})
HTTP2 = frozenset({"HTTP2", "GRPC", "GRPC-WEB"})
TLS = frozenset({"HTTPS", "TLS"})
TCP = frozenset({"TCP", "MONGO", "REDIS", "MYSQL"})  # bytes: Istio's filters for databases are off by default
KNOWN = HTTP | {"TCP", "UDP", "HTTPS", "TLS", "MONGO", "REDIS", "MYSQL"}
SNIFF = "SNIFF"

_APP_PROTOCOLS = {"kubernetes.io/h2c": "HTTP2", "kubernetes.io/ws": "HTTP", "kubernetes.io/wss": "HTTPS"}
_SERVER_SPEAKS_FIRST = frozenset({25, 53, 3306, 27017})  # SMTP, DNS, MySQL, MongoDB: never sniffed


def is_http(protocol: str) -> bool:
    """HTTP by declaration, or undeclared and thus HTTP when the first bytes say so."""
    return protocol in HTTP or protocol == SNIFF


def declared(written: str | None) -> str:
    """The protocol of a ServiceEntry or Gateway port."""
    name = (written or "").upper()
    return name if name in KNOWN else SNIFF


def of_service_port(number: int, name: str | None, transport: str | None, app_protocol: str | None) -> str:
    """The protocol of a Kubernetes Service port."""
    if (transport or "").upper() == "UDP":
        return "UDP"
    if app_protocol in _APP_PROTOCOLS:
        return _APP_PROTOCOLS[app_protocol]
    text = (app_protocol if app_protocol else name or "").upper()
    if text.startswith("GRPC-WEB"):
        return "GRPC-WEB"
    word = text.partition("-")[0]
    if word in KNOWN:
        return word
    return "TCP" if number in _SERVER_SPEAKS_FIRST else SNIFF
