"""`fastmesh cert`: a local CA, certificates for workloads, and what stands in certificates. Keys are never shown."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from fastmesh.cli.cert_show import show
from fastmesh.errors import EXIT_DATA, FastmeshError
from fastmesh.security import authority, certs, files, pem, spiffe, times
from fastmesh.security.findings import MaterialError

CA_FOLDER = "certs/ca"
CA_DAYS = 3650
LEAF_DAYS = 90
Result = TypeVar("Result")


class CertError(FastmeshError):
    exit_code = EXIT_DATA


@click.group(short_help="Make a local CA and certificates; show certificates.", no_args_is_help=True)
def cert() -> None:
    """Make a local certificate authority and certificates of workloads, and show what stands in certificates."""


cert.add_command(show)


@cert.command(short_help="Make a certificate authority.")
@click.option("--out", default=CA_FOLDER, show_default=True, metavar="DIR", help="Where the CA is written.")
@click.option("--trust-domain", default=spiffe.DEFAULT_TRUST_DOMAIN, show_default=True, metavar="TD", help="Its own.")
@click.option("--days", type=click.IntRange(1, 36500), default=CA_DAYS, show_default=True, help="How long it is valid.")
@click.option("--rsa", is_flag=True, help="An RSA key instead of ECDSA P-256.")
@click.option("--force", is_flag=True, help="Replace a CA that is there: what it signed is then worth nothing.")
def ca(out: str, trust_domain: str, days: int, rsa: bool, force: bool) -> None:
    """Make a certificate authority: ca-cert.pem, ca-key.pem (keep it secret) and root-cert.pem (give it to peers)."""
    folder = Path(out)
    if (folder / files.CA_KEY).exists() and not force:
        raise FastmeshError(f"{folder / files.CA_KEY}: is there already; --force replaces it, --out writes elsewhere")
    domain = _usage("--trust-domain", spiffe.trust_domain, trust_domain)
    made = authority.make_ca(domain, timedelta(days=days), use_rsa=rsa)
    text = pem.of_certificates([made.certificate])
    _write(folder, {files.CA_CHAIN: text, files.CA_KEY: pem.of_key(made.key), files.ROOTS: text})
    _tell(folder, f"the CA of {domain}", made)


@cert.command(short_help="Issue a certificate for a workload.")
@click.argument("name", metavar="NAME.NAMESPACE|spiffe://...")
@click.option("--sa", default="", metavar="SA", help="Its service account; NAME when it is not said.")
@click.option("--dns", multiple=True, metavar="NAME", help="A DNS name besides the identity (repeatable).")
@click.option("--ip", "ips", multiple=True, metavar="ADDRESS", help="An IP address besides the identity (repeatable).")
@click.option("--days", type=click.IntRange(1, 36500), default=None, help=f"How long it is valid; {LEAF_DAYS}.")
@click.option("--hours", type=click.IntRange(1, 876000), default=None, help="The same in hours.")
@click.option("--ca", "ca_folder", default=CA_FOLDER, show_default=True, metavar="DIR", help="What `cert ca` has made.")
@click.option("--out", default="", metavar="DIR", help="Where it is written; certs/NAME.NAMESPACE.")
@click.option(
    "--trust-domain", default="", metavar="TD", help="Of the identity; the CA's, or cluster.local when it says none."
)
@click.option("--rsa", is_flag=True, help="An RSA key instead of ECDSA P-256.")
def issue(
    name: str,
    sa: str,
    dns: tuple[str, ...],
    ips: tuple[str, ...],
    days: int | None,
    hours: int | None,
    ca_folder: str,
    out: str,
    trust_domain: str,
    rsa: bool,
) -> None:
    """Issue a certificate for a workload: cert-chain.pem, key.pem and root-cert.pem, as Istio mounts them.

    Issuing again replaces the three; a proxy that runs with them (--certs DIR) takes the new ones without a restart.
    """
    if days is not None and hours is not None:
        raise click.UsageError("--days and --hours exclude each other")
    for each in ips:
        if not certs.is_address(each):
            raise click.UsageError(f"--ip: {each!r} is not an address, as in 127.0.0.1 or ::1")
    signer, above, roots = _read_ca(Path(ca_folder))
    domain = trust_domain or authority.domain_of(signer.certificate) or spiffe.DEFAULT_TRUST_DOMAIN
    identity = _usage("NAME", _identity, name, sa, domain)
    lifetime = timedelta(hours=hours) if hours is not None else timedelta(days=days or LEAF_DAYS)
    try:
        made = authority.issue(signer, identity, lifetime, dns=[_dns(each) for each in dns], ips=ips, use_rsa=rsa)
    except MaterialError as error:
        raise CertError(f"{Path(ca_folder) / files.CA_CHAIN}: {error}") from None
    folder = Path(out or Path("certs") / _folder_name(name))
    contents = {files.CHAIN: pem.of_certificates([made.certificate, *above]), files.KEY: pem.of_key(made.key)}
    _write(folder, {**contents, files.ROOTS: pem.of_certificates(roots)})
    _tell(folder, str(identity), made)


def _identity(name: str, sa: str, domain: str) -> spiffe.SpiffeID:
    if name.startswith(spiffe.SCHEME):
        if sa:
            raise ValueError("--sa has no place beside a whole SPIFFE id")
        found = spiffe.parse(name)
        if not found.path:
            raise ValueError(f"{name} names a trust domain; write a path, as in {name}/ns/shop/sa/cart")
        return found
    workload, dot, namespace = name.partition(".")
    if not dot or "." in namespace:
        raise ValueError(f"{name!r} is not NAME.NAMESPACE, as in cart.shop, and not a whole SPIFFE id")
    return spiffe.of_workload(domain, namespace, sa or workload)


def _folder_name(name: str) -> str:
    if not name.startswith(spiffe.SCHEME):
        return name
    found = spiffe.parse(name)
    return ".".join(reversed(found.workload)) if found.workload else found.path.strip("/").replace("/", "-")


def _dns(name: str) -> str:
    try:
        return name.encode("idna").decode() if not name.isascii() else name
    except UnicodeError:
        raise click.UsageError(f"--dns: {name!r} is not a DNS name") from None


def _read_ca(folder: Path) -> tuple[authority.Pair, list[Any], list[Any]]:
    """The certificate and key that sign, what leads from there up to a root, and the roots that peers shall have."""
    chain = _read(folder / files.CA_CHAIN, pem.certificates)
    key = _read(folder / files.CA_KEY, pem.private_key)
    roots = _read(folder / files.ROOTS, pem.certificates) if (folder / files.ROOTS).exists() else chain[-1:]
    wrong = certs.out_of_time(chain[0], times.utc_now())
    wrong = wrong or ("" if certs.is_ca(chain[0]) else "is not the certificate of a CA; `fastmesh cert ca` makes one")
    if wrong:
        raise CertError(f"{folder / files.CA_CHAIN}: {wrong}")
    for finding in certs.check_key(chain, key):
        raise CertError(f"{folder / files.CA_KEY}: {finding.text}")
    return authority.Pair(chain[0], key), [each for each in chain if not certs.issued(each, each)], roots


def _read(path: Path, parse: Callable[[bytes], Result]) -> Result:
    try:
        return parse(path.read_bytes())
    except MaterialError as error:
        raise CertError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise CertError(
            f"{path}: is not there; make a CA with `fastmesh cert ca`, or name its folder: --ca DIR"
        ) from None
    except OSError as error:
        raise CertError(f"{path}: {error.strerror}") from None


def _write(folder: Path, contents: dict[str, bytes]) -> None:
    try:
        files.write_together(folder, contents)
    except OSError as error:
        raise FastmeshError(f"{error.filename or folder}: cannot be written: {error.strerror}") from None


def _tell(folder: Path, what: str, made: authority.Pair) -> None:
    ends = times.moment(made.certificate.not_valid_after_utc)
    click.echo(f"{what}, {pem.kind_of_key(made.key)}, valid until {ends}: {folder}")


def _usage(flag: str, read: Callable[..., Result], *arguments: str) -> Result:
    try:
        return read(*arguments)
    except ValueError as error:
        raise click.UsageError(f"{flag}: {error}") from None
