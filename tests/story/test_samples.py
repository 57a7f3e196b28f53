"""Istio's helloworld and httpbin samples behind a gateway: what their pages promise."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.corpora import corpora_dir
from tests.ports import free_port
from tests.traffic import Replica, Story, ask, thing

SAMPLES = corpora_dir() / "istio" / "samples"
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="Istio's samples are not here")


@contextlib.contextmanager
def gateway(directory: Path, workloads: str, *files: str) -> Iterator[int]:
    """The port of a gateway with these files."""
    text = "\n---\n".join([*((SAMPLES / file).read_text() for file in files), workloads])
    port = free_port()
    with Story(directory, text, "--bind", "127.0.0.1", "--map", f"80={port}", role="gateway"):
        yield port


@contextlib.contextmanager
def versions(app: str, *names: str) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        text = ""
        for name in names:
            replica = stack.enter_context(Replica(name))
            labels = {"app": app, "version": name}
            entry = {"address": "127.0.0.1", "ports": {"http": replica.port}, "labels": labels}
            text += thing("WorkloadEntry", f"{app}-{name}", entry)
        yield text


def answers(port: int, path: str, times: int) -> collections.Counter[str]:
    return collections.Counter(ask(port, path, host="any.example").text for _ in range(times))


@pytest.mark.parametrize("file", ["helloworld-gateway", "gateway-api/helloworld-gateway"])
def test_helloworld(file: str, tmp_path: Path) -> None:
    """Both versions answer to /hello, and nothing else is known."""
    files = ("helloworld/helloworld.yaml", f"helloworld/{file}.yaml")
    with versions("helloworld", "v1", "v2") as workloads, gateway(tmp_path, workloads, *files) as port:
        assert set(answers(port, "/hello", 60)) == {"v1", "v2"}
        for path in ("/", "/hello/x", "/helloworld"):
            assert ask(port, path, host="any.example").status == 404


def test_helloworld_by_versions(tmp_path: Path) -> None:
    """helloworld-route parts traffic 90 to 10 between the Services of helloworld-versions."""
    files = ["helloworld.yaml", *(f"gateway-api/helloworld-{name}.yaml" for name in ("gateway", "versions", "route"))]
    with (
        versions("helloworld", "v1", "v2") as workloads,
        gateway(tmp_path, workloads, *(f"helloworld/{file}" for file in files)) as port,
    ):
        found = answers(port, "/hello", 400)
        assert set(found) == {"v1", "v2"}
        assert 12 < found["v2"] < 80, found


@pytest.mark.parametrize("file", ["httpbin-gateway", "gateway-api/httpbin-gateway"])
def test_httpbin(file: str, tmp_path: Path) -> None:
    """Everything goes to httpbin, as it was asked."""
    files = ("httpbin/httpbin.yaml", f"httpbin/{file}.yaml")
    with versions("httpbin", "v1") as workloads, gateway(tmp_path, workloads, *files) as port:
        for path in ("/", "/status/200", "/headers?x=y"):
            answer = ask(port, path, host="httpbin.example.com")
            assert (answer.status, answer.text) == (200, "v1")


def test_httpbin_on_a_port_of_a_node(tmp_path: Path) -> None:
    """httpbin-nodeport: the same Service, with a port that only Kubernetes opens; the mesh finds it by its name."""
    text = (SAMPLES / "httpbin/httpbin-nodeport.yaml").read_text()
    with versions("httpbin", "v1") as workloads, Story(tmp_path, text + "\n---\n" + workloads) as story:
        assert ask(story.port, "/get", host="httpbin:8000").text == "v1"
