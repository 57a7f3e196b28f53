"""x-forwarded-client-cert: what the application hears of the client's certificate, and that it hears of it from us alone.

A gateway replaces what came with the client's own (Envoy: SANITIZE_SET), the side of the application appends to what its peers in the
mesh say (APPEND_FORWARD); whoever comes without a certificate that was checked is believed nothing.
"""
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.wire.h1_write cimport HeadOut

cdef void add_client_cert(Transit t, HeadOut* out)        # to a request on its way; the field that came was left out
