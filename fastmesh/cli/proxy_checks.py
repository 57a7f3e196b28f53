"""What can be said about the settings of a proxy without reading a file. A UsageError names the flag."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from fastmesh.config.resource import DEFAULT_NAMESPACE
from fastmesh.filter_modules import folder_complaint
from fastmesh.security import spiffe
from fastmesh.server import redis
from fastmesh.server.settings import ProxySettings
from fastmesh.server.sockets import Address, parse_address

EVERY = ("0.0.0.0", "::")


def checked(settings: ProxySettings) -> ProxySettings:
    """The settings as the server wants them."""
    if not settings.files:
        raise click.UsageError("give the files of the mesh: -f PATH")
    if "-" in settings.files:
        raise click.UsageError("-f -: a proxy reads its files again when it reloads, standard input cannot be")
    if settings.strict and settings.per_object:
        raise click.UsageError(
            "--strict refuses the whole for a warning, --per-object nothing but one object: keep one"
        )
    _check_role(settings)
    for flag, text in _addresses(settings):
        if text and text != "off":
            _read(flag, parse_address, text)
    _read("--map", settings.port_map)
    _read("--labels", settings.label_map)
    _check_inbound(settings)
    if settings.redis:
        _read("--redis", redis.parse_address, settings.redis)
    if settings.redis_password_file:
        _read_password(settings)
    if settings.trust_domain:
        _read("--trust-domain", spiffe.trust_domain, settings.trust_domain)
    if not 1 <= settings.worker.limits.fields <= 128:
        raise click.UsageError("--max-fields is at least 1 and at most 128")
    if settings.worker.overload.complaint():
        raise click.UsageError(
            f"--overload-close, --overload-shed, --overload-stop: {settings.worker.overload.complaint()}"
        )
    log = None if settings.access_log in ("off", "") else settings.access_log
    if log not in (None, "-"):
        log = str(Path(log).absolute())
    for folder in settings.filter_path:
        complaint = folder_complaint(folder)
        if complaint:
            raise click.UsageError(f"--filter-path: {complaint}")
    filters = [str(Path(folder).absolute()) for folder in settings.filter_path]
    worker = msgspec.structs.replace(settings.worker, role=settings.role, access_log=log, filter_path=filters)
    return msgspec.structs.replace(settings, worker=worker, namespace=_namespace(settings))


def _read_password(settings: ProxySettings) -> None:
    if not settings.redis:
        raise click.UsageError("--redis-password-file is the password of --redis: say --redis URL")
    try:
        redis.read_password(settings.redis_password_file)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--redis-password-file: {error}") from None


def _check_role(settings: ProxySettings) -> None:
    role = settings.role
    if role == "mesh" and not settings.listen:
        raise click.UsageError("a mesh proxy needs --listen HOST:PORT (or use --role gateway or --role sidecar)")
    if role == "gateway" and settings.listen:
        raise click.UsageError(
            "a gateway listens on the ports of its Gateway objects: use --map and --bind, not --listen"
        )
    if role != "sidecar":
        for flag, value in (("--inbound", settings.inbound), ("--outbound", settings.outbound)):
            if value:
                raise click.UsageError(f"{flag} is for a sidecar: say --role sidecar")
        return
    if settings.listen:
        raise click.UsageError("a sidecar listens where --outbound and --inbound say, not --listen")
    if not settings.inbound and not settings.outbound:
        raise click.UsageError("a sidecar needs --inbound HOST:PORT=HOST:PORT, --outbound HOST:PORT, or both")
    if not settings.workload:
        raise click.UsageError("a sidecar stands for a workload: say --workload NAME.NAMESPACE")


def _namespace(settings: ProxySettings) -> str:
    """The workload's, when one is named."""
    if not settings.workload:
        return settings.namespace
    name, dot, namespace = settings.workload.rpartition(".")
    if not dot or not name or not namespace:
        raise click.UsageError(f"--workload: {settings.workload!r} is not NAME.NAMESPACE, as in cart.shop")
    if settings.namespace not in (DEFAULT_NAMESPACE, namespace):
        raise click.UsageError(
            f"--namespace {settings.namespace} and --workload {settings.workload} contradict each other"
        )
    return namespace


# ---- where it listens


def _addresses(settings: ProxySettings) -> Iterator[tuple[str, str]]:
    yield "--listen", settings.listen
    yield "--outbound", settings.outbound
    yield "--admin", settings.admin
    for text in settings.status:
        yield "--status", text


def _check_inbound(settings: ProxySettings) -> None:
    """Each pair is two addresses, and none leads back into this proxy: such a request would go round for ever."""
    pairs = _read("--inbound", settings.inbound_pairs)
    listening: list[tuple[str, Address]] = []
    for flag, text in _addresses(settings):
        if text and text != "off":
            listening.append((f"{flag} {text}", parse_address(text)))
    for listen, _ in pairs:
        address = _tcp(f"--inbound {listen}", listen)
        if any(address == other for _, other in listening) and address.port:
            raise click.UsageError(f"--inbound {listen}: this proxy listens there already, choose another port")
        listening.append((f"--inbound {listen}", address))
    for listen, text in pairs:
        target = _tcp(f"--inbound {listen}={text}", text)
        if not target.port or not (_is_literal(target.host) or target.host == "localhost"):
            raise click.UsageError(f"--inbound {listen}={text}: {text} is not ADDRESS:PORT of the workload")
        for what, own in listening:
            if _reaches(target, own):
                why = f"leads back into this proxy ({what}); name the port of the workload itself"
                raise click.UsageError(f"--inbound {listen}={text} {why}")


def _tcp(flag: str, text: str) -> Address:
    found: Address = _read(flag, parse_address, text)
    if found.path:
        raise click.UsageError(f"{flag}: {text} is a socket of the file system, write HOST:PORT")
    return found


def _reaches(target: Address, own: Address) -> bool:
    if own.path or target.port != own.port:
        return False
    host, bound = _plain(target.host), _plain(own.host)
    return host == bound or host in EVERY or (bound in EVERY and _is_of_this_machine(host))


def _plain(host: str) -> str:
    return "127.0.0.1" if host == "localhost" else host


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_of_this_machine(host: str) -> bool:
    """Only its own addresses can be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def _read(flag: str, read: Any, *arguments: str) -> Any:
    try:
        return read(*arguments)
    except ValueError as error:
        raise click.UsageError(f"{flag}: {error}") from None
