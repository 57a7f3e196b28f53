from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.telemetry.mesh import Upstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    made = Upstream()
    yield made
    made.close()
