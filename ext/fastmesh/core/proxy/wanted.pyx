"""See wanted.pxd."""
import ipaddress

from cpython.bytes cimport PyBytes_FromStringAndSize
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.counters cimport CL_NONE_HEALTHY
from fastmesh.core.proxy.outside cimport Answer, Outside, make_reached, plain_endpoint
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.route.late cimport Late
from fastmesh.core.wire.message cimport span_ptr


cdef bint go_wanted(Transit t):
    cdef Late late = t.destination.late
    cdef Outside outside = t.engine.outside
    cdef Cluster whole = late.open()
    cdef Answer answer
    cdef bint said = t.client.aim is None
    cdef bytes key = _host(t) if said else t.local_text
    cdef int port = t.head.port or late.port if said else 0
    answer = late.answers.get((key, port))
    if answer is None:
        address, number = named_address(t) if said else _split(t.local_text)
        if address and not (said and outside._is_own(ipaddress.ip_address(address), number)):
            answer = outside.remember(late, key, port)
    if answer is None:
        if whole.rows == NULL:
            whole.attach(t.engine.arena, t.engine.slot)
        t.cluster = whole
        fm_bump(&whole.row[CL_NONE_HEALTHY], 1)
        return False
    if answer.cluster is None:
        answer.cluster = _reached(t, late, whole, address, number)
    t.cluster = answer.cluster
    return True


cdef Cluster _reached(Transit t, Late late, Cluster whole, str address, int port):
    cdef Endpoint endpoint
    cdef dict plan = plain_endpoint(address, port)
    cdef Endpoint known = endpoint_at(whole, b"%s:%d" % (_bracketed(address), port))
    if known is not None:
        plan["workload"], plan["locality"], plan["mesh_tls"] = known.workload, known.locality, known.mesh_tls
    else:
        plan["mesh_tls"] = all_speak_mesh(whole)
    return make_reached(t.engine, late, [plan], known is None)


cdef bytes _bracketed(str address):
    return (f"[{address}]" if ":" in address else address).encode()


cdef tuple _split(bytes text):
    host, _, port = text.rpartition(b":")
    return host.strip(b"[]").decode(), int(port)


cdef bytes _host(Transit t):
    return PyBytes_FromStringAndSize(span_ptr(&t.head, t.head.host), t.head.host.len)


cdef tuple named_address(Transit t):
    cdef Late late = t.destination.late
    cdef Cluster whole = late.open()
    cdef Endpoint endpoint
    try:
        address = str(ipaddress.ip_address(_host(t).decode("ascii").strip("[]")))
    except ValueError:
        return "", 0
    if address in whole.addresses or any([endpoint.address == address for endpoint in whole.endpoints]):
        return address, t.head.port or late.port
    return "", 0


cdef Endpoint endpoint_at(Cluster cluster, bytes text):
    cdef Endpoint endpoint
    for endpoint in cluster.endpoints:
        if endpoint.text == text:
            return endpoint
    return None


cdef bint all_speak_mesh(Cluster cluster):
    cdef Endpoint endpoint
    return bool(cluster.endpoints) and all([endpoint.mesh_tls for endpoint in cluster.endpoints])
