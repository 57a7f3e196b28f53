"""What a peer's certificate must be, asked inside the handshake: nothing of the connection is used before the answer."""
from fastmesh.core.net.tls.openssl cimport X509, X509_STACK, X509_STORE_CTX
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.net.tls.material cimport Roots

cdef class Verifier:
    cdef bint of_clients      # this side is the server
    cdef bint by_name         # the certificate must be for the server name that was asked for
    cdef bint mesh            # it must be an SVID, and its trust domain chooses the roots
    cdef bint accepts_all     # looks, and accepts whatever it is; what it says is then not believed
    cdef Roots roots
    cdef dict bundles         # trust domain -> Roots; empty: `roots` for every trust domain
    cdef set domains          # trust domains that may come
    cdef list sans            # one of them is in the certificate; empty: any
    cdef set hashes           # SHA-256 of the certificate
    cdef set spkis            # SHA-256 of its public key
    cdef bint _check(self, Tls tls, X509* leaf, X509_STACK* untrusted, int* error)
    cdef Roots _mesh_roots(self, Tls tls, X509* leaf, list names)
    cdef bint _pinned(self, X509* leaf)

# What SSL_CTX_set_cert_verify_callback wants; the argument is the Verifier
cdef int verify_peer(X509_STORE_CTX* given, void* verifier) noexcept
# A resumed session skips the check: what may have changed with time is looked at here
cdef bint still_valid(Tls tls) noexcept
