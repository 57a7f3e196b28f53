"""`fastmesh explain`: which rule decides a request and what happens, asked of the compiled snapshot. Sends nothing."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import click
import orjson

from fastmesh.cli.explain_tcp import connection
from fastmesh.cli.explain_tls import passed_on, tls_of
from fastmesh.config.api_listeners import GATEWAY_NAME
from fastmesh.config.compile import Role, compile_plan, dns_names
from fastmesh.config.plan import ListenerPlan, Plan, encode, iterate
from fastmesh.config.resource import DEFAULT_NAMESPACE
from fastmesh.config.store import ConfigSet, read
from fastmesh.errors import EXIT_DATA, Problem

DEFAULT_PORTS = {"http": 80, "https": 443}
CONNECTIONS = ("tcp", "tls")
_NOBODY = re.compile(r"(?<![\d.])0\.\d+\.\d+\.\d+(?=:)")  # addresses that no endpoint has, see `_compile`


@click.command(short_help="Say which rule decides a request, and what happens.")
@click.option("-f", "files", multiple=True, required=True, metavar="PATH", help="A file, a folder, or - (repeatable).")
@click.option("--mesh-config", default="", metavar="PATH", help="A file with MeshConfig.")
@click.argument("method")
@click.argument("url")
@click.option("-H", "--header", "headers", multiple=True, metavar="'K: V'", help="A request header (repeatable).")
@click.option("--namespace", default=None, help="The client's namespace (default; with --gateway, the Gateway's).")
@click.option("--labels", default="", metavar="K=V,...", help="The client's labels.")
@click.option("--locality", default="", metavar="R/Z/S", help="Where the proxy stands: region/zone/subzone.")
@click.option("--gateway", default=None, metavar="NS/NAME", help="Ask as this Gateway's listener.")
@click.option("--sidecar", default=None, metavar="NAME.NS", help="Ask as this workload's sidecar, before its --port.")
@click.option("--port", type=click.IntRange(1, 65535), default=None, help="The port that the client connected to.")
@click.option("-o", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def explain(
    files: tuple[str, ...],
    mesh_config: str,
    method: str,
    url: str,
    headers: tuple[str, ...],
    namespace: str | None,
    labels: str,
    locality: str,
    gateway: str | None,
    sidecar: str | None,
    port: int | None,
    output: str,
) -> int:
    """Say which rule decides METHOD URL and what happens, as the proxy's own tables answer it; nothing is sent.

    tcp://ADDRESS:PORT and tls://NAME:PORT ask for connections; their METHOD is CONNECT.
    """
    result = read(files, allow_unenforced=True, mesh_config=mesh_config)
    if not result.ok:
        _show(result.problems)
        return EXIT_DATA
    _show(problem for problem in result.problems if problem.severity == "warning")
    tcp = url.partition("://")[0] in CONNECTIONS
    role = (
        _role(result.resources, namespace, _labels(labels), gateway, tcp) if sidecar is None else _server(sidecar, port)
    )
    role = dataclasses.replace(role, locality=locality)
    plan, answer = _ask(result.resources, role, gateway, method, url, _headers(headers), port)
    if output == "json":
        click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2))
    else:
        click.echo("\n".join(_text(answer, tls_of(plan, answer["cluster"]))))
    return 0


def _ask(
    config: ConfigSet,
    role: Role,
    gateway: str | None,
    method: str,
    url: str,
    headers: list[tuple[str, str]],
    port: int | None,
) -> tuple[Plan, dict[str, Any]]:
    from fastmesh.core.proxy.explain import explain as ask

    scheme, authority, target, said = _split(url)
    hosts = [value for name, value in headers if name == "host"]
    connected, strict = port or said, bool(port or said)
    plan, names = _compile(config, role)
    listener = _listener(plan, gateway, port, said or DEFAULT_PORTS.get(scheme, 0))
    if role.kind == "sidecar":
        listener = _before(plan, port or 0)
    if scheme in CONNECTIONS:
        host = authority.rpartition(":")[0].strip("[]")
        told = connection(plan, listener, scheme, host, connected or 0, hosts[-1] if hosts else "")
        told["endpoints"] = [_unresolved(endpoint, names) for endpoint in told["endpoints"]]
        return plan, told
    answer: dict[str, Any] = (scheme == "https" and passed_on(plan, listener, authority)) or ask(
        iterate(encode(plan)),
        listener.name,
        method,
        scheme,
        hosts[-1] if hosts else authority,
        target,
        [pair for pair in headers if pair[0] != "host"],
        connected or DEFAULT_PORTS[scheme],
        strict,
    )
    answer["endpoints"] = [_unresolved(endpoint, names) for endpoint in answer.get("endpoints") or []]
    for step in answer["steps"]:
        step["decision"] = _unresolved(step["decision"], names)
    return plan, answer


def _compile(config: ConfigSet, role: Role) -> tuple[Plan, dict[str, str]]:
    """The plan, with DNS names standing for themselves: an address that nobody has is put in and shown as the name."""
    names = {f"0.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}": name for n, name in enumerate(sorted(dns_names(config)), 1)}
    plan, problems = compile_plan(config, role, resolve={name: [address] for address, name in names.items()})
    _show(problems)
    return plan, names


def _unresolved(text: str, names: dict[str, str]) -> str:
    """With the names instead of what stands for them."""
    return _NOBODY.sub(lambda found: names.get(found[0], found[0]), text)


def _split(url: str) -> tuple[str, str, str, int | None]:
    """Scheme, authority, target with query, and the port if the URL says one."""
    text = url if "://" in url else f"http://{url}"
    parts = urlsplit(text)
    if parts.scheme not in (*DEFAULT_PORTS, *CONNECTIONS) or not parts.netloc:
        raise click.UsageError(f"{url}: write http://HOST[:PORT]/PATH, or tcp://ADDRESS:PORT")
    try:
        port = parts.port
    except ValueError as error:
        raise click.UsageError(f"{url}: {error}") from None
    if port is None and parts.scheme in CONNECTIONS:
        raise click.UsageError(f"{url}: the port is missing, write {parts.scheme}://{parts.netloc}:PORT")
    target = parts.path or "/"
    if parts.query or "?" in text:
        target += "?" + parts.query
    return parts.scheme, parts.netloc.rpartition("@")[2], target, port


def _headers(written: Iterable[str]) -> list[tuple[str, str]]:
    found = []
    for line in written:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise click.UsageError(f"-H {line}: write 'name: value'")
        found.append((name.strip().lower(), value.strip()))
    return found


def _labels(written: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in written.split(",") if pair.strip()]
    for name, equals, _ in pairs:
        if not equals:
            raise click.UsageError(f"--labels {name}: write name=value")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _role(config: ConfigSet, namespace: str | None, labels: dict[str, str], gateway: str | None, tcp: bool) -> Role:
    if gateway is None:
        # With interception: what a connection is asked for is told by its address
        return Role(namespace=namespace or DEFAULT_NAMESPACE, labels=labels, identity=True, intercepts=tcp)
    found = _gateway(config, gateway)
    if found is None:
        raise click.UsageError(f"--gateway {gateway}: there is no such Gateway in these files, write NAMESPACE/NAME")
    owner, selected = found
    # As the workload that this Gateway is for, and so with the other Gateways of the same workload.
    return Role(kind="gateway", namespace=namespace or owner, labels=labels or selected, identity=True)


def _server(written: str, port: int | None) -> Role:
    """The side of a sidecar that faces the mesh."""
    name, dot, namespace = written.rpartition(".")
    if not dot or not port:
        raise click.UsageError("--sidecar NAME.NAMESPACE --port PORT: the port is the one of the application")
    pair = ("127.0.0.1:15006", f"127.0.0.1:{port}")
    return Role(kind="sidecar", name=name, namespace=namespace, inbound=(pair,), identity=True)


def _gateway(config: ConfigSet, written: str) -> tuple[str, dict[str, str]] | None:
    """The namespace of a Gateway of either kind, and the labels of the workload that serves it."""
    namespace, slash, name = written.rpartition("/")
    wanted = namespace if slash else DEFAULT_NAMESPACE
    for gateway in config.gateways:
        if (gateway.namespace, gateway.name) == (wanted, name):
            return wanted, gateway.spec.selector
    for other in config.api_gateways:
        if (other.namespace, other.name) == (wanted, name):
            return wanted, {GATEWAY_NAME: name}
    return None


def _listener(plan: Plan, gateway: str | None, port: int | None, meant: int) -> ListenerPlan:
    """The mesh listener, or the Gateway's on the port that was said; with none said, the likeliest one."""
    if gateway is None:
        return plan.listeners[0]
    name = gateway if "/" in gateway else f"{DEFAULT_NAMESPACE}/{gateway}"
    own = [listener for listener in plan.listeners if name in listener.origins]
    fitting = [listener for listener in own if listener.port == (port or meant)]
    if not own or (port and not fitting):
        ports = ", ".join(str(listener.port) for listener in own) or "none"
        raise click.UsageError(f"--gateway {gateway}: no server on port {port or meant} (its ports: {ports})")
    return (fitting or own)[0]


def _before(plan: Plan, port: int) -> ListenerPlan:
    """A sidecar's listener before a port of its application."""
    own = [listener for listener in plan.listeners if listener.role == "inbound"]
    fitting = [listener for listener in own if listener.port == port]
    if not fitting:
        ports = ", ".join(str(listener.port) for listener in own) or "none"
        raise click.UsageError(f"--sidecar: its Sidecar opens no port {port} (its ports: {ports})")
    return fitting[0]


def _show(problems: Iterable[Problem]) -> None:
    for problem in problems:
        click.echo(str(problem), err=True)


def _text(answer: dict[str, Any], tls: str) -> list[str]:
    """For people: the decision first, then what goes upstream, then the steps."""
    lines = [f"{answer['action']}{_status(answer)}"]
    rule = answer.get("rule")
    if rule:
        route = f" route {rule['route']}" if rule.get("route") else ""
        place = f" ({rule['file']}:{rule['line']})" if rule.get("file") else ""
        lines.append(f"  rule       {rule['kind']} {rule['namespace']}/{rule['name']}{route}{place}")
    for key in ("cluster", "authority", "path", "location", "timeout_ms"):
        if answer.get(key) is not None:
            lines.append(f"  {key:<10} {answer[key]}")
        if key == "cluster" and tls:
            lines.append(f"  tls        {tls}")
    for name, share in (answer.get("weights") or {}).items():
        lines.append(f"  weight     {share:.4g} {name}")
    lines += [f"  endpoint   {endpoint}" for endpoint in answer.get("endpoints") or []]
    lines += [f"  header     {name}: {value}" for name, value in (answer.get("request_headers") or {}).items()]
    retries = answer.get("retries")
    if retries:
        lines.append(f"  retries    {retries['attempts']} on {', '.join(retries['retry_on'])}")
    if answer.get("flags"):
        lines.append(f"  flags      {','.join(answer['flags'])}")
    for step in answer.get("steps") or []:
        lines.append(f"  {step['step']:<14} {step['decision']} ({step['why']})")
    return lines


def _status(answer: dict[str, Any]) -> str:
    return f" {answer['status']}" if answer.get("status") is not None else ""
