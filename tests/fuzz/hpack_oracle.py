"""Header blocks by our decoder and by the `hpack` package, side by side on one connection."""

from __future__ import annotations

from hpack import Decoder as Oracle
from hpack.exceptions import HPACKError

from fastmesh.core.wire import h2_probe

TABLE = 4096
DROPPED = frozenset(
    b"content-length transfer-encoding connection keep-alive http2-settings proxy-connection upgrade te host".split()
)


class CheckBlock:
    """What we take, the oracle takes as well, and reads the same fields; what we write, both read back."""

    def __init__(self) -> None:
        self.fresh()

    def fresh(self) -> None:
        self.plain, self.ours = h2_probe.Decoder(TABLE), h2_probe.Decoder(TABLE)
        self.oracle = Oracle(max_header_list_size=1 << 20)
        self.encoder, self.back = h2_probe.Encoder(TABLE), Oracle(max_header_list_size=1 << 20)
        self.lost = False  # a block was refused as broken: the connection is over

    def __call__(self, kind: int, block: bytes) -> None:
        if self.lost:
            return
        fields = self.plain.plain(block)
        self._as_message(kind, block)
        try:
            told = [(bytes(name), bytes(value)) for name, value in self.oracle.decode(block, raw=True)]
        except HPACKError:
            assert isinstance(fields, str), ("taken, and the oracle refuses it", fields)
            self.lost = True
            return
        if isinstance(fields, str):
            self.lost = fields in ("error", "flood")
            assert fields != "malformed", fields  # `plain` knows no rules of messages
            return
        assert fields == told
        self._again([(name, value) for name, value in fields if name and not name.startswith(b":")])

    def _as_message(self, kind: int, block: bytes) -> None:
        """The same block as the head of a message; whatever the verdict, the table stays the oracle's."""
        end = bool(kind & 8)
        match kind & 3:
            case 0:
                found = self.ours.request(block, end)
            case 1:
                found = self.ours.response(block, end, bool(kind & 16))
            case 2:
                found = self.ours.trailers(block)
            case _:
                found = {"verdict": self.ours.nothing(block)}
        for name, value, *_ in found.get("fields", ()):
            assert name
            assert not set(name + value) & set(b"\r\n\0")
            assert name == name.lower()
        if found["verdict"] not in ("error", "flood"):
            assert self.ours.table == self.plain.table

    def _again(self, fields: list[tuple[bytes, bytes]]) -> None:
        """Written as trailers and read back: nothing is added or changed, only framing fields are left out."""
        written = self.encoder.trailers(fields[:100])
        wanted = [(name.lower(), value) for name, value in fields[:100] if name.lower() not in DROPPED]
        assert [(bytes(name), bytes(value)) for name, value in self.back.decode(written, raw=True)] == wanted


check_block = CheckBlock()
