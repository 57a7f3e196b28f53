"""What we call of OpenSSL 3 (libssl and libcrypto)."""
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "<openssl/err.h>":
    unsigned long ERR_peek_error()
    unsigned long ERR_peek_last_error()
    const char* ERR_reason_error_string(unsigned long code)
    int ERR_GET_REASON(unsigned long code)
    void ERR_clear_error()

cdef extern from "<openssl/bio.h>":
    ctypedef struct BIO:
        pass
    ctypedef struct BIO_METHOD:
        pass
    int BIO_TYPE_SOURCE_SINK, BIO_CTRL_FLUSH, BIO_CTRL_EOF
    int BIO_get_new_index()
    BIO_METHOD* BIO_meth_new(int type, const char* name)
    int BIO_meth_set_read(BIO_METHOD* method, int (*read)(BIO*, char*, int) noexcept)
    int BIO_meth_set_write(BIO_METHOD* method, int (*write)(BIO*, const char*, int) noexcept)
    int BIO_meth_set_ctrl(BIO_METHOD* method, long (*ctrl)(BIO*, int, long, void*) noexcept)
    BIO* BIO_new(const BIO_METHOD* method)
    BIO* BIO_new_mem_buf(const void* data, int size)
    int BIO_free(BIO* bio)
    const BIO_METHOD* BIO_s_mem()
    long BIO_get_mem_data(BIO* bio, char** data)
    void BIO_set_init(BIO* bio, int init)
    void BIO_set_data(BIO* bio, void* data)
    void* BIO_get_data(BIO* bio)
    void BIO_set_retry_read(BIO* bio)
    void BIO_set_retry_write(BIO* bio)
    void BIO_clear_retry_flags(BIO* bio)
    int BIO_should_read(BIO* bio)
    int BIO_should_write(BIO* bio)

cdef extern from "<openssl/crypto.h>":
    void OPENSSL_free(void* data)
    void OPENSSL_cleanse(void* data, size_t size)
    int CRYPTO_memcmp(const void* a, const void* b, size_t size)
    void* OPENSSL_malloc(size_t size)

cdef extern from "<openssl/evp.h>":
    ctypedef struct EVP_PKEY:
        pass
    ctypedef struct EVP_CIPHER:
        pass
    ctypedef struct EVP_CIPHER_CTX:
        pass
    ctypedef struct EVP_MAC_CTX:
        pass
    ctypedef struct EVP_MD:
        pass
    ctypedef struct ENGINE:
        pass
    int EVP_PKEY_RSA, EVP_PKEY_EC, EVP_PKEY_ED25519
    int EVP_PKEY_get_base_id(const EVP_PKEY* key)
    int EVP_PKEY_up_ref(EVP_PKEY* key)
    void EVP_PKEY_free(EVP_PKEY* key)
    const EVP_CIPHER* EVP_aes_256_cbc()
    const EVP_MD* EVP_sha256()
    int EVP_EncryptInit_ex(EVP_CIPHER_CTX* ctx, const EVP_CIPHER* cipher, ENGINE* engine, const unsigned char* key, const unsigned char* iv)
    int EVP_DecryptInit_ex(EVP_CIPHER_CTX* ctx, const EVP_CIPHER* cipher, ENGINE* engine, const unsigned char* key, const unsigned char* iv)
    int EVP_MAC_CTX_set_params(EVP_MAC_CTX* ctx, const OSSL_PARAM* params)

cdef extern from "<openssl/rand.h>":
    int RAND_bytes(unsigned char* to, int size)

cdef extern from "<openssl/params.h>":
    ctypedef struct OSSL_PARAM:
        pass
    OSSL_PARAM OSSL_PARAM_construct_octet_string(const char* key, void* data, size_t size)
    OSSL_PARAM OSSL_PARAM_construct_utf8_string(const char* key, char* text, size_t size)
    OSSL_PARAM OSSL_PARAM_construct_end()

cdef extern from "<openssl/asn1.h>":
    ctypedef struct ASN1_STRING:
        pass
    ctypedef struct ASN1_INTEGER:
        pass
    ctypedef struct ASN1_TIME:
        pass
    int ASN1_STRING_length(const ASN1_STRING* text)
    const unsigned char* ASN1_STRING_get0_data(const ASN1_STRING* text)

cdef extern from "<openssl/x509v3.h>":
    ctypedef struct X509:
        pass
    ctypedef struct X509_CRL:
        pass
    ctypedef struct X509_NAME:
        pass
    ctypedef struct X509_PUBKEY:
        pass
    ctypedef struct X509_STORE:
        pass
    ctypedef struct X509_STORE_CTX:
        pass
    ctypedef struct X509_VERIFY_PARAM:
        pass
    ctypedef struct X509_STACK "STACK_OF(X509)":
        pass
    ctypedef struct X509_NAMES "STACK_OF(X509_NAME)":
        pass
    ctypedef struct GENERAL_NAMES:
        pass
    ctypedef struct GENERAL_NAME:
        int type
    int GEN_OTHERNAME, GEN_EMAIL, GEN_DNS, GEN_URI, GEN_IPADD
    int NID_subject_alt_name
    int X509_V_OK, X509_V_ERR_UNSPECIFIED, X509_V_ERR_APPLICATION_VERIFICATION, X509_V_ERR_HOSTNAME_MISMATCH
    int X509_V_ERR_CERT_UNTRUSTED, X509_V_ERR_INVALID_PURPOSE, X509_V_ERR_INVALID_CA, X509_V_ERR_CERT_HAS_EXPIRED
    unsigned long X509_V_FLAG_CRL_CHECK, X509_V_FLAG_CRL_CHECK_ALL, X509_V_FLAG_PARTIAL_CHAIN
    unsigned int X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT
    uint32_t EXFLAG_CA, EXFLAG_INVALID, KU_KEY_CERT_SIGN, KU_CRL_SIGN, KU_DIGITAL_SIGNATURE
    unsigned long XN_FLAG_RFC2253

    X509_STACK* sk_X509_new_null()
    int sk_X509_num(const X509_STACK* stack)
    X509* sk_X509_value(const X509_STACK* stack, int i)
    int sk_X509_push(X509_STACK* stack, X509* certificate)
    void sk_X509_pop_free(X509_STACK* stack, void (*free)(X509*))
    X509_NAMES* sk_X509_NAME_new_null()
    int sk_X509_NAME_push(X509_NAMES* stack, X509_NAME* name)
    int sk_GENERAL_NAME_num(const GENERAL_NAMES* names)
    GENERAL_NAME* sk_GENERAL_NAME_value(const GENERAL_NAMES* names, int i)
    void GENERAL_NAMES_free(GENERAL_NAMES* names)
    void* GENERAL_NAME_get0_value(const GENERAL_NAME* name, int* type)

    int X509_up_ref(X509* certificate)
    void X509_free(X509* certificate)
    int X509_check_private_key(const X509* certificate, const EVP_PKEY* key)
    void* X509_get_ext_d2i(const X509* certificate, int nid, int* critical, int* index)
    X509_NAME* X509_get_subject_name(const X509* certificate)
    X509_NAME* X509_get_issuer_name(const X509* certificate)
    const ASN1_INTEGER* X509_get0_serialNumber(const X509* certificate)
    int i2a_ASN1_INTEGER(BIO* bio, const ASN1_INTEGER* number)
    X509_NAME* X509_NAME_dup(const X509_NAME* name)
    int X509_NAME_print_ex(BIO* out, const X509_NAME* name, int indent, unsigned long flags)
    X509_PUBKEY* X509_get_X509_PUBKEY(const X509* certificate)
    int i2d_X509_PUBKEY(const X509_PUBKEY* key, unsigned char** out)
    int i2d_X509(X509* certificate, unsigned char** out)
    int X509_digest(const X509* certificate, const EVP_MD* md, unsigned char* to, unsigned int* size)
    const ASN1_TIME* X509_get0_notAfter(const X509* certificate)
    const ASN1_TIME* X509_get0_notBefore(const X509* certificate)
    int X509_cmp_current_time(const ASN1_TIME* time)
    uint32_t X509_get_extension_flags(X509* certificate)
    uint32_t X509_get_key_usage(X509* certificate)
    int X509_check_host(X509* certificate, const char* name, size_t size, unsigned int flags, char** matched)
    int X509_check_ip_asc(X509* certificate, const char* address, unsigned int flags)
    void X509_CRL_free(X509_CRL* crl)
    const char* X509_verify_cert_error_string(long code)

    X509_STORE* X509_STORE_new()
    int X509_STORE_up_ref(X509_STORE* store)
    void X509_STORE_free(X509_STORE* store)
    int X509_STORE_add_cert(X509_STORE* store, X509* certificate)
    int X509_STORE_add_crl(X509_STORE* store, X509_CRL* crl)
    int X509_STORE_set_default_paths(X509_STORE* store)
    int X509_STORE_set_flags(X509_STORE* store, unsigned long flags)
    X509_STORE_CTX* X509_STORE_CTX_new()
    void X509_STORE_CTX_free(X509_STORE_CTX* ctx)
    int X509_STORE_CTX_init(X509_STORE_CTX* ctx, X509_STORE* store, X509* leaf, X509_STACK* untrusted)
    int X509_STORE_CTX_set_default(X509_STORE_CTX* ctx, const char* name)
    int X509_verify_cert(X509_STORE_CTX* ctx)
    X509_VERIFY_PARAM* X509_STORE_CTX_get0_param(const X509_STORE_CTX* ctx)
    void X509_VERIFY_PARAM_set_auth_level(X509_VERIFY_PARAM* param, int level)
    int X509_STORE_CTX_get_error(const X509_STORE_CTX* ctx)
    void X509_STORE_CTX_set_error(X509_STORE_CTX* ctx, int error)
    X509* X509_STORE_CTX_get0_cert(const X509_STORE_CTX* ctx)
    X509_STACK* X509_STORE_CTX_get0_untrusted(const X509_STORE_CTX* ctx)
    void* X509_STORE_CTX_get_ex_data(const X509_STORE_CTX* ctx, int index)

cdef extern from "<openssl/pem.h>":
    ctypedef int pem_password_cb(char* buffer, int size, int rwflag, void* user) noexcept
    int PEM_R_NO_START_LINE
    X509* PEM_read_bio_X509(BIO* bio, X509** to, pem_password_cb* callback, void* user)
    X509* PEM_read_bio_X509_AUX(BIO* bio, X509** to, pem_password_cb* callback, void* user)
    X509_CRL* PEM_read_bio_X509_CRL(BIO* bio, X509_CRL** to, pem_password_cb* callback, void* user)
    int PEM_write_bio_X509(BIO* bio, X509* certificate)
    EVP_PKEY* PEM_read_bio_PrivateKey(BIO* bio, EVP_PKEY** to, pem_password_cb* callback, void* user)

cdef extern from "<openssl/ssl.h>":
    ctypedef struct SSL:
        pass
    ctypedef struct SSL_CTX:
        pass
    ctypedef struct SSL_METHOD:
        pass
    ctypedef struct SSL_SESSION:
        pass
    ctypedef struct SSL_CIPHER:
        pass
    int TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION, TLS1_3_VERSION
    uint64_t SSL_OP_NO_COMPRESSION, SSL_OP_NO_RENEGOTIATION, SSL_OP_CIPHER_SERVER_PREFERENCE, SSL_OP_PRIORITIZE_CHACHA
    uint64_t SSL_OP_NO_TICKET, SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION
    long SSL_MODE_ENABLE_PARTIAL_WRITE, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, SSL_MODE_RELEASE_BUFFERS
    long SSL_SESS_CACHE_OFF, SSL_SESS_CACHE_CLIENT, SSL_SESS_CACHE_NO_INTERNAL
    int SSL_VERIFY_NONE, SSL_VERIFY_PEER, SSL_VERIFY_FAIL_IF_NO_PEER_CERT
    int SSL_ERROR_NONE, SSL_ERROR_SSL, SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, SSL_ERROR_SYSCALL, SSL_ERROR_ZERO_RETURN
    int SSL_READING, SSL_WRITING
    int SSL_TLSEXT_ERR_OK, SSL_TLSEXT_ERR_NOACK, SSL_TLSEXT_ERR_ALERT_FATAL, OPENSSL_NPN_NEGOTIATED
    int TLSEXT_STATUSTYPE_ocsp
    int SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE

    const SSL_METHOD* TLS_server_method()
    const SSL_METHOD* TLS_client_method()
    SSL_CTX* SSL_CTX_new(const SSL_METHOD* method)
    int SSL_CTX_up_ref(SSL_CTX* ctx)
    void SSL_CTX_free(SSL_CTX* ctx)
    uint64_t SSL_CTX_set_options(SSL_CTX* ctx, uint64_t options)
    long SSL_CTX_set_mode(SSL_CTX* ctx, long mode)
    int SSL_CTX_set_min_proto_version(SSL_CTX* ctx, int version)
    int SSL_CTX_set_max_proto_version(SSL_CTX* ctx, int version)
    int SSL_CTX_set_cipher_list(SSL_CTX* ctx, const char* text)
    int SSL_CTX_set_ciphersuites(SSL_CTX* ctx, const char* text)
    int SSL_CTX_set1_groups_list(SSL_CTX* ctx, const char* text)
    void SSL_CTX_set_read_ahead(SSL_CTX* ctx, int yes)
    void SSL_CTX_set_default_read_buffer_len(SSL_CTX* ctx, size_t size)
    long SSL_CTX_set_session_cache_mode(SSL_CTX* ctx, long mode)
    int SSL_CTX_set_num_tickets(SSL_CTX* ctx, size_t count)
    int SSL_set_num_tickets(SSL* ssl, size_t count)
    uint64_t SSL_set_options(SSL* ssl, uint64_t options)
    int SSL_CTX_set_tlsext_ticket_key_evp_cb(SSL_CTX* ctx, int (*callback)(SSL*, unsigned char*, unsigned char*, EVP_CIPHER_CTX*, EVP_MAC_CTX*, int) noexcept)
    int SSL_CTX_use_cert_and_key(SSL_CTX* ctx, X509* leaf, EVP_PKEY* key, X509_STACK* chain, int override)
    int SSL_use_cert_and_key(SSL* ssl, X509* leaf, EVP_PKEY* key, X509_STACK* chain, int override)
    void SSL_CTX_set_verify(SSL_CTX* ctx, int mode, void* callback)
    void SSL_CTX_set_cert_verify_callback(SSL_CTX* ctx, int (*callback)(X509_STORE_CTX*, void*) noexcept, void* argument)
    void SSL_CTX_set_client_CA_list(SSL_CTX* ctx, X509_NAMES* names)
    void SSL_CTX_set_alpn_select_cb(SSL_CTX* ctx, int (*callback)(SSL*, const unsigned char**, unsigned char*, const unsigned char*, unsigned int, void*) noexcept, void* argument)
    int SSL_set_alpn_protos(SSL* ssl, const unsigned char* protocols, unsigned int size)
    int SSL_CTX_set_alpn_protos(SSL_CTX* ctx, const unsigned char* protocols, unsigned int size)
    int SSL_select_next_proto(unsigned char** out, unsigned char* out_size, const unsigned char* server, unsigned int server_size, const unsigned char* client, unsigned int client_size)
    void SSL_get0_alpn_selected(const SSL* ssl, const unsigned char** data, unsigned int* size)
    void SSL_CTX_sess_set_new_cb(SSL_CTX* ctx, int (*callback)(SSL*, SSL_SESSION*) noexcept)
    int SSL_set_session_id_context(SSL* ssl, const unsigned char* context, unsigned int size)
    long SSL_CTX_set_tlsext_status_cb(SSL_CTX* ctx, int (*callback)(SSL*, void*) noexcept)
    long SSL_CTX_set_tlsext_status_arg(SSL_CTX* ctx, void* argument)
    long SSL_set_tlsext_status_ocsp_resp(SSL* ssl, unsigned char* response, long size)
    X509* SSL_get_certificate(const SSL* ssl)

    SSL* SSL_new(SSL_CTX* ctx)
    void SSL_free(SSL* ssl)
    void SSL_set_bio(SSL* ssl, BIO* read, BIO* write)
    BIO* SSL_get_rbio(const SSL* ssl)
    void SSL_set_accept_state(SSL* ssl)
    void SSL_set_connect_state(SSL* ssl)
    int SSL_set_ex_data(SSL* ssl, int index, void* data)
    void* SSL_get_ex_data(const SSL* ssl, int index)
    int SSL_get_ex_data_X509_STORE_CTX_idx()
    int SSL_do_handshake(SSL* ssl)
    int SSL_read_ex(SSL* ssl, void* buffer, size_t size, size_t* got)
    int SSL_peek_ex(SSL* ssl, void* buffer, size_t size, size_t* got)
    int SSL_write_ex(SSL* ssl, const void* data, size_t size, size_t* sent)
    int SSL_has_pending(const SSL* ssl)
    int SSL_shutdown(SSL* ssl)
    int SSL_get_error(const SSL* ssl, int result)
    int SSL_want(const SSL* ssl)
    int SSL_is_init_finished(const SSL* ssl)
    int SSL_get_security_level(const SSL* ssl)
    long SSL_get_verify_result(const SSL* ssl)
    int SSL_session_reused(const SSL* ssl)
    int SSL_version(const SSL* ssl)
    const char* SSL_get_version(const SSL* ssl)
    const SSL_CIPHER* SSL_get_current_cipher(const SSL* ssl)
    const char* SSL_CIPHER_get_name(const SSL_CIPHER* cipher)
    X509* SSL_get0_peer_certificate(const SSL* ssl)
    int SSL_set_tlsext_host_name(SSL* ssl, const char* name)
    int SSL_set_session(SSL* ssl, SSL_SESSION* session)
    int SSL_SESSION_up_ref(SSL_SESSION* session)
    void SSL_SESSION_free(SSL_SESSION* session)
    int SSL_SESSION_is_resumable(const SSL_SESSION* session)
