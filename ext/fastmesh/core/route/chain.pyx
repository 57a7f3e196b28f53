"""See chain.pxd."""
from fastmesh.core.base.rng cimport Rng
from fastmesh.core.route.rule cimport Destination, choose_destination, make_destination

cdef enum:
    FIT_EXACT = 1 << 20

cdef dict TRANSPORTS = {"any": TRANSPORT_ANY, "plaintext": TRANSPORT_PLAINTEXT, "tls": TRANSPORT_TLS}


cdef class Chain:
    cdef int fit(self, bytes name):
        cdef bytes suffix
        if name in self.names:
            return FIT_EXACT
        for suffix in self.suffixes:
            if name.endswith(suffix):
                return 1 + len(suffix)
        return 1 if self.any_name else 0

    cdef Destination choose(self, Rng* rng):
        return choose_destination(self.destinations, self.weights, rng)


cdef Chain make_chain(dict plan, dict clusters, dict shared, object context):
    cdef Chain chain = Chain.__new__(Chain)
    cdef Destination destination
    chain.name = plan["name"]
    chain.transport = TRANSPORTS[plan["transport"]]
    chain.mesh_alpn = plan["mesh_alpn"]
    chain.tcp = plan["kind"] == "tcp"
    chain.context = context
    chain.mesh = plan["tls"] is not None and plan["tls"]["mesh"]
    names = [name.encode() for name in plan["server_names"]]
    chain.any_name = not names or b"*" in names
    chain.names = {name for name in names if not name.startswith(b"*")}
    chain.suffixes = sorted((name[1:] for name in names if name.startswith(b"*.")), key=len, reverse=True)
    chain.destinations = [make_destination(item, clusters, shared) for item in plan["destinations"]]
    for destination in chain.destinations:
        chain.weights += destination.weight
    return chain


cdef Chain find_chain(list chains, bint tls, bint mesh_alpn, bytes name):
    """The better fit of the server name wins, then the chain that asks for more, then the first."""
    cdef Chain chain, best = None
    cdef int fit, best_fit = 0
    for chain in chains:
        if chain.transport == (TRANSPORT_PLAINTEXT if tls else TRANSPORT_TLS) or chain.mesh_alpn and not mesh_alpn:
            continue
        if not tls and chain.context is not None:
            continue
        fit = 2 * chain.fit(name) if tls else 1
        if fit and chain.mesh_alpn:
            fit += 1
        if fit > best_fit:
            best, best_fit = chain, fit
    return best
