def hello(data: bytes, most: int = 16384) -> tuple[object, ...]:
    """("done", server name, [protocols], mesh), ("more",), ("plain",) or ("bad", why)."""
