"""Which chain takes a connection, and where its bytes would go: asked of the compiled snapshot's own tables. Nothing is opened."""
import ipaddress

from fastmesh.core.route.chain cimport Chain, ChainTable
from fastmesh.core.route.cluster cimport CLUSTER_PASSTHROUGH, Cluster
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.route.rule cimport Destination
from fastmesh.core.route.snapshot cimport Listener, Snapshot


def explain_connection(items, str name, str address, int port, sni) -> dict:
    """The fate of a connection on the listener `name` of a plan (the items of `config.plan.iterate`).

    `address` and `port`: what the client wanted to reach, where the listener can know it; "" = it cannot. `sni`: the server name of
    its TLS, "" = none was said, None = it is not TLS. Keys: chain ("" = none), kind, shares (cluster -> share), endpoints, missing, and
    where there is a way to go `tunnel`: the request that asks for one, "" = none does.
    """
    cdef Snapshot snapshot = Snapshot(items)
    cdef Listener listener
    cdef ChainTable table = None
    cdef Chain chain = None
    snapshot.step(0)
    listener = snapshot.listeners[name]
    if address and listener.places is not None:
        told = ipaddress.ip_address(address)
        table = listener.places.find(told.packed if told.version == 6 else bytes(10) + b"\xff\xff" + told.packed, port)
    if table is None:
        table = listener.chains
    if table is None:
        return {"chain": "http", "kind": "http", "shares": {}, "endpoints": [], "missing": []}
    if sni is None or not table.listens:
        chain = table.plain
    else:
        chain = table.find(sni.encode(), False)
    if chain is None:
        return {"chain": "", "kind": "", "shares": {}, "endpoints": [], "missing": []}
    return _told(chain, f"[{address}]:{port}" if ":" in address else f"{address}:{port}" if address else "")


cdef dict _told(Chain chain, str wanted):
    cdef Destination each, heaviest = None
    cdef Cluster cluster
    cdef Endpoint endpoint
    shares, missing, tunnel = {}, [], ""
    for each in chain.destinations:
        name = each.cluster_name.decode()
        shares[name] = each.weight / chain.weights
        if each.late is None:
            missing.append(name)
        if heaviest is None or each.weight > heaviest.weight:
            heaviest = each
    endpoints = []
    if heaviest is not None and heaviest.late is not None:
        cluster = heaviest.open()
        endpoints = [(<Endpoint>endpoint).text.decode() for endpoint in cluster.endpoints]
        tunnel = (cluster.tunnel or b"").partition(b"\r\n\r\n")[0].decode()
        if cluster.kind == CLUSTER_PASSTHROUGH:
            endpoints = [wanted] if wanted else []        # the client's choice
    return {"chain": chain.name, "kind": "tcp" if chain.tcp else "http", "shares": shares, "endpoints": endpoints, "missing": missing,
            "tunnel": tunnel}
