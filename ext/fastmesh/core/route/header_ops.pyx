"""See header_ops.pxd."""

# Framing belongs to the codec: nobody may set or remove it
cdef frozenset FRAMING = frozenset((b"content-length", b"transfer-encoding", b"connection", b"host", b"keep-alive",
                                    b"upgrade", b"te", b"trailer"))


cdef class HeaderOps:
    pass


cdef bytes _latin(str text):
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


cdef list make_ops(list plans):
    cdef HeaderOps ops
    levels = []
    for plan in plans:
        ops = HeaderOps.__new__(HeaderOps)
        ops.removed = [name for name in map(_latin, plan["remove"]) if name not in FRAMING]
        ops.assigned = [(_latin(name), _latin(value)) for name, value in plan["set"] if _latin(name) not in FRAMING]
        ops.appended = [(_latin(name), _latin(value)) for name, value in plan["add"] if _latin(name) not in FRAMING]
        if ops.removed or ops.assigned or ops.appended:
            levels.append(ops)
    return levels or None
