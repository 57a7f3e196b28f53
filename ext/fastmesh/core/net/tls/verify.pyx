"""See verify.pxd. SPIFFE X.509-SVID sections 2 to 5; RFC 6125 for names; the chain itself is OpenSSL's work (RFC 5280)."""
import hashlib

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t
from fastmesh.core.net.tls.openssl cimport (
    ERR_clear_error, EVP_sha256, EXFLAG_CA, GEN_URI, KU_CRL_SIGN, KU_DIGITAL_SIGNATURE, KU_KEY_CERT_SIGN, OPENSSL_free, SSL,
    SSL_get0_peer_certificate, SSL_get_ex_data_X509_STORE_CTX_idx, SSL_get_security_level, X509, X509_STACK, X509_STORE_CTX,
    X509_STORE_CTX_free, X509_STORE_CTX_get0_cert, X509_STORE_CTX_get0_param, X509_STORE_CTX_get0_untrusted,
    X509_STORE_CTX_get_error, X509_STORE_CTX_get_ex_data, X509_STORE_CTX_init, X509_STORE_CTX_new, X509_STORE_CTX_set_default,
    X509_STORE_CTX_set_error, X509_VERIFY_PARAM_set_auth_level, X509_V_ERR_APPLICATION_VERIFICATION, X509_V_ERR_CERT_UNTRUSTED,
    X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_UNSPECIFIED, X509_V_OK, X509_cmp_current_time, X509_digest, X509_get0_notAfter,
    X509_get0_notBefore, X509_get_X509_PUBKEY, X509_get_extension_flags, X509_get_key_usage, X509_verify_cert,
    X509_verify_cert_error_string, i2d_X509_PUBKEY,
)
from fastmesh.core.net.tls.session cimport FAULT_CERTIFICATE, FAULT_NAME, FAULT_OTHER, FAULT_PIN, Tls, tls_of
from fastmesh.core.net.tls.material cimport Roots
from fastmesh.core.net.tls.names cimport names_fit, names_of, trust_domain_of


cdef int verify_peer(X509_STORE_CTX* given, void* verifier) noexcept:
    cdef Verifier check = <Verifier>verifier
    cdef SSL* ssl = <SSL*>X509_STORE_CTX_get_ex_data(given, SSL_get_ex_data_X509_STORE_CTX_idx())
    cdef Tls tls = tls_of(ssl)
    cdef int error = X509_V_ERR_UNSPECIFIED
    X509_STORE_CTX_set_error(given, error)        # what an exception below would leave
    if check._check(tls, X509_STORE_CTX_get0_cert(given), X509_STORE_CTX_get0_untrusted(given), &error):
        tls.verified = True
    elif check.accepts_all:
        tls.error, tls.fault = NULL, FAULT_OTHER
    else:
        X509_STORE_CTX_set_error(given, error)
        return 0
    ERR_clear_error()
    X509_STORE_CTX_set_error(given, X509_V_OK)
    return 1


cdef bint still_valid(Tls tls) noexcept:
    cdef X509* leaf = SSL_get0_peer_certificate(tls.ssl)
    return leaf == NULL or X509_cmp_current_time(X509_get0_notAfter(leaf)) > 0 and X509_cmp_current_time(X509_get0_notBefore(leaf)) < 0


cdef class Verifier:
    cdef bint _check(self, Tls tls, X509* leaf, X509_STACK* untrusted, int* error):
        cdef Roots roots = self.roots
        cdef list names = names_of(leaf)
        error[0], tls.fault = X509_V_ERR_HOSTNAME_MISMATCH, FAULT_NAME
        if names is None:
            tls.error = "a name in the certificate has an embedded NUL"
            return False
        if self.mesh:
            roots = self._mesh_roots(tls, leaf, names)
            if roots is None:
                return False
        error[0] = _chain_error(tls, leaf, untrusted, roots, self.of_clients)
        if error[0] != X509_V_OK:
            tls.fault, tls.error = FAULT_CERTIFICATE, X509_verify_cert_error_string(error[0])
            return False
        error[0] = X509_V_ERR_HOSTNAME_MISMATCH
        if self.sans and not names_fit(leaf, names, self.sans):
            tls.error = "none of the names that are wanted is in the certificate"
            return False
        if self.by_name and not names_fit(leaf, names, [tls.sni]):
            tls.error = "the certificate is not for this server name"
            return False
        error[0], tls.fault = X509_V_ERR_APPLICATION_VERIFICATION, FAULT_PIN
        if (self.hashes or self.spkis) and not self._pinned(leaf):
            tls.error = "neither the certificate nor its public key has a hash that is wanted"
            return False
        tls.fault = FAULT_OTHER
        return True

    cdef Roots _mesh_roots(self, Tls tls, X509* leaf, list names):
        """The roots for an SVID's trust domain; None: it is no SVID, or of a trust domain that may not come."""
        cdef uint32_t usage = X509_get_key_usage(leaf)
        cdef list uris = [value for kind, value in names if kind == GEN_URI]
        cdef bytes domain = trust_domain_of(uris[0]) if len(uris) == 1 else b""
        if len(uris) != 1:
            tls.error = "a mesh certificate has exactly one URI name"
        elif not domain:
            tls.error = "the URI name of the certificate is no SPIFFE ID"
        elif X509_get_extension_flags(leaf) & EXFLAG_CA or usage != <uint32_t>-1 and (
                usage & (KU_KEY_CERT_SIGN | KU_CRL_SIGN) or not usage & KU_DIGITAL_SIGNATURE):
            tls.error = "a mesh certificate may not sign certificates"
        elif domain not in self.domains:
            tls.error = "the certificate is of another trust domain"
        elif not self.bundles:
            return self.roots
        elif domain in self.bundles:
            return <Roots>self.bundles[domain]
        else:
            tls.error = "there are no roots for the trust domain of the certificate"
        return None

    cdef bint _pinned(self, X509* leaf):
        cdef unsigned char[32] digest
        cdef unsigned char* encoded = NULL
        cdef bytes key
        cdef int size
        if self.hashes and X509_digest(leaf, EVP_sha256(), digest, NULL) == 1 \
                and PyBytes_FromStringAndSize(<char*>digest, 32) in self.hashes:
            return True
        size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(leaf), &encoded)
        if size <= 0:
            return False
        key = PyBytes_FromStringAndSize(<char*>encoded, size)
        OPENSSL_free(encoded)
        return hashlib.sha256(key).digest() in self.spkis


cdef int _chain_error(Tls tls, X509* leaf, X509_STACK* untrusted, Roots roots, bint of_client):
    """X509_V_OK when the chain ends in `roots`, is valid now, for this use, and is not revoked."""
    cdef X509_STORE_CTX* own = X509_STORE_CTX_new()
    cdef int error = X509_V_ERR_UNSPECIFIED
    if own == NULL:
        return error
    if X509_STORE_CTX_init(own, roots.store, leaf, untrusted) == 1:
        X509_STORE_CTX_set_default(own, "ssl_client" if of_client else "ssl_server")
        X509_VERIFY_PARAM_set_auth_level(X509_STORE_CTX_get0_param(own), SSL_get_security_level(tls.ssl))
        if X509_verify_cert(own) == 1:
            error = X509_V_OK
        else:
            error = X509_STORE_CTX_get_error(own)
            if error == X509_V_OK:
                error = X509_V_ERR_CERT_UNTRUSTED
    X509_STORE_CTX_free(own)
    return error
