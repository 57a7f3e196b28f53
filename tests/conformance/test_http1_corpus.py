"""The HTTP/1 corpora through a running proxy, to a recording upstream and back.

A request to refuse gets its 4xx or 5xx and a closed connection, and no whole message of it reaches the upstream. A
request to accept reaches it as the same message: h11 reads what the client sent and what arrived, and method, path,
fields and body must agree one by one, with nothing in between and nothing left over. Answers are judged the same way
from the other side.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.core.wire.test_h1_corpora import messages
from tests.corpora import corpus, decoded, probe_steps

from .recording import Answers, Bench, Message, ask_scripted, check_arrived, read_requests, recording_proxy

# llhttp inputs that its corpus calls acceptable and we refuse.
STRICTER = {
    "request/method:135": "M-SEARCH *: the asterisk form is for OPTIONS (RFC 9112 3.2.4)",
    "request/sample:288": "no Host in HTTP/1.1 (RFC 9112 3.2), and the corpus has no variant with one",
    "request/sample:478": "no Host in HTTP/1.1 (RFC 9112 3.2), and the corpus has no variant with one",
}
# Scored probes where a proxy does not, or need not, give the answer that the probe likes best.
NOT_OURS = {
    "COMP-405-ALLOW": "the origin's answer is relayed",
    "COMP-NO-CL-IN-204": "the origin's answer is relayed",
    "COMP-CONTENT-TYPE": "the origin's answer is relayed",
    "COMP-DUPLICATE-CT": "end-to-end field, relayed (RFC 9110 5.3 leaves it to the recipient)",
    "COMP-METHOD-TRACE": "relayed: answering it is the origin's business (RFC 9110 9.3.8)",
    "COMP-UNKNOWN-METHOD": "relayed: a proxy need not know the method (RFC 9110 9.1)",
    "COMP-RANGE-POST": "the origin's answer is relayed",
    "MAL-RANGE-OVERLAPPING": "the origin's business (RFC 9110 14.2)",
    "MAL-CL-TAB-BEFORE-VALUE": "a tab is optional whitespace (RFC 9110 5.6.3)",
    "MAL-URL-BACKSLASH": "normalised to a slash before routing, not refused",
    "MAL-URL-PERCENT-CRLF": "stays encoded: nothing decodes it here (RFC 3986 2.4)",
}

REFUSALS = {400, 403, 405, 408, 413, 414, 417, 431, 501, 505}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with recording_proxy(tmp_path_factory.mktemp("corpus")) as running:
        yield running


def requests_of(steps: list[bytes]) -> list[Message]:
    """The messages that may reach the upstream: h11's reading, up to where our own parser stops."""
    data = b"".join(steps)
    found, end = messages(data)
    return read_requests(data)[0][: len(found) + (end["verdict"] != "done")]


def check_refused(name: str, answers: Answers, whole: int, before: int) -> None:
    assert answers.statuses, (name, "no answer", answers)
    assert answers.statuses[-1] in REFUSALS, (name, answers)
    assert answers.closed, (name, "left open", answers)
    assert all(status == 200 for status in answers.statuses[:-1]), (name, answers)
    assert len(answers.statuses) - 1 == whole <= before, (name, answers, whole)


LLHTTP_REQUESTS = [case for case in corpus("http1/llhttp.json") if case["type"] == "request" and case["proxy"] != "n/a"]
LLHTTP_RESPONSES = [
    case for case in corpus("http1/llhttp.json") if case["type"] == "response" and case["proxy"] != "n/a"
]
PROBES = corpus("http1/http11probe.json")


@pytest.mark.parametrize("case", LLHTTP_REQUESTS, ids=lambda case: str(case["id"]))
def test_llhttp_request(bench: Bench, case: dict[str, Any]) -> None:
    data = decoded(case.get("raw_host_b64") or case["raw_b64"])
    found, end = messages(data)
    answers, streams = bench.run([data], len(found) + (end["verdict"] == "bad"))
    whole = check_arrived(requests_of([data]), streams)
    verdict, name = case["proxy"], case["id"]
    if name in STRICTER or verdict in ("reject", "h2_preface"):
        check_refused(name, answers, whole, case["messages"] if verdict == "reject" else 0)
    elif verdict in ("accept", "accept_first"):
        assert answers.statuses, answers
        assert answers.statuses[0] == 200, answers
        assert whole >= 1
        assert len([status for status in answers.statuses if status == 200]) == whole
    elif verdict == "incomplete":
        assert not answers.statuses
        assert whole == 0
    elif verdict == "upgrade":
        assert answers.statuses[0] in {200, 403, 405}, answers  # never 101 from an upstream that did not say so
    else:
        assert answers.statuses == [] or answers.statuses[0] in REFUSALS | {200}, answers


@pytest.mark.parametrize("case", PROBES, ids=lambda case: str(case["id"]))
def test_probe(bench: Bench, case: dict[str, Any]) -> None:
    steps = probe_steps(case)
    found, end = messages(b"".join(steps))
    answers, streams = bench.run(steps, len(found) + (end["verdict"] == "bad"))
    whole = check_arrived(requests_of(steps), streams)
    name = case["id"]
    assert len([status for status in answers.statuses if status == 200]) == whole, answers
    if any(status != 200 for status in answers.statuses):
        assert answers.statuses[-1] in REFUSALS, answers
        assert answers.closed or end["verdict"] != "bad", answers  # a readable request may be refused and followed
    if case["must_close_after"]:
        assert answers.closed, answers
    if name.startswith("NORM-"):
        assert whole == 0, "a framing field was repaired or passed on"
    status = str(answers.statuses[0]) if answers.statuses else ""
    passed = (
        status in case["pass_status"]
        or (status == "200" and "2xx" in case["pass_status"])
        or (case["pass_close"] and answers.closed)
        or (case["pass_timeout"] and not answers.statuses)
        or not case["pass_status"]
    )
    if case["scored"]:
        assert passed or name in NOT_OURS, (case["expected_text"], answers)


# --- the other side: what the proxy makes of an upstream's bytes ---


@pytest.fixture(scope="module")
def responses(tmp_path_factory: pytest.TempPathFactory) -> list[Answers]:
    answers = [decoded(case["raw_b64"]) for case in LLHTTP_RESPONSES]
    return ask_scripted(tmp_path_factory.mktemp("responses"), answers)


@pytest.mark.parametrize("number", range(len(LLHTTP_RESPONSES)), ids=[case["id"] for case in LLHTTP_RESPONSES])
def test_llhttp_response(responses: list[Answers], number: int) -> None:
    case, got = LLHTTP_RESPONSES[number], responses[number]
    data = decoded(case["raw_b64"])
    found, end = messages(data, responses=True)
    finals = [(head, body) for head, body in found if head["code"] >= 200]
    assert len(got.statuses) == 1, got  # one question, one answer, whatever the upstream sent
    refused = got.statuses == [502] and not got.broken
    verdict = case["proxy"]
    if verdict == "reject" or (verdict == "either" and not finals):
        assert refused or got.broken, got
    elif finals:
        head, body = finals[0]
        assert got.statuses == [head["code"]], got
        assert got.bodies == [body]
        assert not got.broken
    else:
        assert end["verdict"] == "more"  # the sample breaks off in its body: so must ours
        assert refused or got.broken, got
