"""Plain data to typed structs, with every mistake of a document at once.

msgspec converts a right document in one fast call and stops at the first mistake of a wrong one. So a document that it
refuses is walked here along the struct types: each unknown field and wrong type is noted, snake_case names are made
camelCase, null fields are left out, and if nothing was wrong after all the cleaned form is converted.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from fastmesh.config.place import Path
from fastmesh.model.base import Duration, StringMatch, decode_hook

S = TypeVar("S", bound=msgspec.Struct)
Note = Callable[[Path, str], None]

_WRONG: Any = object()  # stands for a value that was refused


def convert(value: Any, wanted: type[S], path: Path, note: Note) -> S | None:
    """The struct, or None after every mistake was told to `note` with its path."""
    try:
        return msgspec.convert(value, wanted, dec_hook=decode_hook)
    except (msgspec.ValidationError, ValueError) as error:
        first = str(error)
    mistakes = 0

    def counted(at: Path, message: str) -> None:
        nonlocal mistakes
        mistakes += 1
        note(at, message)

    clean = _walk(value, _shape(wanted), path, counted)
    if mistakes:
        return None
    try:
        return msgspec.convert(clean, wanted, dec_hook=decode_hook)
    except (msgspec.ValidationError, ValueError):
        note(path, first)
        return None


def closest(word: str, words: Iterable[str]) -> str:
    """`, did you mean X?` for the nearest of some words, or nothing."""
    by_lower = {known.lower().replace("_", ""): known for known in words}
    found = difflib.get_close_matches(word.lower().replace("_", ""), by_lower, n=1, cutoff=0.7)
    return f", did you mean {by_lower[found[0]]}?" if found else ""


@cache
def _shape(wanted: type[msgspec.Struct]) -> inspect.Type:
    return inspect.type_info(wanted)


@cache
def _fields(wanted: type[msgspec.Struct]) -> dict[str, inspect.Field]:
    """Fields by their YAML name and, in Istio's kinds and ours, by their snake_case name."""
    shape = _shape(wanted)
    assert isinstance(shape, inspect.StructType)
    by_snake = {field.name.rstrip("_"): field for field in shape.fields if shape.forbid_unknown_fields}
    return {**by_snake, **{field.encode_name: field for field in shape.fields}}


def _walk(value: Any, shape: inspect.Type, path: Path, note: Note) -> Any:
    """The cleaned value, or `_WRONG` after it was noted."""
    if isinstance(shape, inspect.UnionType):
        return _union(value, shape, path, note)
    if isinstance(shape, inspect.StructType):
        return _struct(value, shape, path, note)
    if isinstance(shape, inspect.ListType):
        if not isinstance(value, list):
            return _wrong(value, "a list", path, note)
        items = [_walk(item, shape.item_type, (*path, index), note) for index, item in enumerate(value)]
        return [item for item in items if item is not _WRONG]
    if isinstance(shape, inspect.DictType):
        if not isinstance(value, dict):
            return _wrong(value, "a mapping of names to values", path, note)
        entries = {key: _entry(entry, shape.value_type, (*path, key), note) for key, entry in value.items()}
        return {key: entry for key, entry in entries.items() if entry is not _WRONG}
    return _scalar(value, shape, path, note)


def _entry(value: Any, shape: inspect.Type, path: Path, note: Note) -> Any:
    """A value of a map. Null is an empty StringMatch, the presence test."""
    if value is None and isinstance(shape, inspect.StructType) and shape.cls is StringMatch:
        return {}
    return _walk(value, shape, path, note)


def _union(value: Any, shape: inspect.UnionType, path: Path, note: Note) -> Any:
    if value is None and any(isinstance(part, inspect.NoneType) for part in shape.types):
        return None
    parts = [part for part in shape.types if not isinstance(part, inspect.NoneType)]
    if len(parts) == 1:
        return _walk(value, parts[0], path, note)
    if any(_fits(value, part) for part in parts):
        return value
    return _wrong(value, " or ".join(_name(part) for part in parts), path, note)


def _struct(value: Any, shape: inspect.StructType, path: Path, note: Note) -> Any:
    if not isinstance(value, dict):
        return _wrong(value, "a mapping", path, note)
    fields = _fields(shape.cls)
    clean: dict[str, Any] = {}
    for key, entry in value.items():
        field = fields.get(key)
        if field is None:
            if shape.forbid_unknown_fields:
                note((*path, key), _unknown(key, shape))
        elif field.encode_name in clean and entry is not None:
            note((*path, key), f"says the same as {field.encode_name}, keep one of the two spellings")
        elif entry is not None:
            clean[field.encode_name] = _walk(entry, field.type, (*path, field.encode_name), note)
    for field in shape.fields:
        if field.required and field.encode_name not in clean:
            note(path, f"{field.encode_name} is required and missing, add {field.encode_name}: ...")
    return {key: entry for key, entry in clean.items() if entry is not _WRONG}


def _unknown(key: str, shape: inspect.StructType) -> str:
    names = [field.encode_name for field in shape.fields]
    guess = closest(key, names)
    if guess:
        return f"unknown field{guess}"
    return f"unknown field, the fields here are {', '.join(names)}" if names else "unknown field, there are none here"


def _scalar(value: Any, shape: inspect.Type, path: Path, note: Note) -> Any:
    if isinstance(shape, inspect.CustomType) and shape.cls is Duration:
        try:
            Duration.parse(value)
        except ValueError as error:
            note(path, str(error))
            return _WRONG
        return value
    if isinstance(shape, inspect.LiteralType):
        if value in shape.values:
            return value
        guess = closest(str(value), [str(known) for known in shape.values])
        note(path, f"{_show(value)} is not one of {', '.join(map(str, shape.values))}{guess}")
        return _WRONG
    if isinstance(shape, inspect.IntType):
        return _integer(value, shape, path, note)
    if _fits(value, shape):
        return value
    return _wrong(value, _name(shape), path, note)


def _integer(value: Any, shape: inspect.IntType, path: Path, note: Note) -> Any:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not _fits(value, shape):
        return _wrong(value, _name(shape), path, note)
    if shape.ge is not None and value < shape.ge:
        lowest = "0 or more" if shape.ge == 0 else f"{shape.ge} or more"
        note(path, f"{value} is {'negative' if shape.ge == 0 else 'too small'}, write a number that is {lowest}")
        return _WRONG
    if shape.le is not None and value > shape.le:
        note(path, f"{value} is too large, the largest number here is {shape.le}")
        return _WRONG
    return value


def _fits(value: Any, shape: inspect.Type) -> bool:
    if isinstance(shape, inspect.StrType):
        return isinstance(value, str)
    if isinstance(shape, inspect.BoolType):
        return isinstance(value, bool)
    if isinstance(shape, inspect.IntType):
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(shape, inspect.FloatType):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return True


def _name(shape: inspect.Type) -> str:
    names: dict[type[inspect.Type], str] = {
        inspect.StrType: "a text", inspect.BoolType: "true or false",
        inspect.IntType: "a whole number", inspect.FloatType: "a number",
    }  # fmt: skip
    return names.get(type(shape), type(shape).__name__)


def _show(value: Any) -> str:
    """A value as YAML would write it, short."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return str(msgspec.json.encode(value), "ascii")
    return str(value) if len(str(value)) <= 60 else f"{str(value)[:57]}..."


def _wrong(value: Any, wanted: str, path: Path, note: Note) -> Any:
    hint = ""
    if wanted == "a text" and isinstance(value, (int, float)):
        hint = f', quote it: "{_show(value)}"'
    elif wanted == "a whole number" and isinstance(value, str) and value.strip().lstrip("-").isdecimal():
        hint = f", write it without quotes: {value.strip()}"
    elif wanted == "a list" and not isinstance(value, (dict, list)) and value is not None:
        hint = f", write [{_show(value)}]"
    elif wanted == "true or false" and str(value).lower() in ("yes", "on", "no", "off"):
        hint = f", write {'true' if str(value).lower() in ('yes', 'on') else 'false'}"
    shown = f'"{value}"' if isinstance(value, str) else _show(value)
    note(path, f"{shown} is not {wanted}{hint}")
    return _WRONG
