"""What the peer of a session proved with its certificate: made once a session, when somebody asks."""
from fastmesh.core.net.tls.openssl cimport X509
from fastmesh.core.net.tls.session cimport Tls

cdef class Peer:
    cdef bytes principal      # its SPIFFE ID; b"": it has none
    cdef bytes hash           # SHA-256 of the certificate, hex
    cdef bytes subject        # RFC 2253
    cdef bytes issuer         # RFC 2253
    cdef bytes serial         # hex
    cdef list uris            # bytes; none has a character that would end an element of a header
    cdef list dns
    cdef bytes forwarded      # an element of x-forwarded-client-cert: By, Hash, Subject, URI, DNS
    cdef bytes forwarded_whole        # the same with Cert: what gateways forward
    cdef int label            # number of the principal in the metrics; -1 = none yet

cdef Peer peer_of(Tls tls)                # None: it showed no certificate, or one that nobody checked
