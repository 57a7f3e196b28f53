"""The TLS contexts of one worker. An equal plan with equal material is an equal digest, and the same context as before: a reload that
changes nothing costs nothing, and a changed certificate is a new context, which new connections take."""
from fastmesh.core.net.tls.client cimport ClientContexts
from fastmesh.core.net.tls.server cimport ServerContexts

cdef class TlsContexts:       # called by the snapshot: see Snapshot
    cdef object _credentials  # digest -> Credential, while somebody uses them
    cdef ServerContexts _server
    cdef ClientContexts _client
