"""See material.pxd."""
import hashlib

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from fastmesh.core.net.tls.openssl cimport (
    BIO, BIO_free, BIO_new_mem_buf, ERR_GET_REASON, ERR_clear_error, ERR_peek_last_error, ERR_reason_error_string, EVP_PKEY_free,
    PEM_R_NO_START_LINE, PEM_read_bio_PrivateKey, PEM_read_bio_X509, PEM_read_bio_X509_CRL, X509, X509_CRL, X509_CRL_free, X509_NAME_dup,
    X509_NAMES, X509_STORE, X509_STORE_add_cert, X509_STORE_add_crl, X509_STORE_free, X509_STORE_new,
    X509_STORE_set_default_paths, X509_STORE_set_flags, X509_V_FLAG_CRL_CHECK, X509_V_FLAG_CRL_CHECK_ALL,
    X509_V_FLAG_PARTIAL_CHAIN, X509_check_private_key, X509_free, X509_get_subject_name, sk_X509_NAME_new_null,
    sk_X509_NAME_push, sk_X509_new_null, sk_X509_pop_free, sk_X509_push,
)
from fastmesh.core.net.tls.names cimport uri_of

cdef enum:
    NAMES_MAX = 64            # subjects of roots that a server sends with its request: a hint, not a check

cdef Roots _system = None


cdef int _no_password(char* buffer, int size, int rwflag, void* user) noexcept:
    return -1                             # an encrypted key is an error, never a question on the terminal


cdef BIO* _reader(bytes pem) except NULL:
    cdef BIO* bio = BIO_new_mem_buf(PyBytes_AS_STRING(pem), <int>PyBytes_GET_SIZE(pem))
    if bio == NULL:
        raise MemoryError
    return bio


cdef _wrong(str name, str piece):
    cdef const char* why = ERR_reason_error_string(ERR_peek_last_error())
    ERR_clear_error()
    return ValueError(f"credential {name}: {piece}: {why.decode() if why != NULL else 'cannot be read'}")


cdef _expect_end(str name, str piece, int count):
    """A reader stopped: because nothing more is there, or because what is there cannot be read?"""
    if count == 0 or ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE:
        raise _wrong(name, piece)
    ERR_clear_error()


cdef class Roots:
    def __dealloc__(self):
        X509_STORE_free(self.store)


cdef class Credential:
    def __dealloc__(self):
        X509_free(self.leaf)
        sk_X509_pop_free(self.chain, X509_free)
        EVP_PKEY_free(self.key)

    cdef X509_NAMES* names(self):
        cdef X509_NAMES* names = sk_X509_NAME_new_null()
        cdef BIO* bio
        cdef X509* root
        cdef int count = 0
        if self.roots.pem:
            bio = _reader(self.roots.pem)
            while count < NAMES_MAX:
                root = PEM_read_bio_X509(bio, NULL, _no_password, NULL)
                if root == NULL:
                    break
                sk_X509_NAME_push(names, X509_NAME_dup(X509_get_subject_name(root)))
                X509_free(root)
                count += 1
            BIO_free(bio)
            ERR_clear_error()
        return names


cdef Roots system_roots():
    """What this machine trusts; read once."""
    global _system
    if _system is None:
        _system = Roots.__new__(Roots)
        _system.pem = b""
        _system.store = X509_STORE_new()
        X509_STORE_set_default_paths(_system.store)
        ERR_clear_error()
    return _system


cdef Roots _make_roots(str name, str piece, bytes pem, bytes crl):
    cdef Roots roots = Roots.__new__(Roots)
    cdef BIO* bio
    cdef X509* root
    cdef X509_CRL* listed
    cdef int count = 0
    roots.pem = pem
    roots.store = X509_STORE_new()
    # A root file may hold an intermediate authority: it is where trust begins
    X509_STORE_set_flags(roots.store, X509_V_FLAG_PARTIAL_CHAIN)
    bio = _reader(pem)
    while True:
        root = PEM_read_bio_X509(bio, NULL, _no_password, NULL)
        if root == NULL:
            break
        X509_STORE_add_cert(roots.store, root)
        X509_free(root)
        count += 1
    BIO_free(bio)
    _expect_end(name, piece, count)
    if crl:
        count = 0
        bio = _reader(crl)
        while True:
            listed = PEM_read_bio_X509_CRL(bio, NULL, _no_password, NULL)
            if listed == NULL:
                break
            X509_STORE_add_crl(roots.store, listed)
            X509_CRL_free(listed)
            count += 1
        BIO_free(bio)
        _expect_end(name, "revocation list", count)
        X509_STORE_set_flags(roots.store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL)
    return roots


cdef _load_chain(Credential credential, bytes pem):
    cdef BIO* bio = _reader(pem)
    cdef X509* found
    credential.leaf = PEM_read_bio_X509(bio, NULL, _no_password, NULL)
    credential.chain = sk_X509_new_null()
    while credential.leaf != NULL:
        found = PEM_read_bio_X509(bio, NULL, _no_password, NULL)
        if found == NULL:
            break
        sk_X509_push(credential.chain, found)
    BIO_free(bio)
    _expect_end(credential.name, "certificate chain", credential.leaf != NULL)


cdef _load_key(Credential credential, bytes pem):
    cdef BIO* bio = _reader(pem)
    credential.key = PEM_read_bio_PrivateKey(bio, NULL, _no_password, NULL)
    BIO_free(bio)
    if credential.key == NULL:
        raise _wrong(credential.name, "private key")
    if X509_check_private_key(credential.leaf, credential.key) != 1:
        raise _wrong(credential.name, "the key does not fit the certificate")


cdef bytes digest_of_credential(dict plan):
    parts = [plan["chain"], plan["key"], plan["staple"], _roots_digest(plan)]
    return hashlib.sha256(b"".join([b"%d:" % len(part) + part for part in parts])).digest()


cdef bytes _roots_digest(dict plan):
    parts = [plan["roots"], plan["crl"]]
    for domain, pem in sorted(plan["bundles"].items()):
        parts += [domain.encode(), pem]
    return hashlib.sha256(b"".join([b"%d:" % len(part) + part for part in parts])).digest()


cdef Credential load_credential(dict plan):
    cdef Credential credential = Credential.__new__(Credential)
    credential.name = plan["name"]
    credential.digest = digest_of_credential(plan)
    credential.roots_digest = _roots_digest(plan)
    credential.staple = plan["staple"]
    credential.identity = b""
    if plan["chain"]:
        _load_chain(credential, plan["chain"])
        _load_key(credential, plan["key"])
        credential.identity = uri_of(credential.leaf)
    if plan["roots"]:
        credential.roots = _make_roots(credential.name, "roots", plan["roots"], plan["crl"])
    else:
        credential.roots = system_roots()
    credential.bundles = {
        domain.encode(): _make_roots(credential.name, f"roots of {domain}", pem, plan["crl"])
        for domain, pem in plan["bundles"].items()
    }
    return credential
