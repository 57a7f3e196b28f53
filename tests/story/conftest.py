from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.story.lifecycle import MeshProxy, origin


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Callable[..., MeshProxy]]:
    """Makes proxies in front of one upstream; all are gone when the test is."""
    made: list[MeshProxy] = []
    with origin() as port:

        def make(*flags: str, **how: Any) -> MeshProxy:
            folder = tmp_path / str(len(made))
            folder.mkdir()
            made.append(MeshProxy(folder, port, *flags, **how))
            return made[-1].ready()

        yield make
        for one in made:
            one.clean_up()
