def read(data: bytes) -> tuple[object, ...]:
    """("done", size, None or (source, port, target, port)), ("more",) or ("bad", why)."""

def make(version: int, source: bytes, target: bytes) -> bytes: ...
