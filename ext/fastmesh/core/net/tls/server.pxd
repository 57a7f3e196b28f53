"""How TLS from clients ends here: what `Chain.context` is. See config/plan.ServerTLSPlan.

A context never changes: another certificate or another policy is another context, while sessions that were made with the old one
live on. SSL_CTX costs some 13 KB, so when there are thousands of certificates those with equal settings share one, and each session
is given its certificates by itself.
"""
from fastmesh.core.net.tls.openssl cimport SSL_CTX
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.net.tls.verify cimport Verifier

cdef class ServerSettings:    # an SSL_CTX with everything but certificates, or with those of the one context that uses it
    cdef object __weakref__
    cdef SSL_CTX* ctx
    cdef Verifier verifier    # None: clients are not asked
    cdef bytes alpn           # in the form of the extension, by preference
    cdef bint tickets

cdef class ServerContext:
    cdef object __weakref__
    cdef readonly bytes digest        # of everything that a session under it has proved: bound to tickets
    cdef ServerSettings settings      # None: there is no key material, every handshake fails
    cdef list credentials             # of Credential
    cdef bint own                     # `settings` has the certificates
    cdef bytes identity               # the URI of its certificate, or b""
    cdef Tls open(self, bytes name)   # a session for a client that asked for `name`

cdef class ServerContexts:    # of one worker
    cdef object _settings     # digest -> ServerSettings, while somebody uses them
    cdef object _contexts     # digest -> ServerContext
    cdef ServerContext make(self, dict plan, dict credentials, list names)
    cdef ServerSettings _settings_of(self, dict plan, list credentials, bint own)

cdef int set_versions(SSL_CTX* ctx, dict plan, bint server) except -1        # versions, ciphers, and what all contexts have in common
