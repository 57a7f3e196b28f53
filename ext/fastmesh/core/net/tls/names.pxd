"""The names in a certificate: its subject alternative names, and whether they are those that somebody wants (RFC 6125)."""
from fastmesh.core.net.tls.openssl cimport X509

# [(GEN_DNS and so on, bytes)]; None: a name is not a text (an embedded NUL), nothing of it may be believed
cdef list names_of(X509* certificate)
cdef bytes uri_of(X509* certificate)      # its only URI; b"" when it has none, or several
cdef bint is_address(bytes name)         # of IPv4 or IPv6: it is no server name (RFC 6066 section 3)
# The trust domain of a SPIFFE ID (SPIFFE-ID section 2), or b"" when it is none
cdef bytes trust_domain_of(bytes uri)
# One of `wanted` is among the names: exactly, or by a wildcard of the certificate that stands for one label
cdef bint names_fit(X509* certificate, list names, list wanted)
