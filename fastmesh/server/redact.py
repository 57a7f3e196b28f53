"""Takes secrets out of what the admin interface shows. What a name gives away as secret is shown as `[redacted]`."""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "[redacted]"
_SECRET_NAME = re.compile(
    r"authorization|cookie|password|passwd|secret|token|api[-_]?key|private[-_]?key", re.IGNORECASE
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")


def redacted(value: Any) -> Any:
    """A copy without secrets: values under a secret name, `[name, value]` pairs of secret headers, private keys."""
    if isinstance(value, dict):
        if _SECRET_NAME.search(str(value.get("name", ""))) and isinstance(value.get("match"), dict):
            return {**value, "match": {**value["match"], "value": HIDDEN}}  # a comparison with a secret header
        return {name: _under(str(name), item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        if (
            len(value) == 2
            and isinstance(value[0], str)
            and isinstance(value[1], str)
            and _SECRET_NAME.search(value[0])
        ):
            return [value[0], HIDDEN]
        return [redacted(item) for item in value]
    if isinstance(value, str) and _PRIVATE_KEY.search(value):
        return HIDDEN
    return value


def _under(name: str, item: Any) -> Any:
    if isinstance(item, str) and item and _SECRET_NAME.search(name):
        return HIDDEN
    return redacted(item)
