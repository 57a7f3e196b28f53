"""What can be wrong with key material, as values: a reader collects all of them."""

from __future__ import annotations

from typing import Literal, NamedTuple

Part = Literal["chain", "key", "roots", "bundle", "crl", "staple"]


class MaterialError(ValueError):
    """Something cannot be used; the text says what is wrong and what would be right, without the name of a file."""


class Finding(NamedTuple):
    """One thing that is to be said about a part of a credential. What is not `fatal` is a warning."""

    part: Part
    text: str
    fatal: bool = True
