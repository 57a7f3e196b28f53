"""Certificates that end soon: said in time, once each, and once more when it is too late.

In time is a fifth of the life of a certificate, at most two weeks: of 90 days 14, of 24 hours 5 hours. Whoever renews
at half of its life is never told.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from fastmesh.security.material import CertificateFacts, Material
from fastmesh.security.times import moment, span

LONGEST_NOTICE = timedelta(days=14)
SHARE = 5


class Expiry:
    """Remembers what it has said."""

    def __init__(self) -> None:
        self._said: set[tuple[str, bool]] = set()

    def notices(self, materials: Iterable[Material], now: datetime) -> list[str]:
        """What is to be said now."""
        found: list[str] = []
        present: set[tuple[str, bool]] = set()
        for material in materials:
            for each in (*material.shown_chain, *material.shown_roots):
                over = _ends(each) < now
                if not over and now < _first_notice(each):
                    continue
                key = (f"{material.name} {each.sha256}", over)
                present.add(key)
                if key not in self._said:
                    found.append(_text(each, now))
        self._said = present  # what is gone may be said again when it comes back
        return found


def _ends(each: CertificateFacts) -> datetime:
    return datetime.fromtimestamp(each.valid_until, UTC)


def _first_notice(each: CertificateFacts) -> datetime:
    life = timedelta(seconds=each.valid_until - each.valid_from)
    return _ends(each) - min(LONGEST_NOTICE, life / SHARE)


def _text(each: CertificateFacts, now: datetime) -> str:
    who = each.spiffe_id or each.subject or "a certificate"
    ends = _ends(each)
    if ends < now:
        return f"{each.file}: {who} was valid until {moment(ends)}: peers refuse it; issue a new one"
    return f"{each.file}: {who} is valid for {span(ends - now)} only, until {moment(ends)}; issue a new one"
