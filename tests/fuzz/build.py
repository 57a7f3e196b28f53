"""Builds what the fuzzer runs, into build/fuzz: the data plane by clang with coverage and sanitizers, and the driver.

    python -m tests.fuzz.build

Wanted: clang with libFuzzer (Debian: clang-14 libclang-rt-14-dev) and a shared libpython. What lacks is said.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "fuzz"
LIB, DRIVER = BUILD / "lib", BUILD / "driver"
SANITIZERS = "address,undefined"


def clang() -> str | None:
    for name in ("clang", *(f"clang-{version}" for version in range(21, 12, -1))):
        if found := shutil.which(name):
            return found
    return None


def lacking() -> str | None:
    """Why fuzzing with coverage is not possible here; None when it is."""
    compiler = clang()
    if compiler is None:
        return "no clang: apt-get install clang-14 libclang-rt-14-dev"
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        return "this Python has no shared libpython"
    empty = b"#include <stdint.h>\nint LLVMFuzzerTestOneInput(const uint8_t *d, unsigned long n) { return d[0] < n; }"
    command = [compiler, f"-fsanitize=fuzzer,{SANITIZERS}", "-x", "c", "-", "-o", "/dev/null"]
    if subprocess.run(command, input=empty, capture_output=True).returncode:
        return f"{compiler} has no libFuzzer: apt-get install libclang-rt-14-dev"
    return None


def build() -> None:
    compiler = clang()
    assert compiler is not None
    BUILD.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "CC": compiler, "LDSHARED": f"{compiler} -shared"}
    env |= {"FASTMESH_SANITIZE": "1", "FASTMESH_FUZZ": "1"}
    places = ["--build-lib", str(LIB), "--build-temp", str(BUILD / "temp")]
    subprocess.run([sys.executable, "setup.py", "-q", "build_ext", *places], cwd=ROOT, env=env, check=True)
    libraries = str(sysconfig.get_config_var("LIBDIR"))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    flags = ["-g", "-O1", f"-fsanitize=fuzzer,{SANITIZERS}", "-rdynamic", f"-I{sysconfig.get_path('include')}"]
    link = [f"-L{libraries}", f"-Wl,-rpath,{libraries}", f"-l{version}", "-o", str(DRIVER)]
    subprocess.run([compiler, *flags, str(Path(__file__).with_name("driver.c")), *link], check=True)


if __name__ == "__main__":
    if why := lacking():
        sys.exit(f"fuzz: {why}")
    build()
