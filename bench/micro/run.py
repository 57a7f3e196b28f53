"""Runs the micro benchmarks of this folder: `python bench/micro/run.py [NAME...]`.

A benchmark is a file with `cases()`, which gives pairs of a name and a function; the function does its work as many
times as its argument says. A file without `cases` but with `main` is simply run.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

ROUND_S = 0.2
ROUNDS = 5
HERE = Path(__file__).parent


def measure(work: Callable[[int], object]) -> list[float]:
    """Nanoseconds of CPU for one, once a round; a round is made long enough to be worth a clock."""
    count = 1
    while (spent := _timed(work, count)) < ROUND_S / 4 and count < 1 << 30:
        count *= 2 if spent > 0.001 else 10
    count = max(1, int(count * ROUND_S / max(spent, 1e-9)))
    return [_timed(work, count) / count * 1e9 for _ in range(ROUNDS)]


def _timed(work: Callable[[int], object], count: int) -> float:
    started = time.process_time()
    work(count)
    return time.process_time() - started


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(path: Path) -> None:
    module = load(path)
    if not hasattr(module, "cases"):
        print(f"\n{path.stem}")
        module.main()
        return
    for name, work in module.cases():
        figures = measure(work)
        title = f"{path.stem}: {name}"
        print(f"{title:<50} {statistics.median(figures):10.1f} ns  (min {min(figures):.1f}, max {max(figures):.1f})")


def main() -> int:
    files = {path.stem: path for path in sorted(HERE.glob("*.py")) if path.stem not in ("run", "__init__")}
    unknown = [name for name in sys.argv[1:] if name not in files]
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are: {', '.join(files)}", file=sys.stderr)
        return 64
    for name in sys.argv[1:] or files:
        run(files[name])
    return 0


if __name__ == "__main__":
    sys.exit(main())
