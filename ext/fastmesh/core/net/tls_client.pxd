"""How connections to the endpoints of a cluster are encrypted: what `Cluster.tls` is. See config/plan.ClientTLSPlan.

Like a server's, a context never changes. A connection belongs to the context that it was made with, and to the name that it was asked
for; only requests that want both are sent on it. Sessions are kept to be resumed: they belong to the context as well, and so does what
was verified for them.
"""
from fastmesh.core.net.openssl cimport SSL_CTX, SSL_SESSION
from fastmesh.core.net.tls cimport Tls
from fastmesh.core.net.tls_material cimport Credential
from fastmesh.core.net.tls_verify cimport Verifier

cdef class Session:           # of one endpoint and name
    cdef SSL_SESSION* session

cdef class ClientContext:
    cdef object __weakref__
    cdef SSL_CTX* ctx         # NULL: there is no key material, every handshake fails
    cdef Credential credential        # or None
    cdef Verifier verifier
    cdef bytes name           # server name of all connections; b"": the host of the request that opens one
    cdef bytes alpn           # in the form of the extension,
    cdef bytes alpn_h1        # and what of it may be offered for one version of HTTP; None: all of it
    cdef bytes alpn_h2
    cdef dict sessions        # endpoint and name -> Session
    cdef readonly bytes identity      # the URI of our own certificate, or b""
    # A session for an endpoint (its text), asked for `name`, which is `self.name` where that is set
    cdef Tls open(self, bytes endpoint, bytes name, bint http2)

cdef class ClientContexts:    # of one worker
    cdef object _contexts     # digest -> ClientContext, while somebody uses them
    cdef ClientContext make(self, dict plan, dict credentials)
