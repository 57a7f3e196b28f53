"""Session tickets: closed and opened with keys that all workers share (fastmesh/security/tickets.py makes them)."""
from fastmesh.core.net.tls.openssl cimport EVP_CIPHER_CTX, EVP_MAC_CTX, SSL

cdef void set_ticket_keys(list keys)      # bytes of 80, the newest first: it closes new tickets, all open old ones
cdef bint have_ticket_keys() noexcept
# What SSL_CTX_set_tlsext_ticket_key_evp_cb wants
cdef int ticket_key(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac, int closing) noexcept
