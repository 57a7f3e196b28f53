"""Who else reads header blocks: PyPI `hpack`, and libnghttp2 through ctypes. And blocks written by hand."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Iterable
from typing import Protocol

import hpack
import pytest

Pairs = list[tuple[bytes, bytes]]


class Reader(Protocol):
    def read(self, block: bytes) -> Pairs: ...
    def resize(self, size: int) -> None: ...


class PythonReader:
    def __init__(self) -> None:
        self.decoder = hpack.Decoder(max_header_list_size=1 << 24)

    def read(self, block: bytes) -> Pairs:
        return [(bytes(name), bytes(value)) for name, value in self.decoder.decode(block, raw=True)]

    def resize(self, size: int) -> None:
        self.decoder.max_allowed_table_size = size


class NameValue(ctypes.Structure):
    _fields_ = [("name", ctypes.POINTER(ctypes.c_uint8)), ("value", ctypes.POINTER(ctypes.c_uint8)),
                ("name_size", ctypes.c_size_t), ("value_size", ctypes.c_size_t), ("flags", ctypes.c_uint8)]  # fmt: skip


def nghttp2() -> ctypes.CDLL:
    """The library; skips the calling test where it is not installed."""
    name = ctypes.util.find_library("nghttp2") or "libnghttp2.so.14"
    try:
        library = ctypes.CDLL(name)
    except OSError:
        pytest.skip("no libnghttp2 (Debian: libnghttp2-14)")
    library.nghttp2_hd_inflate_hd2.restype = ctypes.c_ssize_t
    return library


class Nghttp2Reader:
    FINAL, EMIT = 1, 2

    def __init__(self) -> None:
        self.library = nghttp2()
        self.inflater = ctypes.c_void_p()
        assert self.library.nghttp2_hd_inflate_new(ctypes.byref(self.inflater)) == 0

    def __del__(self) -> None:
        if getattr(self, "inflater", None):
            self.library.nghttp2_hd_inflate_del(self.inflater)

    def read(self, block: bytes) -> Pairs:
        pairs: Pairs = []
        data = ctypes.create_string_buffer(block, len(block))
        at = 0
        while True:
            field, flags = NameValue(), ctypes.c_int()
            used = self.library.nghttp2_hd_inflate_hd2(
                self.inflater, ctypes.byref(field), ctypes.byref(flags), ctypes.byref(data, at),
                ctypes.c_size_t(len(block) - at), 1)  # fmt: skip
            assert used >= 0, f"nghttp2 refuses the block at {at}: {used}"
            at += used
            if flags.value & self.EMIT:
                name = ctypes.string_at(field.name, field.name_size)
                pairs.append((name, ctypes.string_at(field.value, field.value_size)))
            if flags.value & self.FINAL:
                self.library.nghttp2_hd_inflate_end_headers(self.inflater)
                return pairs
            assert used or flags.value & self.EMIT, "nghttp2 stands still"

    def resize(self, size: int) -> None:
        assert self.library.nghttp2_hd_inflate_change_table_size(self.inflater, ctypes.c_size_t(size)) == 0


READERS: list[type[Reader]] = [PythonReader, Nghttp2Reader]


def integer(value: int, bits: int, pattern: int = 0) -> bytes:
    """RFC 7541 5.1."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([pattern | value])
    out = [pattern | most]
    value -= most
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def literal(name: bytes | int, value: bytes, indexed: bool = False) -> bytes:
    """A field as plain literal; `name` may be an index."""
    bits, pattern = (6, 64) if indexed else (4, 0)
    head = integer(name, bits, pattern) if isinstance(name, int) else bytes([pattern]) + integer(len(name), 7) + name
    return head + integer(len(value), 7) + value


def block(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join(literal(name, value) for name, value in fields)
