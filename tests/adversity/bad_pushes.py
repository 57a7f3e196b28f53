"""A generator of configurations that are wrong, made from a right one. Seeded: a failure can be run again.

Every object of the right one is a line of JSON behind its `---`, so that a cut anywhere in a line is broken for sure.
`victim` is the name of the object that may be spoiled; it is the last one.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

Spoil = Callable[[random.Random, str], str | bytes]
TOO_MUCH = 64 * 1024 * 1024 + 1


class Push(NamedTuple):
    name: str
    alone: bool  # one object is wrong; else nothing can be said of any
    make: Callable[[Path], None]


def _victim(text: str, change: Callable[[dict[str, Any]], object]) -> str:
    head, _, last = text.rstrip("\n").rpartition("\n")
    whole = json.loads(last)
    change(whole)
    return f"{head}\n{json.dumps(whole)}\n"


def _in_rule(name: str, *values: Any) -> Spoil:
    """The first rule of the victim gets a wrong value."""

    def spoil(chance: random.Random, text: str) -> str:
        value = chance.choice(values)
        return _victim(text, lambda whole: whole["spec"]["http"][0].update({name: value}))

    return spoil


def _in_spec(name: str, *values: Any) -> Spoil:
    def spoil(chance: random.Random, text: str) -> str:
        value = chance.choice(values)
        return _victim(text, lambda whole: whole["spec"].update({name: value}))

    return spoil


def _cut(chance: random.Random, text: str) -> str:
    """A write that was stopped, inside the last object."""
    last = text.rstrip("\n").rindex("\n") + 1
    return text[: chance.randrange(last + 1, len(text) - 2)]


def _twice(chance: random.Random, text: str) -> str:
    head, _, last = text.rstrip("\n").rpartition("\n")
    return f'{head}\n{last[:-1]}, "{chance.choice(["spec", "metadata", "kind"])}": {{}}}}\n'


def _broken(chance: random.Random, text: str) -> str:
    tail = ["kind: [", "a: b: c", "\tkind: x", "kind: 'x", "{]", "*nobody", "- a\nb: c"]
    head = text[: text.rstrip("\n").rindex("\n") + 1]
    return head + chance.choice(tail) + "\n"


def _large(chance: random.Random, text: str) -> str:
    """A megabyte of comments, and a mistake behind them."""
    return text + "# nothing\n" * 100_000 + f"---\n{{{chance.randrange(10)}\n"


def _noise(chance: random.Random, text: str) -> bytes:
    return b"\xff\xfe" + chance.randbytes(chance.randrange(1, 4096))


_REGEXES = [[{"uri": {"regex": wrong}}] for wrong in ("(", "[a", "*", "(?<n>a", "a{2,1}")]
ONE_OBJECT: dict[str, Spoil] = {
    "broken YAML": _broken,
    "unknown field": _in_rule("nonsense", 1, "x", {"a": "b"}),
    "unknown field of the object": _in_spec("hostz", ["a"], "b"),
    "wrong type": _in_spec("hosts", 7, {"a": "b"}, "victim", [[]]),
    "wrong type of a rule": _in_rule("timeout", [], 5, "soon", "-1s"),
    "bad regex": _in_rule("match", *_REGEXES),
    "invalid enum": _in_rule("redirect", {"redirectCode": 999, "uri": "/"}, {"redirectCode": "moved"}),
    "bad status": _in_rule("fault", {"abort": {"httpStatus": 7, "percentage": {"value": 1}}}),
    "cut": _cut,
    "key written twice": _twice,
    "large": _large,
}


def _written(spoiled: str | bytes) -> Callable[[Path], None]:
    def make(file: Path) -> None:
        file.write_bytes(spoiled.encode() if isinstance(spoiled, str) else spoiled)

    return make


def _missing(file: Path) -> None:
    file.unlink()


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _folder_of_others(file: Path) -> None:
    _folder(file)
    (file / "readme.txt").write_text("nothing of ours")


def _huge(file: Path) -> None:
    os.truncate(file, TOO_MUCH)


def _nothing(file: Path) -> None:
    file.write_bytes(b"")


def _link_to_nowhere(file: Path) -> None:
    file.unlink()
    file.symlink_to("gone.yaml")


def _link_to_itself(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)


WHOLE_FILE: dict[str, Callable[[Path], None]] = {
    "missing": _missing,
    "empty folder": _folder,
    "folder without YAML": _folder_of_others,
    "huge": _huge,
    "emptied": _nothing,
    "link to nowhere": _link_to_nowhere,
    "link to itself": _link_to_itself,
    "only comments": _written("# all of it was here\n---\n# and here\n"),
}


KINDS = [*ONE_OBJECT, *WHOLE_FILE, "noise"]


def pushes(seed: int, text: str) -> Iterator[Push]:
    """Bad ones without end: first each kind once, then as chance has it."""
    chance = random.Random(seed)
    for name in itertools.chain(chance.sample(KINDS, len(KINDS)), map(chance.choice, itertools.repeat(KINDS))):
        if name in ONE_OBJECT:
            yield Push(name, True, _written(ONE_OBJECT[name](chance, text)))
        elif name == "noise":
            yield Push(name, False, _written(_noise(chance, text)))
        else:
            yield Push(name, False, WHOLE_FILE[name])


def put_back(file: Path, text: str) -> None:
    """A plain file again, whatever a push made of it."""
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(file)
    elif file.is_symlink() or file.exists():
        file.unlink()
    file.write_text(text)
