"""See transit.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdlib cimport free
from fastmesh.core.base.outbuf cimport out_free
from fastmesh.core.net.stream cimport Downstream
from fastmesh.core.wire.message cimport Head
from fastmesh.core.wire.proxy_header cimport make_proxy_header


cdef class KeptTrailers:
    pass


cdef KeptTrailers keep_trailers(const Head* trailers):
    cdef KeptTrailers kept = KeptTrailers.__new__(KeptTrailers)
    kept.head = trailers[0]
    kept.text = PyBytes_FromStringAndSize(trailers.base, trailers.size)
    kept.head.base = PyBytes_AS_STRING(kept.text)
    return kept


cdef class Transit(StreamUser):
    cdef void meet(self, Downstream client):
        self.tls, self.requested_name = client.tls, client.sni
        self.peer, self.peer_text, self.local_text = client.peer, client.peer_text, client.local_text

    cdef bytes preface(self, int version):
        return make_proxy_header(version, self.peer_text, self.local_text)

    def __dealloc__(self):
        if self.text_room:
            free(self.text)
        out_free(&self.body)
