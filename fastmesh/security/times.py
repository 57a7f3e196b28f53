"""Moments and spans of time as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def moment(when: datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M:%S UTC")


def span(time: timedelta) -> str:
    """`89 days`, `3 h 12 min`, `40 s`: rounded down."""
    seconds = int(abs(time.total_seconds()))
    days, hours, minutes = seconds // 86400, seconds % 86400 // 3600, seconds % 3600 // 60
    if days:
        return f"{days} day{'s' if days > 1 else ''}"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{seconds} s"


def utc_now() -> datetime:
    return datetime.now(UTC)
