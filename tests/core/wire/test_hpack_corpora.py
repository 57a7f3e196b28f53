"""Every story of the HPACK corpus: 3,848 blocks that 14 encoders made, decoded to exactly their fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fastmesh.core.wire import h2_probe

from ...corpora import corpora_dir, corpus

Fields = list[tuple[bytes, bytes]]
ENCODERS = sorted(path.stem for path in (corpora_dir() / "hpack").glob("*.json"))


def fields_of(case: dict[str, Any]) -> Fields:
    return [(name.encode(), value.encode()) for pair in case["headers"] for name, value in pair.items()]


def stories(encoder: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for story in corpus(f"hpack/{encoder}.json"):
        yield f"{encoder}, story {story['story']}", story["cases"]


def test_the_corpus_is_whole() -> None:
    cases = [case for encoder in ENCODERS for _, story in stories(encoder) for case in story]
    assert (len(ENCODERS), len(cases)) == (14, 3848)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_decodes_exactly(encoder: str) -> None:
    for name, story in stories(encoder):
        decoder = h2_probe.Decoder(65536)
        for number, case in enumerate(story):
            size = case.get("header_table_size")
            if size is not None:
                decoder.resize(size)
            assert decoder.plain(bytes.fromhex(case["wire"])) == fields_of(case), f"{name}, case {number}"
