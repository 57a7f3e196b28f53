"""See names.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from fastmesh.core.net.tls.openssl cimport (
    ASN1_STRING, ASN1_STRING_get0_data, ASN1_STRING_length, ERR_clear_error, GENERAL_NAME, GENERAL_NAMES, GENERAL_NAMES_free,
    GENERAL_NAME_get0_value, GEN_DNS, GEN_EMAIL, GEN_IPADD, GEN_URI, NID_subject_alt_name, X509,
    X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, X509_check_host, X509_check_ip_asc,
    X509_get_ext_d2i, sk_GENERAL_NAME_num, sk_GENERAL_NAME_value,
)

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char* text, void* out)
    int AF_INET, AF_INET6

cdef bytes DOMAIN = b"abcdefghijklmnopqrstuvwxyz0123456789.-_"
cdef bytes PATH = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_"
cdef enum:
    SPIFFE_MAX = 2048         # bytes of an ID, SPIFFE-ID section 2.3


cdef list names_of(X509* certificate):
    cdef GENERAL_NAMES* names = <GENERAL_NAMES*>X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL)
    cdef GENERAL_NAME* name
    cdef ASN1_STRING* text
    cdef bytes value
    cdef list found = []
    cdef int i, kind = 0
    if names == NULL:
        ERR_clear_error()
        return found
    for i in range(sk_GENERAL_NAME_num(names)):
        name = sk_GENERAL_NAME_value(names, i)
        text = <ASN1_STRING*>GENERAL_NAME_get0_value(name, &kind)
        value = b""
        if kind == GEN_DNS or kind == GEN_URI or kind == GEN_EMAIL or kind == GEN_IPADD:
            value = PyBytes_FromStringAndSize(<const char*>ASN1_STRING_get0_data(text), ASN1_STRING_length(text))
            if kind != GEN_IPADD and b"\0" in value:
                found = None
                break
        found.append((kind, value))
    GENERAL_NAMES_free(names)
    return found


cdef bytes uri_of(X509* certificate):
    cdef list names = names_of(certificate)
    if names is None:
        return b""
    uris = [value for kind, value in names if kind == GEN_URI]
    return uris[0] if len(uris) == 1 else b""


cdef bint is_address(bytes name):
    cdef char[16] raw
    return inet_pton(AF_INET, name, raw) == 1 or inet_pton(AF_INET6, name, raw) == 1


cdef bytes trust_domain_of(bytes uri):
    cdef bytes domain, path
    if not uri.startswith(b"spiffe://") or len(uri) > SPIFFE_MAX:
        return b""
    domain, _, path = uri[9:].partition(b"/")
    if not domain or domain.strip(DOMAIN) or not path:
        return b""
    for segment in path.split(b"/"):
        if not segment or segment in (b".", b"..") or not _made_of(segment, PATH):
            return b""
    return domain if _made_of(domain, DOMAIN) else b""


cdef bint _made_of(bytes text, bytes letters):
    return not text.translate(None, letters)


cdef bint names_fit(X509* certificate, list names, list wanted):
    cdef unsigned int flags = X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT
    cdef bytes want
    for want in wanted:
        if is_address(want):
            if X509_check_ip_asc(certificate, PyBytes_AS_STRING(want), 0) == 1:
                return True
            continue
        for kind, value in names:
            if kind == GEN_DNS and value.lower() == want.lower() or kind in (GEN_URI, GEN_EMAIL) and value == want:
                return True
        # OpenSSL takes a name that begins with a dot for all names below it
        if want and b":" not in want and b"@" not in want and want[0] not in b".*" \
                and X509_check_host(certificate, PyBytes_AS_STRING(want), PyBytes_GET_SIZE(want), flags, NULL) == 1:
            return True
    return False
