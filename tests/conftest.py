"""With `-n 2` one of the two runners gets every test that starts processes or measures time: side by side they would
take each other's cores."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
SIDE_BY_SIDE = {"config", "core", "discovery", "security"}  # folders whose tests only compute


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(HERE).parts[0] not in SIDE_BY_SIDE:
            item.add_marker(pytest.mark.xdist_group("processes"))
