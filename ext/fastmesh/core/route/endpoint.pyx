"""See endpoint.pxd."""
import socket

from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memcpy, memset

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char* text, void* out)
    uint16_t htons(uint16_t value)
    int AF_INET, AF_INET6, AF_UNIX

cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        uint32_t s_addr
    struct in6_addr:
        pass
    struct sockaddr_in:
        uint16_t sin_family
        uint16_t sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        uint16_t sin6_family
        uint16_t sin6_port
        in6_addr sin6_addr

cdef extern from "<sys/un.h>" nogil:
    struct sockaddr_un:
        uint16_t sun_family
        char* sun_path


cdef class Endpoint:
    pass


cdef int _set_address(Endpoint endpoint) except -1:
    cdef sockaddr_in* v4 = <sockaddr_in*>&endpoint.where
    cdef sockaddr_in6* v6 = <sockaddr_in6*>&endpoint.where
    cdef bytes raw = endpoint.address.encode()
    memset(&endpoint.where, 0, sizeof(endpoint.where))
    if raw.startswith(b"unix://"):
        path = raw[7:]
        if path.startswith(b"@"):
            path = b"\0" + path[1:]
        if len(path) > 107:
            raise ValueError(f"unix socket path too long: {endpoint.address}")
        endpoint.where.ss_family = AF_UNIX
        memcpy(<char*>&endpoint.where + 2, <char*>path, len(path))
        endpoint.where_size = 2 + len(path) + (0 if path.startswith(b"\0") else 1)
        endpoint.text = raw
    elif inet_pton(AF_INET, raw, &v4.sin_addr) == 1:
        v4.sin_family = AF_INET
        v4.sin_port = htons(endpoint.port)
        endpoint.where_size = sizeof(sockaddr_in)
        endpoint.text = b"%s:%d" % (raw, endpoint.port)
    elif inet_pton(AF_INET6, raw, &v6.sin6_addr) == 1:
        v6.sin6_family = AF_INET6
        v6.sin6_port = htons(endpoint.port)
        endpoint.where_size = sizeof(sockaddr_in6)
        endpoint.text = b"[%s]:%d" % (raw, endpoint.port)
    else:
        raise ValueError(f"not an IP address or unix:// path: {endpoint.address}")
    return 0


cdef Endpoint make_endpoint(dict plan):
    cdef Endpoint endpoint = Endpoint.__new__(Endpoint)
    endpoint.address = plan["address"]
    endpoint.port = plan["port"]
    endpoint.weight = max(1, plan["weight"])
    endpoint.workload = plan["workload"]
    endpoint.locality = plan["locality"]
    endpoint.priority = plan["priority"]
    endpoint.mesh_tls = plan["mesh_tls"]
    _set_address(endpoint)
    return endpoint


cdef Endpoint make_address(str address, int port):
    return make_endpoint({"address": address, "port": port, "weight": 1, "workload": 0, "locality": "", "mesh_tls": False, "priority": 0})
