"""How connections to the endpoints of a cluster are encrypted: what `Cluster.tls` is. See config/plan.ClientTLSPlan.

Like a server's, a context never changes. A connection belongs to the context that it was made with, and to the name that it was asked
for; only requests that want both are sent on it. Sessions are kept to be resumed: they belong to the context as well, and so does what
was verified for them.

A renewed certificate is a new context, but what the two sides proved to each other still holds: the same SPIFFE ID of ours, a peer that
the same roots, list and names were asked about. Such contexts are kin, and connections of the older one go on to be used for a while;
each for another while, so that not all of them are made anew in one moment.
"""
from libc.stdint cimport uint64_t
from fastmesh.core.net.tls.openssl cimport SSL_CTX, SSL_SESSION
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.net.tls.material cimport Credential
from fastmesh.core.net.tls.verify cimport Verifier

cdef class Session:           # of one endpoint and name
    cdef SSL_SESSION* session

cdef class Kin:               # one object for all contexts that differ in nothing but the certificate of one SPIFFE ID
    cdef object __weakref__

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
    cdef Kin kin              # None: nothing may stand for it
    cdef uint64_t renewed_at  # ms: when a connection of it was first met beside a newer context of its kin; 0 = not yet
    # A session for an endpoint (its text), asked for `name`, which is `self.name` where that is set
    cdef Tls open(self, bytes endpoint, bytes name, bint http2)
    # Whether a connection of this context, opened at `born`, may be used where `newer` is the context of now: for `most` ms
    cdef bint lasts(self, ClientContext newer, uint64_t born, uint64_t most) noexcept

cdef class ClientContexts:    # of one worker
    cdef object _contexts     # digest -> ClientContext, while somebody uses them
    cdef object _kins         # digest -> Kin, the same
    cdef ClientContext make(self, dict plan, dict credentials)
    cdef Kin _kin_of(self, list told)
