"""See mirror.pxd."""
from libc.string cimport memcpy
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.clock cimport now_ns
from fastmesh.core.base.counters cimport WK_MIRROR_GIVEN_UP
from fastmesh.core.base.outbuf cimport out_size
from fastmesh.core.base.rng cimport rng_below
from fastmesh.core.net.stream cimport ServerStream
from fastmesh.core.proxy.call cimport look_for_call
from fastmesh.core.proxy.find cimport GO_ON
from fastmesh.core.proxy.tunnel cimport Tunnelling
from fastmesh.core.route.rule cimport Mirror, mirrored
from fastmesh.core.wire.message cimport Head


cdef enum:
    COPY_WAIT = 1 << 20       # request bytes that wait for the endpoint of a copy: with more it is given up


cdef class Mirroring(Tunnelling):
    cdef int mirror(self):
        cdef Mirror mirror
        cdef int number = -1
        if not self.head.upgrade:
            for mirror in self.rule.mirrors:
                number += 1
                if mirror.picky and number not in self.destination.mirrors:
                    continue
                if mirror.destination.late is not None and rng_below(&self.engine.rng, 1000000) < mirror.share:
                    self._copy(mirror)
        return GO_ON

    cdef void _copy(self, Mirror mirror):
        """What the endpoint of the request is sent, sent to the mirror's cluster."""
        cdef Mirroring copy = self.another()
        cdef ServerStream client = ServerStream.__new__(ServerStream)      # takes everything, and does nothing with it
        client.take_after(self.client)
        client.minor, client.request_done = self.client.minor, self.client.request_done
        copy.copied = True
        copy.client = client
        copy.meet(client)
        copy.secure = self.secure
        copy.in_client_turn = self.in_client_turn
        copy.started = now_ns()
        copy.head = self.head
        copy.keep_head()
        copy.request_id_at, copy.request_id_size = copy.made_id, self.request_id_size
        if self.request_id_at == self.made_id:
            memcpy(copy.made_id, self.made_id, sizeof(self.made_id))
        else:
            copy.request_id_at = copy.text + (self.request_id_at - self.text)
        copy.snapshot, copy.vhost, copy.rule = self.snapshot, self.vhost, mirror.rule
        copy.normalize()
        copy.rewritten, copy.original_path = self.rewritten, self.original_path
        copy.destination = mirrored(self.destination, mirror.destination)
        if self.grpc:
            look_for_call(copy)
        if self.copies is None:
            self.copies = []
        self.copies.append(copy)
        copy.begin_copy()
        if out_size(&self.body) > 0 and not copy.accounted:       # a delay was injected, and the body went on
            copy.on_request_body(self.body.data + self.body.start, out_size(&self.body))
        if self.request_done and not copy.accounted:
            copy.on_request_end(&self.trailers.head if self.trailers is not None else NULL)

    cdef Mirroring another(self):
        return None

    cdef void begin_copy(self):
        pass

    cdef void copy_body(self, const char* data, size_t size):
        cdef Mirroring copy
        for copy in self.copies:
            if not copy.accounted:
                copy.on_request_body(data, size)
                if out_size(&copy.body) + (copy.upstream.waiting() if copy.upstream is not None else 0) > COPY_WAIT:
                    self._give_up_copy(copy)

    cdef void copy_end(self, const Head* trailers):
        cdef Mirroring copy
        for copy in self.copies:
            if not copy.accounted:
                copy.client.request_done = True
                copy.on_request_end(trailers)

    cdef void copy_turn(self):
        cdef Mirroring copy
        for copy in self.copies:
            if not copy.accounted:
                copy.on_client_turn()

    cdef void _give_up_copy(self, Mirroring copy):
        fm_bump(&self.engine.row[WK_MIRROR_GIVEN_UP], 1)
        copy.on_client_gone()

    cdef void leave_copies(self):
        cdef list copies = self.copies
        cdef Mirroring copy
        self.copies = None
        for copy in copies:
            if copy.accounted:
                continue
            if self.client is not None and self.client.request_done or self.request_done:
                copy.on_client_turn()     # all is said, though perhaps not sent
            else:
                self._give_up_copy(copy)
