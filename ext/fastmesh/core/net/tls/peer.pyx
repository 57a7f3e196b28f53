"""See peer.pxd. The form of x-forwarded-client-cert is Envoy's: keys, their order and what is quoted."""
from cpython.bytes cimport PyBytes_FromStringAndSize
from fastmesh.core.net.tls.openssl cimport (
    BIO, BIO_free, BIO_get_mem_data, BIO_new, BIO_s_mem, EVP_sha256, GEN_DNS, GEN_URI, PEM_write_bio_X509,
    SSL_get0_peer_certificate, X509, X509_NAME, X509_NAME_print_ex, X509_digest, X509_get0_serialNumber, X509_get_issuer_name,
    X509_get_subject_name, XN_FLAG_RFC2253, i2a_ASN1_INTEGER,
)
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.net.tls.client cimport ClientContext
from fastmesh.core.net.tls.names cimport names_of
from fastmesh.core.net.tls.server cimport ServerContext

cdef bytes PLAIN = bytes(c for c in range(33, 127) if c not in b'",;%')     # in a header element as it is


cdef Peer peer_of(Tls tls):
    if tls is None or not tls.shaken or not tls.verified:
        return None
    if tls.peer is None:
        tls.peer = _make_peer(SSL_get0_peer_certificate(tls.ssl), tls.context)
    return <Peer>tls.peer if tls.peer is not False else None


cdef object _make_peer(X509* leaf, object context):
    """False: no certificate."""
    cdef Peer peer
    cdef list names
    cdef bytes own
    if leaf == NULL:
        return False
    peer = Peer.__new__(Peer)
    peer.label = -1
    peer.hash = _digest(leaf)
    peer.subject = _printed(leaf, False)
    peer.issuer = _name(X509_get_issuer_name(leaf))
    peer.serial = _serial(leaf)
    names = names_of(leaf) or []
    peer.uris = [_plain(value) for kind, value in names if kind == GEN_URI]
    peer.dns = [_plain(value) for kind, value in names if kind == GEN_DNS]
    peer.principal = peer.uris[0] if peer.uris and peer.uris[0].startswith(b"spiffe://") else b""
    own = (<ServerContext>context).identity if isinstance(context, ServerContext) else (<ClientContext>context).identity
    begin = [b"By=" + own] if own else []
    begin.append(b"Hash=" + peer.hash)
    end = [b'Subject="' + peer.subject + b'"', b"URI=" + (peer.uris[0] if peer.uris else b"")]
    end += [b"DNS=" + name for name in peer.dns]
    peer.forwarded = b";".join(begin + end)
    peer.forwarded_whole = b";".join([*begin, b'Cert="' + _encoded(_printed(leaf, True)) + b'"', *end])
    return peer


cdef bytes _digest(X509* leaf):
    cdef unsigned char[32] digest
    if X509_digest(leaf, EVP_sha256(), digest, NULL) != 1:
        return b""
    return PyBytes_FromStringAndSize(<char*>digest, 32).hex().encode()


cdef bytes _printed(X509* leaf, bint whole):
    """The certificate as PEM, or its subject."""
    cdef BIO* bio = BIO_new(BIO_s_mem())
    if whole:
        PEM_write_bio_X509(bio, leaf)
    else:
        X509_NAME_print_ex(bio, X509_get_subject_name(leaf), 0, XN_FLAG_RFC2253)
    return _taken(bio)


cdef bytes _name(X509_NAME* name):
    cdef BIO* bio = BIO_new(BIO_s_mem())
    X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253)
    return _taken(bio)


cdef bytes _serial(X509* leaf):
    cdef BIO* bio = BIO_new(BIO_s_mem())
    i2a_ASN1_INTEGER(bio, X509_get0_serialNumber(leaf))
    return _taken(bio).lower()


cdef bytes _taken(BIO* bio):
    cdef char* data = NULL
    cdef long size = BIO_get_mem_data(bio, &data)
    text = PyBytes_FromStringAndSize(data, size)
    BIO_free(bio)
    return text


cdef bytes _encoded(bytes pem):
    for char, code in ((b"\n", b"%0A"), (b" ", b"%20"), (b"+", b"%2B"), (b"/", b"%2F"), (b"=", b"%3D")):
        pem = pem.replace(char, code)
    return pem


cdef bytes _plain(bytes name):
    """A name may be any text that its authority signed: what is no plain character is encoded, so that it ends no element."""
    if not name.translate(None, PLAIN):
        return name
    return b"".join([bytes([c]) if c in PLAIN else b"%%%02X" % c for c in name])
