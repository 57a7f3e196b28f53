"""What testssl.sh, which knows all that went wrong with TLS so far, says of a SIMPLE server as it is by default."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.interop.peers import program
from tests.tls.gateway import Gate, gateway, saying, secret, server
from tests.tls.material import named

BAD = {"MEDIUM", "HIGH", "CRITICAL", "FATAL"}
ASKED = {"SSLv3", "TLS1", "TLS1_3", "cipherlist_3DES_IDEA", "PFS", "secure_renego", "heartbleed", "ROBOT", "LUCKY13"}
WHAT = ("-p", "-s", "-f", "-P", "-U")  # protocols, ciphers, forward secrecy, preferences, vulnerabilities


def scanned(folder: Path, **tls: str | list[str]) -> dict[str, str]:
    """What was looked at, and how bad it is."""
    found = folder / "found.json"
    yaml = gateway(server("simple", "a.example", mode="SIMPLE", credentialName="one", **tls)) + saying("a.example")
    with Gate(folder, yaml + secret("one", named("a.example", use_rsa="cipherSuites" in tls)), 443) as gate:
        how = ["--quiet", "--warnings", "off", "--color", "0", "--fast", "--nodns", "none", "--ip", "127.0.0.1"]
        command = [program("testssl"), *how, *WHAT, "--jsonfile", str(found), f"a.example:{gate.port}"]
        told = subprocess.run(command, capture_output=True, text=True, timeout=280, stdin=subprocess.DEVNULL)
    found_here = json.loads(found.read_text()) if found.exists() else []
    result = {each["id"]: each["severity"] for each in found_here}
    assert result.keys() >= ASKED, told.stdout[-3000:] + told.stderr
    return result


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_testssl_finds_nothing(tmp_path: Path) -> None:
    """Of the certificate and of what the application says in its headers it is not asked."""
    found = scanned(tmp_path)
    print({name: how for name, how in found.items() if how not in ("OK", "INFO")})
    assert {name: how for name, how in found.items() if how in BAD} == {}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_testssl_would_find_what_a_user_allows(tmp_path: Path) -> None:
    found = scanned(tmp_path, minProtocolVersion="TLSV1_0", maxProtocolVersion="TLSV1_2", cipherSuites=["AES128-SHA"])
    assert found["PFS"] in BAD | {"LOW"}
    assert {name for name, how in found.items() if how in BAD}
