"""Files that change in the ways that files change."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fastmesh.server import watch
from fastmesh.server.watch import fingerprint


def test_what_counts_as_a_change(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a")
    before = fingerprint([str(tmp_path)])
    assert fingerprint([str(tmp_path)]) == before
    replacement = tmp_path / ".a.yaml.tmp"
    replacement.write_text("b")
    os.utime(replacement, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    assert fingerprint([str(tmp_path)]) == before  # hidden files are not read
    replacement.rename(file)
    after = fingerprint([str(tmp_path)])
    assert after != before  # same size, same mtime, another inode
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.yaml").write_text("b")
    assert fingerprint([str(tmp_path)]) != after
    file.unlink()
    assert fingerprint([str(file)]) != fingerprint([])


def test_config_map_swap(tmp_path: Path) -> None:
    """Kubernetes swaps one link, `..data`; the files that are read are links through it."""
    for version in ("..1", "..2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "mesh.yaml").write_text("same")
        os.utime(tmp_path / version / "mesh.yaml", ns=(1, 1))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "mesh.yaml").symlink_to("..data/mesh.yaml")
    before = fingerprint([str(tmp_path)])
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    assert fingerprint([str(tmp_path)]) != before


def test_a_burst_of_writes_is_one_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PERIOD", 0.02)
    monkeypatch.setattr(watch, "SETTLE", 0.1)
    file = tmp_path / "a.yaml"
    file.write_text("0")
    seen = fingerprint([str(tmp_path)])

    async def look() -> int:
        changes = 0
        changed = asyncio.Event()

        def count() -> None:
            nonlocal changes
            changes += 1
            changed.set()

        with ThreadPoolExecutor(1) as threads:
            task = asyncio.create_task(watch.watch([str(tmp_path)], count, threads, seen))
            for i in range(20):
                file.write_text("x" * i)
                await asyncio.sleep(0.01)
            await asyncio.wait_for(changed.wait(), 5)
            await asyncio.sleep(0.3)
            task.cancel()
        return changes

    assert asyncio.run(look()) == 1
