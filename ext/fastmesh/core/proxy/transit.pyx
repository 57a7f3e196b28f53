"""See transit.pxd."""
from libc.stdlib cimport free
from fastmesh.core.base.outbuf cimport out_free


cdef class Transit(StreamUser):
    def __dealloc__(self):
        if self.text_room:
            free(self.text)
        out_free(&self.body)
