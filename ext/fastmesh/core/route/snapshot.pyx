"""See snapshot.pxd."""
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.clock cimport now_ns
from fastmesh.core.route.cluster cimport Cluster, make_cluster
from fastmesh.core.route.host_table cimport HostTable, make_host_table
from fastmesh.core.route.limit cimport Limit, make_limit
from fastmesh.core.route.rule cimport VirtualHost, make_virtual_host
from fastmesh.core.wire.path cimport PATH_BASE, PATH_DECODE_AND_MERGE_SLASHES, PATH_MERGE_SLASHES, PATH_NONE

cdef dict UNKNOWN = {"404": UNKNOWN_404, "passthrough": UNKNOWN_PASSTHROUGH, "blackhole": UNKNOWN_BLACKHOLE}
cdef dict NORMALIZATION = {"NONE": PATH_NONE, "BASE": PATH_BASE, "MERGE_SLASHES": PATH_MERGE_SLASHES,
                           "DECODE_AND_MERGE_SLASHES": PATH_DECODE_AND_MERGE_SLASHES}


cdef class Listener:
    cdef VirtualHost find(self, const char* host, size_t size, uint32_t port, bint strict):
        """The virtual host for a name (lower case) and the port that the client meant.

        `strict`: the port was said, so only that port will do; else 80, then the host's own choice.
        """
        cdef VirtualHost vhost
        if self.gateway:
            return self.hosts.find(host, size, 0)
        vhost = self.hosts.find(host, size, port if strict else 80)
        if vhost is None and not strict:
            vhost = self.hosts.find(host, size, 0)
        elif vhost is None and self.has_any:
            vhost = self.hosts.find("", 0, 0)
        return vhost


cdef class Snapshot:
    """Built in slices: `Snapshot(items)`, then `step(budget)` until it answers True."""

    def __init__(self, items):
        self._items = iter(items)
        self.workloads = []
        self.clusters = {}
        self.listeners = {}
        self.vhosts = []
        self.limits = []
        self._shared = {}

    def step(self, uint64_t budget_us=0) -> bool:
        """Take over items for about `budget_us` microseconds (0 = all); True when the snapshot is complete."""
        cdef uint64_t until = now_ns() + budget_us * 1000
        for kind, body in self._items:
            self._take(kind, body)
            if budget_us and now_ns() >= until:
                return False
        if self.mesh is None:
            raise ValueError("the plan has no mesh item")
        self.mesh_limits = [self.limits[index] for index in self.mesh["namespace_limits"]] or None
        self.built = True
        self._shared = None
        return True

    cdef _take(self, str kind, dict body):
        cdef Cluster cluster
        if kind == "cluster":
            cluster = make_cluster(body)
            self.clusters[body["name"]] = cluster
        elif kind == "vhost":
            self.vhosts.append(make_virtual_host(body, self.clusters, self.limits, self._shared))
        elif kind == "limit":
            self.limits.append(make_limit(body))
        elif kind == "workload":
            self.workloads.append(body)
        elif kind == "listener":
            self.listeners[body["name"]] = self._listener(body)
        elif kind == "mesh":
            self.mesh = body
            self.version = body["version"]
            self.normalization = NORMALIZATION[body["path_normalization"]]
            self.server_name = body["server_name"].encode()
            self.http10 = body["http10"]
            self.source = body["workload"]
        else:
            raise ValueError(f"unknown plan item {kind}")

    cdef Listener _listener(self, dict plan):
        cdef Listener listener = Listener.__new__(Listener)
        listener.name = plan["name"]
        listener.gateway = plan["role"] == "gateway"
        listener.port = plan["port"]
        listener.address = plan["address"]
        listener.unknown = UNKNOWN[plan["unknown"]]
        listener.origins = plan["origins"]
        domains = [(domain["domain"], domain["port"], self.vhosts[domain["vhost"]]) for domain in plan["domains"]]
        listener.hosts = make_host_table(domains)
        listener.has_any = any(name == "*" and port == 0 for name, port, _ in domains)
        if plan["https_redirect"]:
            listener.https_redirect = _https_table(plan["https_redirect"], [name for name, _, _ in domains])
        return listener


cdef HostTable _https_table(list moving, list names):
    """Which hosts move to https: the most specific domain decides, also when it is one that stays."""
    cdef VirtualHost moves = VirtualHost.__new__(VirtualHost)
    cdef VirtualHost stays = VirtualHost.__new__(VirtualHost)
    moves.redirects = True
    return make_host_table([(name, 0, moves) for name in moving] + [(name, 0, stays) for name in names])
