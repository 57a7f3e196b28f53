"""See client.pxd."""
import hashlib
from weakref import WeakValueDictionary

import msgspec
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from fastmesh.core.base.clock cimport now_ms
from fastmesh.core.net.tls.openssl cimport (
    ERR_clear_error, SSL, SSL_CTX_free, SSL_CTX_new, SSL_CTX_sess_set_new_cb, SSL_CTX_set_alpn_protos,
    SSL_CTX_set_cert_verify_callback, SSL_CTX_set_session_cache_mode, SSL_CTX_set_verify, SSL_CTX_use_cert_and_key,
    SSL_SESSION, SSL_SESSION_free, SSL_SESSION_is_resumable, SSL_SESS_CACHE_CLIENT, SSL_SESS_CACHE_NO_INTERNAL,
    SSL_VERIFY_PEER, SSL_new, SSL_set_alpn_protos, SSL_set_connect_state, SSL_set_session, SSL_set_tlsext_host_name, TLS_client_method,
)
from fastmesh.core.net.tls.session cimport Tls, make_tls, tls_of
from fastmesh.core.net.tls.material cimport Credential, system_roots
from fastmesh.core.net.tls.names cimport is_address
from fastmesh.core.net.tls.server cimport set_versions
from fastmesh.core.net.tls.verify cimport Verifier, verify_peer

cdef enum:
    SESSIONS_MAX = 1024       # kept by one context


cdef class Session:
    def __dealloc__(self):
        SSL_SESSION_free(self.session)


cdef class Kin:
    pass


cdef int _keep_session(SSL* ssl, SSL_SESSION* session) noexcept:
    """A ticket has come: the last one is used for the next connection. 1: the reference is ours."""
    cdef Tls tls = tls_of(ssl)
    cdef ClientContext context = <ClientContext>tls.context
    cdef Session kept = Session.__new__(Session)
    if tls.place not in context.sessions and len(context.sessions) >= SESSIONS_MAX:
        context.sessions.clear()
    context.sessions[tls.place] = kept
    kept.session = session                # last: until here OpenSSL frees it
    return 1


cdef class ClientContext:
    def __dealloc__(self):
        SSL_CTX_free(self.ctx)

    cdef Tls open(self, bytes endpoint, bytes name, bint http2):
        cdef SSL* ssl
        cdef Tls tls
        cdef Session kept
        cdef bytes alpn = self.alpn_h2 if http2 else self.alpn_h1
        if self.ctx == NULL:
            tls = Tls.__new__(Tls)        # its handshake fails
            tls.context, tls.sni = self, name
            return tls
        ssl = SSL_new(self.ctx)
        tls = make_tls(ssl, self, name)
        if tls is None:
            return None
        SSL_set_connect_state(ssl)
        if name and not is_address(name):
            SSL_set_tlsext_host_name(ssl, PyBytes_AS_STRING(name))
        if alpn is not None:
            SSL_set_alpn_protos(ssl, <const unsigned char*>PyBytes_AS_STRING(alpn), <unsigned int>PyBytes_GET_SIZE(alpn))
        tls.place = endpoint + b"\0" + name
        kept = self.sessions.pop(tls.place, None)                    # used once: RFC 8446 appendix C.4
        if kept is not None and kept.session != NULL and SSL_SESSION_is_resumable(kept.session):
            SSL_set_session(ssl, kept.session)
        return tls


    cdef bint lasts(self, ClientContext newer, uint64_t born, uint64_t most) noexcept:
        cdef uint64_t now, least = most // 3
        if newer is None or self.kin is None or self.kin is not newer.kin or most == 0:
            return False
        now = now_ms()
        if self.renewed_at == 0:
            self.renewed_at = now
        # Connections that were opened together part, too: 2654435761 is Knuth's multiplier (TAOCP 6.4)
        return now < self.renewed_at + least + ((born * <uint64_t>2654435761) >> 8) % (most - least)


cdef Verifier _verifier(dict plan, Credential credential):
    cdef Verifier verifier = Verifier.__new__(Verifier)
    verifier.mesh = plan["mesh"]
    verifier.roots = credential.roots if credential is not None else system_roots()
    verifier.bundles = credential.bundles if credential is not None else {}
    verifier.domains = {domain.encode() for domain in plan["trust_domains"]}
    verifier.sans = [name.encode() for name in plan["sans"]]
    verifier.by_name = not verifier.mesh and not verifier.sans
    verifier.hashes, verifier.spkis = set(), set()
    return verifier


cdef class ClientContexts:
    def __cinit__(self):
        self._contexts = WeakValueDictionary()
        self._kins = WeakValueDictionary()

    cdef ClientContext make(self, dict plan, dict credentials):
        cdef ClientContext context
        cdef Credential credential = credentials.get(plan["credential"])
        told = [plan, credential.digest if credential is not None else b""]
        digest = hashlib.sha256(msgspec.msgpack.encode(told)).digest()
        context = self._contexts.get(digest)
        if context is not None:
            context.renewed_at = 0        # an old certificate may come back
        else:
            context = ClientContext.__new__(ClientContext)
            context.name = plan["sni"].encode()
            context.identity = b""
            context.sessions = {}
            if credential is not None or not plan["credential"]:
                _fill(context, plan, credential)
            if context.identity.startswith(b"spiffe://") and plan["verify"]:
                context.kin = self._kin_of([plan, credential.roots_digest, context.identity])
            self._contexts[digest] = context
        return context

    cdef Kin _kin_of(self, list told):
        digest = hashlib.sha256(msgspec.msgpack.encode(told)).digest()
        kin = self._kins.get(digest)
        if kin is None:
            kin = self._kins[digest] = Kin()
        return kin


cdef bytes _listed(list names):
    return b"".join([bytes([len(name)]) + name.encode() for name in names])


cdef _fill(ClientContext context, dict plan, Credential credential):
    context.ctx = SSL_CTX_new(TLS_client_method())
    if context.ctx == NULL:
        raise MemoryError
    set_versions(context.ctx, plan, False)
    SSL_CTX_set_session_cache_mode(context.ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL)
    SSL_CTX_sess_set_new_cb(context.ctx, _keep_session)
    own = [name for name in plan["alpn"] if not name.endswith("h2")]
    other = [name for name in plan["alpn"] if "http/" not in name]
    if plan["alpn"]:
        context.alpn = _listed(plan["alpn"])
        if _listed(other) != context.alpn and _listed(own) != context.alpn:
            context.alpn_h1, context.alpn_h2 = _listed(own), _listed(other)     # the version is the request's: "client"
        SSL_CTX_set_alpn_protos(context.ctx, <const unsigned char*>PyBytes_AS_STRING(context.alpn),
                                <unsigned int>PyBytes_GET_SIZE(context.alpn))
    if credential is not None and credential.leaf != NULL:
        context.credential = credential
        context.identity = credential.identity
        if SSL_CTX_use_cert_and_key(context.ctx, credential.leaf, credential.key, credential.chain, 1) != 1:
            ERR_clear_error()
            raise ValueError(f"credential {credential.name}: OpenSSL does not take the certificate")
    if plan["verify"]:
        context.verifier = _verifier(plan, credential)
        SSL_CTX_set_verify(context.ctx, SSL_VERIFY_PEER, NULL)
        SSL_CTX_set_cert_verify_callback(context.ctx, verify_peer, <void*>context.verifier)
