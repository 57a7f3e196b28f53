from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.proxies import Proxy


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Callable[..., Proxy]]:
    """Makes proxies of test parts; they are gone when the test is."""
    made: list[Proxy] = []

    def make(*flags: str, **config: Any) -> Proxy:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Proxy(folder, *flags, **config))
        return made[-1]

    yield make
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
        one.wait()
