"""Shows the ClientHello reader to tests."""
from fastmesh.core.base.outbuf cimport OutBuf, out_free
from fastmesh.core.wire.client_hello cimport HELLO_BAD, HELLO_DONE, HELLO_MORE, Hello, offers_mesh, read_hello


def hello(bytes data, size_t most=16384):
    """("done", server name, [protocols], mesh), ("more",), ("plain",) or ("bad", why)."""
    cdef OutBuf joined = OutBuf(data=NULL, start=0, end=0, room=0)
    cdef Hello found
    cdef bytes listed
    cdef int verdict = read_hello(data, len(data), most, &joined, &found)
    try:
        if verdict == HELLO_MORE:
            return ("more",)
        if verdict == HELLO_BAD:
            return ("bad", found.error.decode())
        if verdict != HELLO_DONE:
            return ("plain",)
        listed = (<const char*>found.protocols)[:found.protocols_size] if found.protocols_size else b""
        protocols = []
        while listed:
            protocols.append(listed[1:1 + listed[0]])
            listed = listed[1 + listed[0]:]
        return ("done", found.name[:found.name_size], protocols, offers_mesh(&found))
    finally:
        out_free(&joined)
