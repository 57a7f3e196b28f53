"""OCSP responses to staple: a client that gets a wrong one breaks off, so a wrong one is not shown (RFC 6960, 6066).

A staple never stops a proxy: without it clients ask elsewhere, or not at all. What is wrong with it is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import ocsp

from fastmesh.security import certs, times
from fastmesh.security.findings import MaterialError

NEVER = datetime.max.replace(tzinfo=UTC)


def fit_until(data: bytes, chain: Sequence[x509.Certificate], now: datetime) -> datetime:
    """Until when the response may be shown with this chain; MaterialError says why not at all."""
    try:
        response = ocsp.load_der_ocsp_response(data)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise MaterialError(f"is the answer {response.response_status.name}, not a response about a certificate")
        found = [each for each in response.responses if each.serial_number == chain[0].serial_number]
        fitting = [each for each in found if _of_issuer(each, chain)]
    except (ValueError, UnsupportedAlgorithm) as error:
        if isinstance(error, MaterialError):
            raise
        raise MaterialError("is not an OCSP response in DER; openssl ocsp -respout FILE writes one") from None
    if not fitting:
        raise MaterialError(f"is about another certificate than {certs.subject(chain[0])} ({certs.serial(chain[0])})")
    return _time(fitting[0], now)


def _of_issuer(single: ocsp.OCSPSingleResponse, chain: Sequence[x509.Certificate]) -> bool:
    """The name of the issuer is compared, when the response hashes it in a way that we know."""
    kind = single.hash_algorithm
    if not isinstance(kind, hashes.SHA1 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
        return True
    digest = hashes.Hash(kind)
    digest.update(chain[0].issuer.public_bytes())
    return digest.finalize() == single.issuer_name_hash


def _time(single: ocsp.OCSPSingleResponse, now: datetime) -> datetime:
    if single.certificate_status is not ocsp.OCSPCertStatus.GOOD:
        raise MaterialError(f"says that the certificate is {single.certificate_status.name}; issue a new certificate")
    ends = single.next_update_utc or NEVER
    if now > ends:
        raise MaterialError(f"was valid until {times.moment(ends)}, {times.span(now - ends)} ago; fetch a new response")
    if now < single.this_update_utc:
        raise MaterialError(f"is not valid before {times.moment(single.this_update_utc)}; is the clock right?")
    return ends
