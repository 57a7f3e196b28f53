"""Path normalisation: Istio's own 345 cases, WHATWG's, and what holds for every path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmesh.core.wire.h1_probe import normalize_path, path_needs_work
from tests.corpora import corpus

NONE, BASE, MERGE, DECODE, STRICT = range(5)
MODES = {"NONE": NONE, "BASE": BASE, "MERGE_SLASHES": MERGE, "DECODE_AND_MERGE_SLASHES": DECODE}
REFUSED = None

PIECES = [
    "/",
    "//",
    ".",
    "..",
    "a",
    "b",
    "6",
    "1",
    "2",
    "f",
    "%",
    "%%",
    "%2e",
    "%2E",
    "%2f",
    "%5C",
    "%61",
    "%25",
    "%36",
    "%zz",
    "%0",
    "\\",
    ";",
    "#",
    "~",
]
paths = st.lists(st.sampled_from(PIECES), max_size=14).map(lambda pieces: ("/" + "".join(pieces)).encode())


def test_istio_cases() -> None:
    cases = [
        (group["mode"], case["in"], case["out"])
        for group in corpus("url/istio-path-normalization.json")
        for case in group["cases"]
    ]
    assert len(cases) == 345
    for mode, written, expected in cases:
        result = normalize_path(written.encode(), MODES[mode])
        assert ("400" if result is None else result.decode()) == expected, (mode, written)
        assert path_needs_work(written.encode(), MODES[mode]) == (written != expected)


def test_whatwg_agrees_on_dot_segments() -> None:
    """It leaves unreserved escapes alone and escapes some bytes that we pass: both are normalised, then compared."""
    compared = 0
    for case in corpus("url/urltestdata-http.json"):
        written = case["input"]
        _, slashes, rest = written.partition("://")
        if (
            case.get("failure")
            or not slashes
            or not written.isascii()
            or not written.isprintable()
            or set(written) & set(" <>\"`{}^|'")
        ):
            continue
        if "/" not in rest or "\\" in rest.partition("/")[0] or rest.startswith("/"):
            continue
        path = "/" + rest.partition("/")[2].partition("?")[0].partition("#")[0]
        assert normalize_path(path.encode(), BASE) == normalize_path(case["pathname"].encode(), BASE), written
        compared += 1
    assert compared > 40


@pytest.mark.parametrize(
    ("written", "base", "strict"),
    [
        (b"//admin", b"//admin", b"/admin"),
        (b"/x%2f..%2fadmin", b"/x%2f..%2fadmin", REFUSED),
        (b"/%5cadmin", b"/%5cadmin", REFUSED),
        (b"/a/%2e%2e/admin", b"/admin", b"/admin"),
        (b"/./admin", b"/admin", b"/admin"),
        (b"/a\\..\\admin", b"/admin", b"/admin"),
        (b"/%61dmin", b"/admin", b"/admin"),
        (b"/%252e%252e/", b"/%252e%252e/", b"/%252e%252e/"),
        (b"/%00", REFUSED, REFUSED),
        (b"/a%zz", b"/a%zz", REFUSED),
        (b"/a%", b"/a%", REFUSED),
        (b"/a%6", b"/a%6", REFUSED),
        (b"/%c0%ae", b"/%c0%ae", b"/%c0%ae"),
        (b"/admin;a=b", b"/admin;a=b", b"/admin;a=b"),
        (b"/..;/admin", b"/..;/admin", b"/..;/admin"),
        (b"/Admin", b"/Admin", b"/Admin"),
        (b"/admin#x", b"/admin", b"/admin"),
        (b"/../../etc", b"/etc", REFUSED),
        (b"/a/../..", b"/", REFUSED),
        (b"/..", b"/", REFUSED),
        (b"/a/..", b"/", b"/"),
        (b"/a/.", b"/a/", b"/a/"),
        (b"/a/...", b"/a/...", b"/a/..."),
        (b"/a/b/../../../c", b"/c", REFUSED),
        (b"/a//../b", b"/a/b", b"/a/b"),
        (b"/%0d%0aX:y", b"/%0d%0aX:y", b"/%0d%0aX:y"),
        (b"/%%361dmin", b"/%2561dmin", REFUSED),  # never an escape that was not there
        (b"/%6%31dmin", b"/%2561dmin", REFUSED),
        (b"/%%36%31dmin", b"/%2561dmin", REFUSED),
        (b"/%zz/../abc", b"/abc", REFUSED),
        (b"/%zz/./abc", b"/%zz/abc", REFUSED),
        (b"*", b"*", b"*"),
        (b"", b"", b""),
    ],
)
def test_base_and_strict(written: bytes, base: bytes | None, strict: bytes | None) -> None:
    assert normalize_path(written, BASE) == base
    assert normalize_path(written, STRICT) == strict


@pytest.mark.parametrize("mode", range(5))
def test_nul_is_refused_in_every_mode(mode: int) -> None:
    assert normalize_path(b"/a%00b", mode) is None
    assert path_needs_work(b"/a%00b", mode)


@pytest.mark.parametrize("mode", range(5))
@given(path=paths)
def test_needs_work_says_exactly_when(mode: int, path: bytes) -> None:
    assert path_needs_work(path, mode) == (normalize_path(path, mode) != path)


@pytest.mark.parametrize("mode", range(5))
@given(path=paths)
def test_once_is_enough(mode: int, path: bytes) -> None:
    once = normalize_path(path, mode)
    if once is not None:
        assert normalize_path(once, mode) == once
        assert len(once) <= len(path)
        assert once.startswith(b"/")


@pytest.mark.parametrize("mode", [BASE, MERGE, DECODE, STRICT])
@given(path=paths)
def test_no_dot_segment_survives(mode: int, path: bytes) -> None:
    once = normalize_path(path, mode)
    if once is not None:
        assert not {b".", b".."} & set(once.split(b"/"))
        assert b"\\" not in once
        assert mode == BASE or b"//" not in once
