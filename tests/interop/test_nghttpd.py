"""nghttpd behind fastmesh, with settings that others seldom use: padding, no table, tiny windows, few streams."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.http2 import Http2
from tests.http2_endpoint import endpoint_of
from tests.interop.origin import pattern
from tests.interop.peers import Ports, program, running
from tests.interop.work import AT_ONCE, SIZES, ask
from tests.running import Proxy
from tests.traffic import stats, together

MANNERS = {
    "plain": (),
    "padded": ("--padding", "200"),
    "no-table": ("--header-table-size", "0", "--encoder-header-table-size", "0"),
    "small-table": ("--header-table-size", "300"),
    "tiny-windows": ("--window-bits", "10", "--connection-window-bits", "16"),
    "few-streams": ("--max-concurrent-streams", "3"),
    "trailing": ("--trailer", "x-check: 42"),
}
FILE = 300_000


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("nghttpd")
    (folder / "files").mkdir()
    (folder / "files" / "file").write_bytes(pattern(FILE))
    ports = Ports()
    nghttpd = program("nghttpd")
    command = (nghttpd, "--no-tls", "--address", "127.0.0.1", "--htdocs", folder / "files", "--echo-upload")
    with contextlib.ExitStack() as stack:
        for name, manner in MANNERS.items():
            stack.enter_context(running((*command, *manner, str(ports[name])), folder / name, [ports[name]]))
        yield stack.enter_context(Proxy(folder, "".join(endpoint_of(name, ports[name]) for name in MANNERS)))


@pytest.mark.parametrize("manner", MANNERS)
def test_nghttpd(proxy: Proxy, manner: str) -> None:
    for _ in range(3):  # the tables fill
        got = ask(proxy.port, "/file", host=manner)
        assert (got.status, got.body) == (200, pattern(FILE))
        head = ask(proxy.port, "/file", "HEAD", host=manner)
        assert (head.status, head.fields["content-length"]) == (200, str(FILE))
        assert ask(proxy.port, "/nothing", host=manner).status == 404
    for size in SIZES:
        assert ask(proxy.port, "/echo", "POST", pattern(size), host=manner).body == pattern(size), size
    with Http2(proxy.port) as client:  # beside a content-length, which HTTP/1.1 cannot have
        assert client.ask("/file", host=manner).trailers == ({"x-check": "42"} if manner == "trailing" else {})
    answers = together(lambda: ask(proxy.port, "/file", host=manner).body for _ in range(AT_ONCE // 4))
    assert answers == [pattern(FILE)] * (AT_ONCE // 4)
    opened = sum(stats(proxy, f"outbound.80..{manner}.default.*upstream_cx_total").values())
    assert opened == 1 or manner == "few-streams"
