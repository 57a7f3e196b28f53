"""Compiles the bench's C programs when their source is newer than what stands in build/bench."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent
ROOT = SOURCE.parent.parent
BUILD = ROOT / "build" / "bench"
LIBRARIES = {"load": ("-lssl", "-lcrypto")}


def program(name: str) -> Path:
    """The path of the compiled program; raises RuntimeError with one line when it cannot be made."""
    target = BUILD / name
    newest = max(path.stat().st_mtime for path in SOURCE.glob("*.[ch]"))
    if target.exists() and target.stat().st_mtime >= newest:
        return target
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise RuntimeError("no C compiler: apt-get install gcc libc6-dev")
    BUILD.mkdir(parents=True, exist_ok=True)
    command = [compiler, "-O2", "-Wno-unused-result", "-o", str(target), str(SOURCE / f"{name}.c")]
    command += LIBRARIES.get(name, ())
    made = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if made.returncode:
        raise RuntimeError(f"{name}.c does not compile: {made.stderr.strip()[:500]}")
    return target
