"""`fastmesh cert show`: what stands in certificates, and whether key, chain and roots belong together."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
import orjson

from fastmesh.errors import EXIT_DATA, EXIT_FAILURE, FastmeshError
from fastmesh.security import certs, facts, files, pem, times
from fastmesh.security.findings import MaterialError


class UnreadableError(FastmeshError):
    exit_code = EXIT_DATA


@click.command(short_help="Show certificates, and whether key, chain and roots fit.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def show(paths: tuple[str, ...], output: str) -> int:
    """Show certificates: identity, names, issuer, validity, key, and whether key, chain and roots fit.

    PATH is a file, or a folder with cert-chain.pem, key.pem and root-cert.pem. Ends with 1 when something does not fit
    or is not valid now. A key is looked at, never shown.
    """
    found = [look(Path(path)) for path in paths]
    if output == "json":
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    else:
        click.echo("\n\n".join("\n".join(as_text(each)) for each in found))
    return EXIT_FAILURE if any(each["problems"] for each in found) else 0


def look(path: Path) -> dict[str, Any]:
    """Everything that one PATH says."""
    chain_file, key_file, roots_file = _places(path)
    data, now = _bytes(chain_file), times.utc_now()
    chain = _parse(chain_file, data, pem.certificates) if b"CERTIFICATE--" in data or not _has_key(data) else []
    roots = _parse(roots_file, _bytes(roots_file), pem.certificates) if roots_file is not None else []
    key = None
    if key_file is not None or _has_key(data):
        key = _parse(key_file or chain_file, _bytes(key_file) if key_file else data, pem.private_key)
    fit = list(certs.check_key(chain, key)) if key is not None and chain else []
    led = list(certs.check_anchored(chain, roots)) if roots and chain else []
    return {
        "path": str(path),
        "certificates": [_entry(each, chain_file, now) for each in chain]
        + [_entry(each, roots_file or chain_file, now) for each in roots],
        "key": {"file": str(key_file or chain_file), "type": pem.kind_of_key(key)} if key is not None else None,
        "key_fits": not fit if key is not None and chain else None,
        "chain_leads_to_root": not led if roots and chain else None,
        "problems": [*_wrong(chain, roots, now), *(each.text for each in (*fit, *led))],
    }


def _wrong(chain: list[Any], roots: list[Any], now: datetime) -> list[str]:
    """A file of CAs is no chain of a server: they only have to be valid."""
    listed = roots
    if all(map(certs.is_ca, chain)):
        listed, chain = [*chain, *roots], []
    found = [each.text for each in certs.check_leaf(chain, now)] if chain else []
    return [*found, *dict.fromkeys(wrong for each in listed if (wrong := certs.out_of_time(each, now)))]


def _places(path: Path) -> tuple[Path, Path | None, Path | None]:
    """The chain, and beside it in a folder the key and the roots."""
    if not path.is_dir():
        return path, None, None
    chain, key = files.CHAIN, files.KEY
    if not (path / chain).exists() and (path / files.CA_CHAIN).exists():
        chain, key = files.CA_CHAIN, files.CA_KEY
    beside = [path / name if (path / name).exists() else None for name in (key, files.ROOTS)]
    return path / chain, beside[0], beside[1]


def _has_key(data: bytes) -> bool:
    return b"PRIVATE KEY-----" in data


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror}") from None


def _parse(path: Path, data: bytes, parse: Any) -> Any:
    try:
        return parse(data)
    except MaterialError as error:
        raise UnreadableError(f"{path}: {error}") from None


def _entry(certificate: Any, file: Path, now: Any) -> dict[str, Any]:
    said = facts.of_certificate(certificate, str(file))
    return {
        "file": said.file,
        "subject": said.subject,
        "spiffe_id": said.spiffe_id,
        "sans": {"uri": said.names["uri"], "dns": said.names["dns"], "ip": said.names["ip_address"]},
        "issuer": said.issuer,
        "valid_from": certificate.not_valid_before_utc.isoformat(),
        "valid_until": certificate.not_valid_after_utc.isoformat(),
        "seconds_left": int((certificate.not_valid_after_utc - now).total_seconds()),
        "valid": not certs.out_of_time(certificate, now),
        "ca": said.ca,
        "key": said.key,
        "serial": said.serial,
        "sha256": said.sha256,
        "spki_sha256": said.spki,
    }


def as_text(found: dict[str, Any]) -> list[str]:
    lines = []
    for each in found["certificates"]:
        lines += _certificate_text(each)
    if found["key"]:
        fits = {True: ", fits the certificate", False: ", does not fit the certificate", None: ""}[found["key_fits"]]
        lines.append(f"{found['key']['file']}\n  key        {found['key']['type']}{fits}")
    if found["chain_leads_to_root"] is not None:
        lines.append(f"  chain      {'leads' if found['chain_leads_to_root'] else 'does not lead'} to a root beside it")
    return [*lines, *(f"  problem    {problem}" for problem in found["problems"])]


def _certificate_text(said: dict[str, Any]) -> list[str]:
    left, names = said["seconds_left"], said["sans"]
    ends = f"{times.span(timedelta(seconds=left))} {'left' if left >= 0 else 'ago'}"
    listed = [f"{kind.upper()} {name}" for kind, some in names.items() for name in some]
    rows = [
        ("identity", said["spiffe_id"]),
        ("subject", said["subject"]),
        ("names", ", ".join(listed)),
        ("issuer", said["issuer"]),
        ("valid", f"{said['valid_from'][:19]}Z to {said['valid_until'][:19]}Z ({ends})"),
        ("key", said["key"] + (", of a CA" if said["ca"] else "")),
        ("serial", said["serial"]),
        ("sha256", said["sha256"]),
        ("spki", said["spki_sha256"]),
    ]
    return [said["file"], *(f"  {name:<10} {value}" for name, value in rows if value)]
