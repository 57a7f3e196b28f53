"""Certificates and keys as OpenSSL holds them. Nothing here is shown: of a credential Python knows the name and a digest."""
from fastmesh.core.net.tls.openssl cimport EVP_PKEY, X509, X509_NAMES, X509_STACK, X509_STORE

cdef class Roots:             # who may sign; with the revocation list that belongs to them
    cdef X509_STORE* store
    cdef bytes pem            # of the certificates: the names that a server asks for; b"" for the system's

cdef class Credential:
    cdef object __weakref__
    cdef readonly str name
    cdef readonly bytes digest        # of all its material
    cdef readonly bytes roots_digest  # of what checks peers: roots, bundles, list
    cdef X509* leaf           # NULL: it only checks peers
    cdef X509_STACK* chain    # behind the leaf
    cdef EVP_PKEY* key
    cdef bytes staple
    cdef Roots roots
    cdef dict bundles         # trust domain, bytes -> Roots
    cdef bytes identity       # the URI SAN of the leaf, or b""

    cdef X509_NAMES* names(self)      # subjects of `roots`, for a server's request; the caller's own

cdef Roots system_roots()                 # what this machine trusts; read once
# From the fields of a CredentialPlan; ValueError says which piece is wrong, and shows nothing of it
cdef Credential load_credential(dict plan)
cdef bytes digest_of_credential(dict plan)
