"""See post.pxd."""
from libc.stdint cimport uint64_t
from fastmesh.core.base.clock cimport now_ms
from fastmesh.core.base.outbuf cimport out_append, out_size
from fastmesh.core.net.readiness cimport EAGAIN, EINTR, SCRATCH, errno
from fastmesh.core.net.tunnel cimport TUNNEL_DONE, Tunnel, TunnelClient, TunnelEndpoint, TunnelOwner, open_tunnel
from fastmesh.core.wire.h1_parse cimport CHUNK_BAD, CHUNK_DATA, CHUNK_END, CHUNK_MORE, chunk_free, chunk_next, chunk_start
from fastmesh.core.wire.h1_write cimport write_chunk_size, write_last_chunk
from fastmesh.core.wire.message cimport FRAMING_CHUNKED, FRAMING_CLOSE


cdef Tunnel open_post(TunnelOwner owner, TunnelClient client, TunnelEndpoint endpoint, const char* data, size_t size, uint64_t idle,
                      uint64_t most):
    cdef PostDown down = PostDown.__new__(PostDown)
    down.framing, down.left = endpoint.framing, endpoint.length
    chunk_start(&down.chunks)
    return open_tunnel(owner, client, endpoint, data, size, idle, most, PostUp.__new__(PostUp), down)


cdef class PostUp(Flow):
    cdef void pull(self):
        cdef char* scratch = self.tunnel.reactor.scratch
        cdef ssize_t got = self.source.receive(scratch, SCRATCH)
        if got > 0:
            self.take(scratch, got)
        elif got == 0:
            self._end()
        elif errno != EAGAIN and errno != EINTR:
            self.tunnel.lost(self, True)

    cdef void send(self, const char* data, size_t size):
        cdef char[20] prefix
        if out_append(&self.rest, prefix, write_chunk_size(prefix, size)) < 0 or out_append(&self.rest, data, size) < 0 \
                or out_append(&self.rest, "\r\n", 2) < 0:
            self.tunnel.lost(self, False)
        else:
            self._flush()

    cdef void _flush(self):
        self.tunnel.moved_at = now_ms()
        if self.sink.send_out(&self.rest) < 0:
            self.tunnel.lost(self, False)
        elif out_size(&self.rest):
            self.source.unwatch_read()

    cdef void _end(self):
        """The end of the request's body, behind what still waits."""
        cdef PostUp alive = self          # the tunnel lets go of it when it ends
        cdef Tunnel tunnel = self.tunnel
        self.ended = True
        self.source.unwatch_read()
        if not self.closed:
            self.closed = True
            if write_last_chunk(&self.rest, NULL) < 0:
                tunnel.lost(self, False)
                return
            self._flush()
        if not tunnel.over and out_size(&alive.rest) == 0 and not alive.finished:
            alive.finished = True
            if tunnel.down.finished:
                tunnel.end(TUNNEL_DONE)


cdef class PostDown(Flow):
    def __dealloc__(self):
        chunk_free(&self.chunks)

    cdef void pull(self):
        cdef char* scratch = self.tunnel.reactor.scratch
        cdef ssize_t got = self.source.receive(scratch, SCRATCH)
        if got > 0:
            self.take(scratch, got)
        elif got == 0 and self.framing == FRAMING_CLOSE:
            self._end()
        elif got == 0 or (errno != EAGAIN and errno != EINTR):
            self.tunnel.lost(self, True)  # cut: nobody must take a part for all

    cdef void take(self, const char* data, size_t size):
        cdef PostDown alive = self
        cdef Tunnel tunnel = self.tunnel
        if self.framing == FRAMING_CHUNKED:
            self._take_chunks(data, size)
            return
        if self.framing != FRAMING_CLOSE:
            size = min(size, <size_t>self.left)
            self.left -= size
        if size:
            tunnel.owner.on_moved(True, size)
            self.send(data, size)
        if self.framing != FRAMING_CLOSE and alive.left == 0 and not tunnel.over and not alive.ended:
            alive._end()

    cdef void _take_chunks(self, const char* data, size_t size):
        cdef PostDown alive = self
        cdef Tunnel tunnel = self.tunnel
        cdef const char* piece
        cdef size_t total = 0, used, piece_size
        cdef int step = CHUNK_DATA
        while step == CHUNK_DATA and not tunnel.over:
            step = chunk_next(&alive.chunks, data + total, size - total, &tunnel.reactor.response_limits, &used, &piece, &piece_size)
            total += used
            if step == CHUNK_DATA and piece_size:
                tunnel.owner.on_moved(True, piece_size)
                alive.send(piece, piece_size)
        if step == CHUNK_END and not tunnel.over and not alive.ended:
            alive._end()
        elif step == CHUNK_BAD:
            tunnel.lost(alive, True)
