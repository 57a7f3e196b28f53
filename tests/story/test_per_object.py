"""`--per-object`: one wrong object among fifty takes no other with it; without the flag it refuses the whole."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import Proxy
from tests.server.proxies import eventually

MANY, BAD = 50, 17
HOSTS = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: all}}
spec:
  hosts: [{hosts}]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1}}]
"""
RULE = """\
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: v{number}}}
spec:
  hosts: [h{number}.example]
  http: [{{directResponse: {{status: {status}, body: {{string: "{number} {version}"}}}}}}]
"""
BROKEN = "---\nkind: [\n"
CIRCLE = "".join(
    f"""\
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.example]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1}}]
---
apiVersion: fastmesh.io/v1alpha1
kind: Resilience
metadata: {{name: {name}}}
spec:
  host: {name}.example
  breaker: {{errorPercent: 50, backup: {{host: {other}.example}}}}
"""
    for name, other in (("left", "right"), ("right", "left"))
)
UNENFORCED = """\
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nobody}
spec: {}
"""


def mesh(version: str, bad: int | None = None) -> str:
    hosts = HOSTS.format(hosts=", ".join(f"h{number}.example" for number in range(MANY)))
    return hosts + "".join(
        RULE.format(number=number, status=999 if number == bad else 200, version=version) for number in range(MANY)
    )


def ask(proxy: Proxy, number: int) -> str:
    answer = proxy.send(f"GET / HTTP/1.1\r\nhost: h{number}.example\r\nconnection: close\r\n\r\n".encode())
    return answer.partition(b"\r\n\r\n")[2].decode()


def answers(proxy: Proxy, version: str, without: int | None = None) -> bool:
    return all(ask(proxy, number) == f"{number} {version}" for number in range(MANY) if number != without)


def reload(proxy: Proxy, text: str) -> None:
    before = json.loads(proxy.get("/config_dump")[1])["last_reload"]
    proxy.file.write_text(text)
    proxy.process.send_signal(signal.SIGHUP)
    eventually(lambda: json.loads(proxy.get("/config_dump")[1])["last_reload"] != before)


def counted(proxy: Proxy) -> dict[str, str]:
    text = proxy.get("/stats/prometheus")[1]
    return dict(re.findall(r'fastmesh_config_objects\{status="(\w+)"\} (\d+)', text))


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with Proxy(tmp_path, mesh("one", bad=BAD), "--per-object", workers=2) as started:
        yield started


def test_one_wrong_object_is_left_out_until_it_is_right(proxy: Proxy) -> None:
    assert answers(proxy, "one", without=BAD)
    assert ask(proxy, BAD) != f"{BAD} one"
    assert counted(proxy) == {"accepted": str(MANY), "refused": "1"}
    dump = json.loads(proxy.get("/config_dump")[1])
    refused = [item for item in dump["objects"] if item["status"] == "refused"]
    assert [(item["kind"], item["namespace"], item["name"]) for item in refused] == [
        ("VirtualService", "default", f"v{BAD}")
    ]
    (problem,) = refused[0]["problems"]
    assert f"VirtualService/v{BAD}: spec.http[0].directResponse.status: 999" in problem
    assert dump["errors"] == [problem]
    assert problem in proxy.text()

    reload(proxy, mesh("two", bad=BAD))
    assert answers(proxy, "two", without=BAD)
    assert "1 wrong objects left out" in proxy.text()

    reload(proxy, mesh("three"))
    assert answers(proxy, "three")
    assert counted(proxy) == {"accepted": str(MANY + 1), "refused": "0"}
    assert json.loads(proxy.get("/config_dump")[1])["errors"] == []


def test_what_is_no_yaml_is_left_out_and_a_missing_file_refuses_the_whole(proxy: Proxy) -> None:
    reload(proxy, mesh("two") + BROKEN)
    assert answers(proxy, "two")
    assert counted(proxy) == {"accepted": str(MANY + 1), "refused": "1"}
    proxy.file.rename(proxy.file.with_suffix(".away"))
    proxy.process.send_signal(signal.SIGHUP)
    eventually(lambda: "refused; the last good configuration keeps serving" in proxy.text())
    assert answers(proxy, "two")


def test_an_object_that_is_wrong_beside_others_is_left_out(proxy: Proxy) -> None:
    """Each of the two Resiliences is right by itself; that they lead in a circle shows when they are compiled."""
    reload(proxy, mesh("two") + CIRCLE)
    assert answers(proxy, "two")
    text = proxy.get("/config_dump")[1]
    assert [item["kind"] for item in json.loads(text)["objects"] if item["status"] == "refused"] == ["Resilience"]
    assert "leads back to where it began" in json.loads(text)["errors"][0]
    assert counted(proxy)["refused"] == "1"
    command = [sys.executable, "-m", "fastmesh", "validate", "-f", proxy.file]
    whole, single = (
        subprocess.run([*command, *flag], capture_output=True, text=True) for flag in ((), ("--per-object",))
    )
    assert whole.returncode == single.returncode == 65
    assert "leads back to where it began" in whole.stderr
    assert f"{MANY + 4} objects would be served, 1 left out" in single.stderr


def test_a_security_object_that_nothing_enforces_is_not_left_out(proxy: Proxy) -> None:
    """Without it what it protects would be open."""
    reload(proxy, mesh("two") + UNENFORCED)
    assert "AuthorizationPolicy is not enforced yet" in proxy.text()
    assert answers(proxy, "one", without=BAD)


def test_without_the_flag_one_wrong_object_refuses_the_whole(tmp_path: Path) -> None:
    with Proxy(tmp_path, mesh("one"), workers=1) as proxy:
        reload(proxy, mesh("two", bad=BAD))
        assert answers(proxy, "one")
        last = json.loads(proxy.get("/config_dump")[1])["last_reload"]
        assert last["result"] == "refused"
        assert f"VirtualService/v{BAD}" in last["problems"][0]
