"""The parser alone against inputs that nobody here wrote: llhttp's test suite and Http11Probe.

The same corpora go through a running proxy in tests/conformance/test_http1_corpus.py.
"""

from __future__ import annotations

from typing import Any

from fastmesh.core.wire.h1_probe import decode_chunked, parse_request, parse_response
from tests.corpora import corpus, decoded, probe_steps

# Inputs that the corpus calls acceptable and we refuse.
STRICTER = {
    "request/method:135": "M-SEARCH *: the asterisk form is for OPTIONS (RFC 9112 3.2.4)",
    "request/sample:288": "no Host in HTTP/1.1 (RFC 9112 3.2): the corpus has no variant with Host here",
    "request/sample:478": "no Host in HTTP/1.1 (RFC 9112 3.2): the corpus has no variant with Host here",
}
# Scored probes that we do not pass at the parser: what the proxy does above it decides, or both outcomes are legal.
ABOVE_THE_PARSER = {
    "COMP-NO-CL-IN-204": "about the origin's answer",
    "COMP-405-ALLOW": "about the origin's answer",
    "COMP-DUPLICATE-CT": "about the origin",
    "COMP-EXPECT-UNKNOWN": "expect_other: the proxy answers 417 or relays",
    "COMP-NO-1XX-HTTP10": "about the answer",
    "COMP-METHOD-CONNECT": "the proxy answers 405",
    "COMP-METHOD-TRACE": "the proxy's policy",
    "COMP-UNKNOWN-METHOD": "about the origin: a proxy relays unknown methods (RFC 9110 9.1)",
    "COMP-UPGRADE-HTTP10": "about the answer; upgrade is False in HTTP/1.0",
    "COMP-UPGRADE-INVALID-VER": "about the origin",
    "COMP-UPGRADE-MISSING-CONN": "about the answer; upgrade is False without the option",
    "COMP-UPGRADE-POST": "about the origin",
    "COMP-UPGRADE-UNKNOWN": "about the origin",
    "MAL-RANGE-OVERLAPPING": "about the origin",
    "MAL-CL-TAB-BEFORE-VALUE": "a tab is OWS (RFC 9110 5.6.3)",
    "MAL-URL-BACKSLASH": "path normalisation makes it a slash",
    "MAL-URL-PERCENT-CRLF": "stays encoded (hazard row 11)",
    "MAL-URL-PERCENT-NULL": "refused by path normalisation",
    "COMP-LONG-URL-OK": "accepted",
}


def messages(
    data: bytes, responses: bool = False, **limits: int
) -> tuple[list[tuple[dict[str, Any], bytes]], dict[str, Any]]:
    """Every whole message of one connection's bytes, and how it ended: `done`, `more`, or `bad` with its reason."""
    found: list[tuple[dict[str, Any], bytes]] = []
    while data:
        head = parse_response(data, **limits) if responses else parse_request(data, **limits)
        if head["verdict"] != "done":
            return found, head
        data, body = data[head["size"] :], b""
        if head["framing"] == "length":
            if len(data) < head["length"]:
                return found, {"verdict": "more"}
            body, data = data[: head["length"]], data[head["length"] :]
        elif head["framing"] == "chunked":
            chunks = decode_chunked([data])
            if chunks["verdict"] != "done":
                return found, chunks
            body, data = chunks["body"], data[chunks["used"] :]
        elif head["framing"] == "close":
            body, data = data, b""
        found.append((head, body))
        if not head["keep_alive"] or head["upgrade"] or head.get("method") == "CONNECT" or head.get("code") == 101:
            break  # what follows is another protocol, or nobody's
    return found, {"verdict": "done"}


def test_llhttp() -> None:
    seen = {"reject": 0, "accept": 0}
    for case in corpus("http1/llhttp.json"):
        verdict = case["proxy"]
        if verdict == "n/a":
            continue
        data = decoded(case.get("raw_host_b64") or case["raw_b64"])
        found, end = messages(data, case["type"] == "response")
        name, outcome = case["id"], (len(found), end)
        if verdict == "reject":
            assert end["verdict"] == "bad", (name, outcome)
            assert len(found) <= case["messages"], (name, outcome)
        elif verdict in ("accept", "accept_first", "upgrade") and name not in STRICTER:
            # a body may be cut off in the sample: then the head was fine, and we wait
            assert found or end["verdict"] == "more", (name, outcome)
        elif verdict == "incomplete":
            assert end["verdict"] == "more", (name, outcome)
        elif verdict == "h2_preface" or name in STRICTER:
            assert not found, (name, outcome)
            assert end["verdict"] == "bad", (name, outcome)
        if verdict in seen:
            seen[verdict] += 1
        if found and isinstance(case.get("method"), str) and case["llhttp"] == "ok":
            assert found[0][0]["method_name"].decode() == case["method"], name
        if (
            end["verdict"] == "done"
            and len(found) == case["messages"]
            and isinstance(case.get("body_b64"), str)
            and verdict == "accept"
        ):
            assert b"".join(body for _, body in found) == decoded(case["body_b64"]), name
    assert seen["reject"] >= 70
    assert seen["accept"] >= 60


def test_http11probe() -> None:
    refused = 0
    for case in corpus("http1/http11probe.json"):
        found, end = messages(b"".join(probe_steps(case)))
        name = case["id"]
        if end["verdict"] == "bad":
            passed = case["pass_close"] or str(end["status"]) in case["pass_status"]
            refused += 1
        elif found:
            passed = "2xx" in case["pass_status"] or str(200) in case["pass_status"]
        else:
            passed = case["pass_timeout"]
        if name.startswith("NORM-"):
            passed = end["verdict"] == "bad"
        assert passed or not case["scored"] or name in ABOVE_THE_PARSER, (name, case["expected_text"], len(found), end)
        assert not (passed and name in ABOVE_THE_PARSER), f"{name} passes now: drop it from the list"
    assert refused >= 108


def test_nothing_smuggled_in_the_probes() -> None:
    """Of a probe that has to be refused, no second request is ever seen behind its first."""
    for case in corpus("http1/http11probe.json"):
        if case["id"].startswith(("SMUG-CLTE", "SMUG-TECL", "SMUG-TE-", "SMUG-DUPLICATE", "SMUG-CHUNK-")):
            found, end = messages(probe_steps(case)[0])
            assert not found, case["id"]
            assert end["verdict"] == "bad", case["id"]
