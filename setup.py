"""Build of the data plane: one extension module per `.pyx` under `ext/`.

`ext/` is a second source root, so `ext/fastmesh/core/wire/h1_parse.pyx` imports as `fastmesh.core.wire.h1_parse`.
Environment switches: FASTMESH_BUILD_JOBS=N (default: cores), FASTMESH_DEBUG=1 (-O1 -g, and the macro of that name),
FASTMESH_ANNOTATE=1 (Cython's HTML), FASTMESH_SANITIZE=1 (address and undefined-behaviour sanitizers), FASTMESH_FUZZ=1
(clang only: every edge and comparison is told to libFuzzer; tests/fuzz/build.py sets it),
FASTMESH_PYTHON_ONLY=1 (no modules: `make build` installs like this, then compiles in place, and only what changed).
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

SOURCES = Path("ext")
JOBS = int(os.environ.get("FASTMESH_BUILD_JOBS") or os.cpu_count() or 1)
DEBUG = os.environ.get("FASTMESH_DEBUG") == "1"
SANITIZE = os.environ.get("FASTMESH_SANITIZE") == "1"

compile_args = ["-O2", "-g0", "-Wall", "-Wno-unused-function", "-fno-strict-aliasing", "-fvisibility=hidden"]
link_args: list[str] = []
if DEBUG:
    compile_args += ["-O1", "-g", "-DFASTMESH_DEBUG=1"]
if SANITIZE:
    compile_args += ["-O1", "-g", "-fsanitize=address,undefined", "-fno-omit-frame-pointer"]
    link_args += ["-fsanitize=address,undefined"]
if os.environ.get("FASTMESH_FUZZ") == "1":
    compile_args += ["-fsanitize=fuzzer-no-link"]


def extensions() -> list[Extension]:
    found = []
    for source in sorted(SOURCES.rglob("*.pyx")):
        name = ".".join(source.relative_to(SOURCES).with_suffix("").parts)
        found.append(
            Extension(
                name,
                [str(source)],
                include_dirs=[str(SOURCES)],
                depends=[str(header) for header in SOURCES.rglob("*.h")],
                libraries=["ssl", "crypto"] if "tls.openssl cimport" in source.read_text() else [],
                extra_compile_args=compile_args,
                extra_link_args=link_args,
            )
        )
    return found


def build_modules() -> list[Extension]:
    if os.environ.get("FASTMESH_PYTHON_ONLY") == "1":
        return []
    return cythonize(
        extensions(),
        include_path=[str(SOURCES)],
        nthreads=JOBS,
        build_dir="build/cython",
        annotate=os.environ.get("FASTMESH_ANNOTATE") == "1",
        compiler_directives={"language_level": 3, "binding": False, "freethreading_compatible": False},
    )


if __name__ == "__main__":  # cythonize's helpers import this file again
    setup(ext_modules=build_modules(), options={"build_ext": {"parallel": JOBS}})
