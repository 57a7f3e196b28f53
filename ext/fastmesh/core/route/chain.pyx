"""See chain.pxd."""
import hashlib
import ipaddress

import msgspec
from libc.stdint cimport int64_t, uint64_t
from fastmesh.core.base.rng cimport Rng
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.rule cimport Destination, choose_destination, make_destination

cdef uint64_t tables = 0
cdef tuple DEMANDS = ("client", "mesh", "accept_unverified", "sans", "hashes", "spkis")    # not who signs: roots are renewed
cdef dict TRANSPORTS = {"any": TRANSPORT_ANY, "plaintext": TRANSPORT_PLAINTEXT, "tls": TRANSPORT_TLS}


cdef class Chain:
    cdef Destination choose(self, Rng* rng):
        return choose_destination(self.destinations, self.weights, rng)

    cdef int64_t idle(self):
        cdef Cluster cluster = (<Destination>self.destinations[0]).open()
        return -1 if cluster is None else cluster.tcp_idle


cdef Chain make_chain(dict plan, dict clusters, dict shared, object context):
    cdef Chain chain = Chain.__new__(Chain)
    cdef Destination destination
    chain.name = plan["name"]
    chain.transport = TRANSPORTS[plan["transport"]]
    chain.mesh_alpn = plan["mesh_alpn"]
    chain.tcp = plan["kind"] == "tcp"
    chain.context = context
    chain.ends_tls = plan["tls"] is not None
    chain.mesh = chain.ends_tls and plan["tls"]["mesh"]
    chain.terms = chain.demands = b""
    chain.shared = plan["shared"]
    if chain.ends_tls:
        chain.terms = _digest(plan["tls"])
        if plan["tls"]["client"] != "none":
            chain.demands = _digest([plan["tls"][name] for name in DEMANDS])
    names = [name.encode() for name in plan["server_names"]]
    chain.any_name = not names or b"*" in names
    chain.names = [name for name in names if not name.startswith(b"*")]
    chain.suffixes = [name[1:] for name in names if name.startswith(b"*.")]
    chain.destinations = [make_destination(item, clusters, shared) for item in plan["destinations"]]
    for destination in chain.destinations:
        chain.weights += destination.weight
    return chain


cdef bytes _digest(object told):
    return hashlib.sha256(msgspec.msgpack.encode(told)).digest()


cdef ChainTable make_chain_table():
    global tables
    cdef ChainTable table = ChainTable.__new__(ChainTable)
    tables += 1
    table.number = tables
    table.chains, table.any_name = [], []
    table.exact, table.suffixes = {}, {}
    return table


cdef class ChainTable:
    cdef void add(self, Chain chain):
        self.chains.append(chain)
        chain.table = self.number
        if chain.transport != TRANSPORT_PLAINTEXT:
            for name in chain.names:
                self.exact.setdefault(name, []).append(chain)
            for name in chain.suffixes:
                self.suffixes.setdefault(name, []).append(chain)
            if chain.any_name:
                self.any_name.append(chain)
        if chain.transport != TRANSPORT_TLS and not chain.ends_tls and self.plain is None:
            self.plain = chain
        self.tls_chains += chain.ends_tls or chain.transport == TRANSPORT_TLS
        self.by_name = self.tls_chains > 1 and bool(self.exact or self.suffixes)
        self.listens = chain.transport != TRANSPORT_ANY or chain.ends_tls or len(self.chains) > 1
        if len(self.chains) == 2 and _all_alike(self.chains[0], self.chains[1]):
            self.listens = False          # whatever comes first: the endpoint may be the one that speaks first

    cdef Chain find(self, bytes name, bint mesh_alpn):
        cdef Chain found
        cdef list fitting = self.exact.get(name)
        cdef Py_ssize_t at = -1
        while True:
            if fitting is not None:
                found = _first(fitting, mesh_alpn)
                if found is not None:
                    return found
            at = name.find(b".", at + 1 if at >= 0 else 1)      # a suffix stands for a label at least, as in the host table
            if at < 0:
                found = _first(self.any_name, mesh_alpn)
                return self.otherwise if found is None else found
            fitting = self.suffixes.get(name[at:])

    cdef bint stands(self, Chain taken, bytes sni):
        cdef Chain now
        if sni is None or taken is None:
            return self.plain is not None
        if taken.table == self.number:
            return True
        now = self.find(sni, taken.mesh_alpn)
        return now is not None and now.ends_tls and (not now.demands or now.demands == taken.demands)

    cdef bint astray(self, Chain taken, bytes sni, bytes host):
        cdef Chain own, found
        own, found = self.find(sni, taken.mesh_alpn), self.find(host, taken.mesh_alpn)
        if found is None or found is own:
            return False
        return not (own.shared and found.shared and own.terms == found.terms)


cdef bint _all_alike(Chain one, Chain other):
    """TLS is passed on as plaintext is, to the same place."""
    if not one.tcp or not other.tcp or one.ends_tls or other.ends_tls or one.mesh_alpn or other.mesh_alpn:
        return False
    if {one.transport, other.transport} != {TRANSPORT_TLS, TRANSPORT_PLAINTEXT} or not one.any_name or not other.any_name:
        return False
    return _places(one) == _places(other)


cdef list _places(Chain chain):
    cdef Destination destination
    return [(destination.cluster_name, destination.weight) for destination in chain.destinations]


cdef Chain _first(list chains, bint mesh_alpn):
    cdef Chain chain, best = None
    for chain in chains:
        if chain.mesh_alpn and mesh_alpn:
            return chain
        if best is None and not chain.mesh_alpn:
            best = chain
    return best


cdef PlaceTable make_place_table():
    cdef PlaceTable table = PlaceTable.__new__(PlaceTable)
    table.ports, table.tables = {}, []
    return table


cdef class PlaceTable:
    cdef void add(self, int port, str block, Chain chain):
        cdef ChainTable table
        cdef list ranges = self.ports.setdefault(port, [])
        network = ipaddress.ip_network(block, strict=False) if block else ipaddress.ip_network("::/0")
        spare = 128 - network.prefixlen - (96 if network.version == 4 else 0)
        kept = int.from_bytes(_sixteen(network.network_address)) >> spare
        found = next((known for bits, known in ranges if bits == spare), None)
        if found is None:
            found = {}
            ranges.append((spare, found))
            ranges.sort(key=lambda each: each[0])
        table = found.get(kept)
        if table is None:
            table = found[kept] = make_chain_table()
            self.tables.append(table)
        table.add(chain)
        if port == 0 and spare == 128:
            for each in self.tables:          # the last one: what fits none of theirs is its, as Envoy's default filter chain
                table = <ChainTable>each
                table.otherwise = chain
                if table.plain is None:
                    table.plain = chain

    cdef ChainTable find(self, bytes address, int port):
        whole = int.from_bytes(address)
        for ranges in (self.ports.get(port), self.ports.get(0)):
            if ranges is not None:
                for bits, known in ranges:
                    found = known.get(whole >> bits)
                    if found is not None:
                        return <ChainTable>found
        return None


cdef bytes _sixteen(address):
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed
