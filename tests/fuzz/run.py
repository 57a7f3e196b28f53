"""Runs the fuzzer, each target in turn, and prints a line for each.

    python -m tests.fuzz.run SECONDS [TARGET...]

SECONDS are for all targets together. What is new stays in build/fuzz/corpus; a finding lies in build/fuzz/findings.
"""

from __future__ import annotations

import os
import re
import site
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.build import BUILD, DRIVER, LIB, ROOT, build, lacking
from tests.fuzz.seeds import SEEDS

LONGEST = {"connection": 2048, "client_hello": 2048}  # bytes of an input
WEIGHTS = {"connection": 6, "hpack": 2}  # shares of the time; the others have 1


class Result(NamedTuple):
    target: str
    executions: int
    coverage: int
    corpus: int
    found: str


def environment(target: str) -> dict[str, str]:
    """Every allocation of Python's is the sanitizer's to watch; what the interpreter keeps at its end is no leak."""
    paths = [str(ROOT), *site.getsitepackages()]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:handle_abort=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "FASTMESH_FUZZ_LIB": str(LIB),
        "FASTMESH_FUZZ_TARGET": target,
    }


def write_seeds(target: str) -> Path:
    folder = BUILD / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[target]):
        (folder / f"seed-{number}").write_bytes(seed)
    return folder


def fuzz(target: str, seconds: int) -> Result:
    findings = BUILD / "findings" / target
    findings.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST.get(target, 512)}",
        "-timeout=20",
        "-rss_limit_mb=3000",
    ]
    options += [f"-artifact_prefix={findings}/", "-print_final_stats=1", "-use_value_profile=1"]
    command = [str(DRIVER), str(write_seeds(target)), *options]
    log = BUILD / f"{target}.log"
    with log.open("wb") as output:
        code = subprocess.run(command, env=environment(target), stdout=output, stderr=output, cwd=ROOT).returncode
    text = log.read_text(errors="replace")
    ran = re.search(r"stat::number_of_executed_units: (\d+)", text)
    covered = re.findall(r"cov: (\d+) ft: \d+ corp: (\d+)/", text)
    coverage, corpus = map(int, covered[-1]) if covered else (0, 0)
    how = f"by signal {-code}, " if code < 0 else ""
    return Result(target, int(ran[1]) if ran else 0, coverage, corpus, f"{how}see {log}" if code else "")


def main(words: list[str]) -> int:
    if why := lacking():
        print(f"fuzz: {why}", file=sys.stderr)
        return 69
    build()
    seconds, targets = int(words[0]), words[1:] or list(SEEDS)
    whole = sum(WEIGHTS.get(target, 1) for target in targets)
    failed = 0
    for target in targets:
        result = fuzz(target, max(1, seconds * WEIGHTS.get(target, 1) // whole))
        failed += bool(result.found)
        print(
            f"{target:12} {result.executions:>10,} runs  {result.coverage:>6,} edges  {result.corpus:>6,} inputs  "
            f"{result.found or 'nothing found'}",
            flush=True,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
