"""gRPC's tables as Python sees them: for tests only."""
from libc.string cimport memset
from fastmesh.core.wire.grpc cimport (
    GRPC_TIMEOUT_SIZE, GrpcFrames, count_messages, grpc_of_http as _grpc_of_http, http_of_grpc as _http_of_grpc, is_grpc as _is_grpc,
    read_grpc_status, read_grpc_timeout, write_grpc_message, write_grpc_timeout,
)


def is_grpc(bytes content_type) -> bool:
    return _is_grpc(content_type, len(content_type))


def status(bytes text) -> int:
    return read_grpc_status(text, len(text))


def grpc_of_http(int status) -> int:
    return _grpc_of_http(status)


def http_of_grpc(int status) -> int:
    return _http_of_grpc(status)


def timeout(bytes text) -> int:
    return read_grpc_timeout(text, len(text))


def timeout_text(unsigned long long ms) -> bytes:
    cdef char[9] text
    return text[:write_grpc_timeout(text, ms)]


def message(bytes text) -> bytes:
    cdef bytearray room = bytearray(3 * len(text) + 1)
    cdef char* at = room
    return bytes(room[:write_grpc_message(at, text, len(text))])


def messages(pieces) -> int:
    """How many messages begin in these pieces of one direction."""
    cdef GrpcFrames frames
    cdef bytes piece
    memset(&frames, 0, sizeof(frames))
    for piece in pieces:
        count_messages(&frames, piece, len(piece))
    return frames.messages
