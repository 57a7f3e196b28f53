"""See tickets.pxd. RFC 5077 section 4: name 16 bytes, HMAC-SHA-256 key 32, AES-256-CBC key 32."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memcmp, memcpy
from fastmesh.core.net.tls.openssl cimport (
    EVP_CIPHER_CTX, EVP_DecryptInit_ex, EVP_EncryptInit_ex, EVP_MAC_CTX, EVP_MAC_CTX_set_params, EVP_aes_256_cbc,
    OPENSSL_cleanse, OSSL_PARAM, OSSL_PARAM_construct_end, OSSL_PARAM_construct_octet_string, OSSL_PARAM_construct_utf8_string,
    RAND_bytes, SSL, SSL_version, TLS1_3_VERSION,
)

cdef enum:
    NAME = 16
    SECRET = 32
    KEY = NAME + 2 * SECRET
    KEPT = 8

cdef unsigned char[KEPT * KEY] _keys
cdef int _count = 0


cdef void set_ticket_keys(list keys):
    global _count
    cdef bytes key
    OPENSSL_cleanse(_keys, sizeof(_keys))
    _count = 0
    for key in keys[:KEPT]:
        if PyBytes_GET_SIZE(key) == KEY:
            memcpy(&_keys[_count * KEY], PyBytes_AS_STRING(key), KEY)
            _count += 1


cdef bint have_ticket_keys() noexcept:
    return _count > 0


cdef int ticket_key(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac, int closing) noexcept:
    cdef unsigned char* key = NULL
    cdef OSSL_PARAM[3] params
    cdef int i
    if closing:
        if _count == 0 or RAND_bytes(iv, 16) != 1:
            return 0
        key = _keys
        memcpy(name, key, NAME)
        if EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key + NAME + SECRET, iv) != 1:
            return -1
    else:
        for i in range(_count):
            if memcmp(name, &_keys[i * KEY], NAME) == 0:
                key = &_keys[i * KEY]
                break
        if key == NULL:
            return 0                      # an old key, or none of ours: a full handshake
        if EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key + NAME + SECRET, iv) != 1:
            return -1
    params[0] = OSSL_PARAM_construct_octet_string("key", key + NAME, SECRET)
    params[1] = OSSL_PARAM_construct_utf8_string("digest", "SHA256", 0)
    params[2] = OSSL_PARAM_construct_end()
    if EVP_MAC_CTX_set_params(mac, params) != 1:
        return -1
    if closing or key == _keys and SSL_version(ssl) != TLS1_3_VERSION:
        return 1
    return 2                              # accept, and renew it: TLS 1.3 wants tickets used once (RFC 8446 appendix C.4)
