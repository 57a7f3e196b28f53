"""See server.pxd."""
import hashlib
from base64 import b64decode
from weakref import WeakValueDictionary

import msgspec
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memcpy
from fastmesh.core.net.tls.openssl cimport (
    ERR_clear_error, OPENSSL_NPN_NEGOTIATED, OPENSSL_malloc, SSL, SSL_CTX, SSL_CTX_free, SSL_CTX_new, SSL_CTX_set1_groups_list,
    SSL_CTX_set_alpn_select_cb, SSL_CTX_set_cert_verify_callback, SSL_CTX_set_cipher_list, SSL_CTX_set_ciphersuites,
    SSL_CTX_set_client_CA_list, SSL_CTX_set_max_proto_version, SSL_CTX_set_min_proto_version, SSL_CTX_set_mode,
    SSL_CTX_set_num_tickets, SSL_CTX_set_options, SSL_CTX_set_read_ahead, SSL_CTX_set_session_cache_mode,
    SSL_CTX_set_tlsext_status_cb, SSL_CTX_set_tlsext_ticket_key_evp_cb, SSL_CTX_set_verify, SSL_CTX_use_cert_and_key,
    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, SSL_MODE_ENABLE_PARTIAL_WRITE, SSL_MODE_RELEASE_BUFFERS, SSL_OP_CIPHER_SERVER_PREFERENCE,
    SSL_OP_NO_COMPRESSION, SSL_OP_NO_RENEGOTIATION, SSL_OP_NO_TICKET, SSL_OP_PRIORITIZE_CHACHA, SSL_SESS_CACHE_OFF,
    SSL_TLSEXT_ERR_NOACK, SSL_TLSEXT_ERR_OK, SSL_VERIFY_FAIL_IF_NO_PEER_CERT, SSL_VERIFY_PEER, SSL_get_certificate, SSL_new,
    SSL_select_next_proto, SSL_set_accept_state, SSL_set_num_tickets, SSL_set_options, SSL_set_session_id_context,
    SSL_set_tlsext_status_ocsp_resp, SSL_use_cert_and_key, TLS1_1_VERSION, TLS1_2_VERSION, TLS1_3_VERSION, TLS1_VERSION,
    TLS_server_method,
)
from fastmesh.core.net.tls.session cimport Tls, make_tls, tls_of
from fastmesh.core.net.tls.material cimport Credential
from fastmesh.core.net.tls.tickets cimport have_ticket_keys, ticket_key
from fastmesh.core.net.tls.verify cimport Verifier, verify_peer

cdef dict VERSIONS = {"TLSV1_0": TLS1_VERSION, "TLSV1_1": TLS1_1_VERSION, "TLSV1_2": TLS1_2_VERSION, "TLSV1_3": TLS1_3_VERSION}
# Forward secrecy and authenticated encryption only (RFC 9325 section 4.2); of equal strength the cheaper first
cdef bytes CIPHERS = (b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
                      b"ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305")
cdef bytes OLD_CIPHERS = b":ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA"      # for those who ask for TLS 1.0 or 1.1
cdef bytes SUITES = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
cdef bytes GROUPS = b"X25519:P-256:P-384"

cdef enum:
    OWN_MAX = 64              # contexts with an SSL_CTX of their own


cdef class ServerSettings:
    def __dealloc__(self):
        SSL_CTX_free(self.ctx)


cdef class ServerContext:
    cdef Tls open(self, bytes name):
        cdef SSL* ssl
        cdef Tls tls
        cdef Credential credential
        if self.settings is None:
            tls = Tls.__new__(Tls)        # its handshake fails
            tls.sni = name
            return tls
        ssl = SSL_new(self.settings.ctx)
        tls = make_tls(ssl, self, name)
        if tls is None:
            return None
        if not self.own:
            for credential in self.credentials:
                if SSL_use_cert_and_key(ssl, credential.leaf, credential.key, credential.chain, 1) != 1:
                    ERR_clear_error()
                    return None
        if self.settings.tickets and have_ticket_keys():
            SSL_set_session_id_context(ssl, <const unsigned char*>PyBytes_AS_STRING(self.digest), 32)
        else:
            SSL_set_options(ssl, SSL_OP_NO_TICKET)
            SSL_set_num_tickets(ssl, 0)
        SSL_set_accept_state(ssl)
        return tls


cdef int _choose_protocol(SSL* ssl, const unsigned char** out, unsigned char* out_size, const unsigned char* offered,
                          unsigned int offered_size, void* settings) noexcept:
    cdef bytes own = (<ServerSettings>settings).alpn
    if SSL_select_next_proto(<unsigned char**>out, out_size, <const unsigned char*>PyBytes_AS_STRING(own),
                             <unsigned int>PyBytes_GET_SIZE(own), offered, offered_size) == OPENSSL_NPN_NEGOTIATED:
        return SSL_TLSEXT_ERR_OK
    return SSL_TLSEXT_ERR_NOACK           # as Envoy: no common protocol is no reason to refuse


cdef int _staple(SSL* ssl, void* argument) noexcept:
    """The OCSP response of the certificate that was chosen, for a client that asks for it."""
    cdef ServerContext context = <ServerContext>tls_of(ssl).context
    cdef Credential credential
    cdef char* copy
    for credential in context.credentials:
        if credential.leaf == SSL_get_certificate(ssl) and credential.staple:
            copy = <char*>OPENSSL_malloc(PyBytes_GET_SIZE(credential.staple))
            if copy != NULL:
                memcpy(copy, PyBytes_AS_STRING(credential.staple), PyBytes_GET_SIZE(credential.staple))
                SSL_set_tlsext_status_ocsp_resp(ssl, <unsigned char*>copy, PyBytes_GET_SIZE(credential.staple))
                return SSL_TLSEXT_ERR_OK
    return SSL_TLSEXT_ERR_NOACK


cdef Verifier _verifier(dict plan, Credential credential):
    cdef Verifier verifier = Verifier.__new__(Verifier)
    verifier.of_clients = True
    verifier.mesh = plan["mesh"]
    verifier.accepts_all = plan["accept_unverified"]
    verifier.roots = credential.roots
    verifier.bundles = credential.bundles
    verifier.domains = {domain.encode() for domain in plan["trust_domains"]}
    verifier.sans = [name.encode() for name in plan["sans"]]
    verifier.hashes = {bytes.fromhex(text.replace(":", "")) for text in plan["hashes"]}
    verifier.spkis = {b64decode(text) for text in plan["spkis"]}
    return verifier


cdef int set_versions(SSL_CTX* ctx, dict plan, bint server) except -1:
    cdef bytes ciphers = ":".join(plan["ciphers"]).encode() or CIPHERS
    cdef bytes groups = ":".join(plan.get("curves", ())).encode() or GROUPS
    if plan["min_version"] in ("TLSV1_0", "TLSV1_1"):
        ciphers += (b"" if plan["ciphers"] else OLD_CIPHERS) + b":@SECLEVEL=0"       # their signatures are MD5 and SHA-1
    SSL_CTX_set_min_proto_version(ctx, VERSIONS[plan["min_version"]])
    SSL_CTX_set_max_proto_version(ctx, VERSIONS[plan["max_version"]])
    if SSL_CTX_set_cipher_list(ctx, ciphers) != 1 or SSL_CTX_set_ciphersuites(ctx, SUITES) != 1 \
            or SSL_CTX_set1_groups_list(ctx, groups) != 1:
        ERR_clear_error()
        raise ValueError(f"no cipher suite is left of {', '.join(plan['ciphers'])}")
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS)
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION)
    SSL_CTX_set_read_ahead(ctx, 1)
    if server:
        SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA)
    return 0


cdef class ServerContexts:
    def __cinit__(self):
        self._settings = WeakValueDictionary()
        self._contexts = WeakValueDictionary()

    cdef ServerContext make(self, dict plan, dict credentials, list names):
        """The context for a chain of these server names. Material that is missing makes one that refuses everybody."""
        cdef Credential credential
        cdef ServerContext context
        found = [credentials.get(name) for name in plan["credentials"]]
        ready = bool(found) and None not in found and all((<Credential>each).leaf != NULL for each in found)
        told = [plan, sorted(names), [(<Credential>each).digest for each in found if each is not None], ready]
        digest = hashlib.sha256(msgspec.msgpack.encode(told)).digest()
        context = self._contexts.get(digest)
        if context is None:
            context = ServerContext.__new__(ServerContext)
            context.digest = digest
            context.credentials = found
            context.identity = b""
            if ready:
                context.own = len(self._contexts) < OWN_MAX
                context.settings = self._settings_of(plan, found, context.own)
                context.identity = (<Credential>found[0]).identity
            self._contexts[digest] = context
        return context

    cdef ServerSettings _settings_of(self, dict plan, list credentials, bint own):
        cdef Credential credential, first = credentials[0]
        cdef ServerSettings settings
        told = {**plan, "credentials": [(<Credential>each).digest for each in credentials] if own else []}
        if plan["client"] != "none":
            told["roots"] = first.roots_digest
        digest = hashlib.sha256(msgspec.msgpack.encode(told)).digest()
        settings = self._settings.get(digest)
        if settings is None:
            settings = _make_settings(plan, first)
            if own:
                for credential in credentials:
                    if SSL_CTX_use_cert_and_key(settings.ctx, credential.leaf, credential.key, credential.chain, 1) != 1:
                        ERR_clear_error()
                        raise ValueError(f"credential {credential.name}: OpenSSL does not take the certificate")
            self._settings[digest] = settings
        return settings


cdef ServerSettings _make_settings(dict plan, Credential credential):
    cdef ServerSettings settings = ServerSettings.__new__(ServerSettings)
    cdef SSL_CTX* ctx = SSL_CTX_new(TLS_server_method())
    cdef int mode = SSL_VERIFY_PEER
    if ctx == NULL:
        raise MemoryError
    settings.ctx = ctx
    set_versions(ctx, plan, True)
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF)          # tickets only: nothing is kept for a client
    settings.tickets = not plan["accept_unverified"]                 # a ticket would not know that nothing was verified
    SSL_CTX_set_num_tickets(ctx, 1)
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_key)
    SSL_CTX_set_tlsext_status_cb(ctx, _staple)
    if plan["alpn"]:
        settings.alpn = b"".join([bytes([len(name)]) + name.encode() for name in plan["alpn"]])
        SSL_CTX_set_alpn_select_cb(ctx, _choose_protocol, <void*>settings)
    if plan["client"] != "none":
        settings.verifier = _verifier(plan, credential)
        if plan["client"] == "required" and not plan["accept_unverified"]:
            mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT
        SSL_CTX_set_verify(ctx, mode, NULL)
        SSL_CTX_set_cert_verify_callback(ctx, verify_peer, <void*>settings.verifier)
        if not plan["mesh"]:
            SSL_CTX_set_client_CA_list(ctx, credential.names())
    return settings
