"""Where the public test corpora lie: $FASTMESH_CORPORA, or `shared/corpora` beside the checkout."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def corpora_dir() -> Path:
    """The corpora's folder; skips the calling test, with the reason, where there is none."""
    given = os.environ.get("FASTMESH_CORPORA")
    folder = Path(given) if given else REPOSITORY.parent / "shared" / "corpora"
    if not folder.is_dir():
        pytest.skip(f"no corpora at {folder} (set FASTMESH_CORPORA)", allow_module_level=True)
    return folder


def corpus(name: str) -> Any:
    """One JSON file of the corpora, by its path in the folder."""
    return json.loads((corpora_dir() / name).read_text())


def decoded(text: str) -> bytes:
    """The bytes of a `..._b64` member."""
    return base64.b64decode(text, validate=True)


def probe_steps(case: dict[str, Any]) -> list[bytes]:
    """What a case of http1/http11probe.json sends: one or two pieces, the big ones generated."""
    if "generate" in case:
        big = case["generate"]
        return [decoded(big["prefix_b64"]) + decoded(big["unit_b64"]) * big["count"] + decoded(big["suffix_b64"])]
    return [decoded(step) for step in case["steps_b64"]]
