"""See snapshot.pxd."""
from libc.stdint cimport uint32_t, uint64_t
from msgspec.msgpack import decode
from fastmesh.core.base.arena cimport Arena
from fastmesh.core.base.clock cimport now_ns
from fastmesh.core.route.chain cimport make_chain, make_chain_table, make_place_table
from fastmesh.core.route.cluster cimport EXTRA_WORTH, Cluster
from fastmesh.core.route.filter cimport attach_filters, make_filter
from fastmesh.core.route.host_table cimport make_host_table
from fastmesh.core.route.late cimport Late, make_late
from fastmesh.core.route.limit cimport Limit, make_limit
from fastmesh.core.route.rule cimport VirtualHost, make_refusals, make_virtual_host
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
        if self.by_host:
            return self.hosts.find(host, size, 0)
        vhost = self.hosts.find(host, size, port if strict else 80)
        if vhost is None and not strict:
            vhost = self.hosts.find(host, size, 0)
        elif vhost is None and self.has_any:
            vhost = self.hosts.find("", 0, 0)
        return vhost


cdef class Snapshot:
    """Built in slices: `Snapshot(items, make_tls)`, then `step(budget)` until it answers True.

    `make_tls(kind, plan, credentials, names)` makes what TLS needs: of a CredentialPlan ("credential"), or a context of a ServerTLSPlan
    ("server", for these server names) or ClientTLSPlan ("client") with the credentials by name. None (explain): nothing is made.
    `load_filter(plan)` answers the user's object for a FilterPlan; None: filters are known by their names only.
    """

    def __init__(self, items, make_tls=None, load_filter=None):
        self._items = iter(items)
        self._make_tls = make_tls
        self._load_filter = load_filter
        self.workloads = []
        self._identities = []
        self.clusters = {}
        self.checked = []
        self.listeners = {}
        self.credentials = {}
        self.vhosts = []
        self.limits = []
        self._newborn = []
        self.filters = []
        self._shared = {}
        self._moves = VirtualHost.__new__(VirtualHost)
        self._moves.redirects = True
        self._stays = VirtualHost.__new__(VirtualHost)

    def step(self, uint64_t budget_us=0) -> bool:
        """Take over items for about `budget_us` microseconds (0 = all); True when the snapshot is complete."""
        cdef uint64_t until = now_ns() + budget_us * 1000 if budget_us else 0
        if self._hashing is not None and not self._hashed(until):
            return False
        for kind, body in self._items:
            self._take(kind, body)
            if self._hashing is not None and not self._hashed(until):
                return False
            if until and now_ns() >= until:
                return False
        if self.mesh is None:
            raise ValueError("the plan has no mesh item")
        self.mesh_limits = [self.limits[index] for index in self.mesh["namespace_limits"]] or None
        self.built = True
        self._shared = self.credentials = self._make_tls = self._load_filter = None
        return True

    cdef bint _hashed(self, uint64_t until) except -1:
        """A large table takes more than one slice."""
        if not self._hashing.build(until):
            return False
        self._hashing = None
        return True

    cdef _take(self, str kind, dict body):
        cdef Late late
        if kind == "cluster":
            late = make_late(body["packed"])
            if body["tls"] is not None and self._make_tls is not None:
                late.tls = self._make_tls("client", body["tls"], self.credentials, [])
            self.clusters[body["name"]] = late
            if late.cluster is not None:
                late.cluster.tls = late.tls
                if late.cluster.health is not None:
                    self.checked.append(late.cluster)
                if late.cluster.hash is not None:
                    self._hashing = late.cluster
                if late.cluster.extras & EXTRA_WORTH:
                    self._newborn.append(late.cluster)
        elif kind == "vhost":
            self.vhosts.append(make_virtual_host(body, self.clusters, self.limits, self._shared))
            if self.filters:
                attach_filters(self.vhosts[-1], body, self.filters)
        elif kind == "limit":
            self.limits.append(make_limit(body))
        elif kind == "filter":
            self.filters.append(make_filter(body, self._load_filter))
        elif kind == "workloads":
            self._facts = body["facts"]
            self._identities.append((len(self.workloads), body["principals"]))
            self.workloads += body["packed"]
        elif kind == "listener":
            self.listeners[body["name"]] = self._listener(body)
        elif kind == "domains":
            self._take_domains(body)
        elif kind == "chains":
            self._take_chains(body)
        elif kind == "credential":
            if self._make_tls is not None:
                self.credentials[body["name"]] = self._make_tls("credential", body, None, None)
        elif kind == "mesh":
            self.mesh = body
            self.version = body["version"]
            self.normalization = NORMALIZATION[body["path_normalization"]]
            self.server_name = body["server_name"].encode()
            self.http10 = body["http10"]
            self.source = body["workload"]
            self.refusals = make_refusals(body["refusals"])
            self.retry_budgeted = body["retry_budget"] is not None
            if self.retry_budgeted:
                self.retry_share, self.retry_least = body["retry_budget"]
        else:
            raise ValueError(f"unknown plan item {kind}")

    cdef void greet(self, Snapshot before, Arena arena, int slot, uint64_t now):
        cdef Cluster cluster
        cdef Late late
        for cluster in self._newborn:
            late = before.clusters.get(cluster.name.decode()) if before is not None else None
            cluster.attach(arena, slot)
            cluster.greet(late.open() if late is not None else None, now)

    cdef Cluster cluster(self, str name):
        cdef Late late = self.clusters.get(name)
        return None if late is None else late.open()

    cdef dict workload(self, int index):
        """Its facts by name, as they are needed once for each series."""
        return dict(zip(self._facts, decode(self.workloads[index])))

    cdef dict workload_of(self, str principal):
        """The facts of a client by its identity: of several workloads that share it, what all of them have in common."""
        if self._by_principal is None:
            self._by_principal = {}
            for first, packed in self._identities:
                for name, indexes in decode(packed).items():
                    self._by_principal.setdefault(name, []).extend([first + index for index in indexes])
        found = self._by_principal.get(principal)
        if type(found) is list:
            found = self._by_principal[principal] = self._in_common(found)
        return found

    cdef dict _in_common(self, list indexes):
        cdef dict common = self.workload(indexes[0])
        cdef dict other
        for index in indexes[1:]:
            other = self.workload(index)
            common = {key: value if other[key] == value else "unknown" for key, value in common.items()}
        return common

    cdef Listener _listener(self, dict plan):
        cdef Listener listener = Listener.__new__(Listener)
        listener.name = plan["name"]
        listener.gateway = plan["role"] == "gateway"
        listener.inbound = plan["role"] == "inbound"
        listener.by_host = plan["role"] != "mesh"
        listener.proxy_protocol = plan["proxy_protocol"]
        if plan["chain_count"]:
            listener.chains = make_chain_table()
        if plan["place_count"]:
            listener.places = make_place_table()
        listener.port = plan["port"]
        listener.address = plan["address"]
        listener.unknown = UNKNOWN[plan["unknown"]]
        listener.origins = plan["origins"]
        listener.filters = [self.filters[index] for index in plan["filters"]] or None
        listener.hosts = make_host_table(plan["domain_count"])
        if plan["https_redirect"]:
            listener.https_redirect = make_host_table(plan["domain_count"] + len(plan["https_redirect"]))
            for name in plan["https_redirect"]:
                listener.https_redirect.add(name, 0, self._moves)
        return listener

    cdef _take_chains(self, dict plan):
        """A part of a listener's filter chains: a gateway may have one for each of thousands of certificates."""
        cdef Listener listener = self.listeners[plan["listener"]]
        for item in plan["chains"]:
            context = None
            if item["tls"] is not None and self._make_tls is not None:
                context = self._make_tls("server", item["tls"], self.credentials, item["server_names"])
            if not item["port"] and not item["to"]:
                listener.chains.add(make_chain(item, self.clusters, self._shared, context))
            for block in item["to"] or ([""] if item["port"] else ()):
                listener.places.add(item["port"], block, make_chain(item, self.clusters, self._shared, context))

    cdef _take_domains(self, dict plan):
        """A part of a listener's domains: there may be thousands, and no turn of the loop should be long."""
        cdef Listener listener = self.listeners[plan["listener"]]
        for domain in plan["domains"]:
            name, port = domain["domain"], domain["port"]
            listener.hosts.add(name, port, self.vhosts[domain["vhost"]])
            listener.has_any = listener.has_any or (name == "*" and port == 0)
            if listener.https_redirect is not None:
                listener.https_redirect.add(name, 0, self._stays)

    def dismantle(self, uint64_t budget_us) -> bool:
        """Free a snapshot that nobody asks any more, for about `budget_us` microseconds; True when nothing is left."""
        cdef uint64_t until = now_ns() + budget_us * 1000
        cdef Listener listener
        cdef list parts = []
        for listener in self.listeners.values():
            parts.append(listener.hosts.kept)
            if listener.https_redirect is not None:
                parts.append(listener.https_redirect.kept)
        parts.append(self.vhosts)         # requests under way hold what they use, and the labels stay
        for part in parts:
            while part:
                del part[-64:]
                if now_ns() >= until:
                    return False
        while self.clusters:
            self.clusters.popitem()
            if now_ns() >= until:
                return False
        return True
