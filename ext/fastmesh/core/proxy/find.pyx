"""See find.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.clock cimport now_ns
from fastmesh.core.base.counters cimport LM_SHADOW
from fastmesh.core.base.rng cimport rng_below
from fastmesh.core.net.tls.peer cimport Peer, peer_of
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.route.chain cimport Chain, ChainTable
from fastmesh.core.route.limit cimport ALL, Limit
from fastmesh.core.route.match cimport Clause, MATCH_PREFIX, first_match
from fastmesh.core.route.rule cimport Redirect, Rewrite, STEP_ANSWER, STEP_FILTER, STEP_LIMIT, VirtualHost
from fastmesh.core.wire.message cimport Field, HDR_X_FORWARDED_PROTO, Head, span_ptr
from fastmesh.core.wire.path cimport normalize_path, path_needs_work


cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char* a, const char* b, size_t size)


cdef class Finding(Transit):
    cdef int normalize(self):
        """Point `request` at the head, with one form of the path for routing, policy, log and upstream. -1: refuse."""
        cdef const Head* head = &self.head
        cdef const char* raw = span_ptr(head, head.path)
        cdef size_t size = head.path.len
        cdef int normal
        self.request.head = head
        self.request.path, self.request.path_size = raw, <uint32_t>size
        self.request.query, self.request.query_size = span_ptr(head, head.query), head.query.len
        self.request.has_query = head.has_query
        self.request.https = self.secure  # what an absolute target says of its scheme proves nothing
        if not path_needs_work(raw, size, self.snapshot.normalization):
            return 0
        self.path = PyBytes_FromStringAndSize(NULL, size + 1 + head.query.len)
        normal = normalize_path(raw, size, self.snapshot.normalization, PyBytes_AS_STRING(self.path))
        if normal < 0:
            return -1
        self.request.path, self.request.path_size = PyBytes_AS_STRING(self.path), normal
        if head.has_query:                # it stands behind the path as in the head: who reads `:path` reads both in one
            PyBytes_AS_STRING(self.path)[normal] = c'?'
            memcpy(PyBytes_AS_STRING(self.path) + normal + 1, self.request.query, head.query.len)
            self.request.query = PyBytes_AS_STRING(self.path) + normal + 1
        return 0

    cdef void look_up(self, uint32_t port, bint strict):
        """The virtual host and the rule, and which optional steps they ask for. `strict`: only routes of that port count."""
        cdef const Head* head = &self.head
        cdef char[256] name
        cdef size_t size = head.host.len, i
        cdef const char* host = span_ptr(head, head.host)
        cdef char c
        self.steps = STEP_LIMIT if self.snapshot.mesh_limits is not None else 0
        if size <= sizeof(name):
            for i in range(size):
                c = host[i]
                name[i] = <char>(c + 32) if c'A' <= c <= c'Z' else c
            self.vhost = self.listener.find(name, size, port, strict)
        if self.vhost is not None:
            if self.vhost.limits is not None:
                self.steps |= STEP_LIMIT
            self.rule = self.vhost.find(&self.request)
        if self.rule is None:
            self.steps |= STEP_ANSWER if self.listener.filters is None else STEP_ANSWER | STEP_FILTER
        else:
            self.steps |= self.rule.steps

    cdef bint misdirected(self):
        """The name that TLS was begun for chose the certificate and what the client had to prove: another host may want more."""
        cdef const Head* head = &self.head
        cdef ChainTable chains = self.listener.chains
        cdef Chain taken = self.client.chain
        cdef size_t size = head.host.len
        cdef bytes sni
        if self.tls is None:
            self.client.last = chains.plain is None       # plaintext from before this listener had TLS
            return self.client.last
        sni = self.tls.sni
        if taken is not None and taken.table == chains.number:
            if not chains.by_name:
                return False
            if size == <size_t>PyBytes_GET_SIZE(sni) and strncasecmp(span_ptr(head, head.host), PyBytes_AS_STRING(sni), size) == 0:
                return False              # the likely case
        if not chains.stands(taken, sni):
            self.client.last = True       # nothing that comes on this connection can be served any more
            return True
        return chains.astray(taken, sni, PyBytes_FromStringAndSize(span_ptr(head, head.host), size).lower())

    cdef bint moves_to_https(self):
        cdef const Head* head = &self.head
        cdef const Field* field
        cdef VirtualHost found
        cdef char[256] name
        cdef size_t i, size = head.host.len
        cdef char c
        if self.request.https or size > sizeof(name):
            return False
        for i in range(head.field_count):
            field = &head.fields[i]
            if field.id == HDR_X_FORWARDED_PROTO and field.value.len == 5:
                return False              # it was https on its way to us
        for i in range(size):
            c = head.base[head.host.off + i]
            name[i] = <char>(c + 32) if c'A' <= c <= c'Z' else c
        found = self.listener.https_redirect.find(name, size, 0)
        return found is not None and found.redirects

    cdef Limit refusing_limit(self):
        """The first limit that has no token for this request; each one before it has given one."""
        cdef Limit refusing = None
        if self.snapshot.mesh_limits is not None:
            refusing = self._refusing(self.snapshot.mesh_limits)
        if refusing is None and self.vhost is not None and self.vhost.limits is not None:
            refusing = self._refusing(self.vhost.limits)
        if refusing is None and self.rule is not None and self.rule.limits is not None:
            refusing = self._refusing(self.rule.limits)
        return refusing

    cdef Limit _refusing(self, list limits):
        cdef Limit limit
        cdef uint64_t now = now_ns()
        cdef bytes client = self.client.peer if self.client is not None else b""
        cdef Peer peer = peer_of(self.tls)
        cdef bytes principal = peer.principal if peer is not None else b""
        for limit in limits:
            if limit.words == NULL:
                limit.attach(self.engine.arena, self.engine.slot, self.engine.lease_bell)
            if not self._admitted(limit, client, principal, now):
                return limit
        return None

    cdef bint _admitted(self, Limit limit, bytes client, bytes principal, uint64_t now):
        if limit.enabled < ALL and rng_below(&self.engine.rng, ALL) >= limit.enabled:
            return True
        if limit.admit(&self.request, client, principal, now):
            if limit.told and limit.applies(&self.request, client, principal):
                self._tell_of(limit, client, principal, now)
            return True
        if limit.enforced < ALL and rng_below(&self.engine.rng, ALL) >= limit.enforced:
            fm_bump(&limit.row[LM_SHADOW], 1)
            return True
        self._tell_of(limit, client, principal, now)
        return False

    cdef void _tell_of(self, Limit limit, bytes client, bytes principal, uint64_t now):
        cdef uint64_t wait
        cdef uint64_t left = limit.peek(&self.request, client, principal, now, &wait)
        if self.told_limit is None or left <= self.told_left:
            self.told_limit = limit
            self.told_left = left
            self.told_wait = (wait + 999) // 1000

    cdef Clause clause(self):
        """By which the rule was found."""
        return self.matched if self.matched is not None else first_match(self.rule.clauses, &self.request)

    cdef void rewrite_path(self):
        """The path as sent upstream. What a matched rewrite replaces depends on the clause that matched."""
        cdef Rewrite rewrite = self.rule.rewrite
        cdef Clause clause = self.clause()
        cdef bytes path = PyBytes_FromStringAndSize(self.request.path, self.request.path_size)
        cdef size_t cut = 1
        if self.destination is not None and self.destination.rewrite is not None:
            rewrite = self.destination.rewrite
        self.original_path = path
        if self.request.has_query:
            self.original_path += b"?" + PyBytes_FromStringAndSize(self.request.query, self.request.query_size)
        if rewrite.by_regex:
            self.rewritten = rewrite.regex.sub(rewrite.value, path)
        elif clause.path is not None and clause.path.kind != MATCH_PREFIX:
            self.rewritten = rewrite.value
        else:
            if clause.path is not None:
                cut = clause.path.size
            self.rewritten = _replace_prefix(path, cut, rewrite.value, clause.path is not None and clause.path.segments)
        if not self.rewritten.startswith(b"/"):
            self.rewritten = b"/" + self.rewritten

    cdef bytes location(self):
        """The Location of the redirect, the rule's or its backend's: parts that it does not set come from the request."""
        cdef Redirect redirect = self.rule.redirect if self.rule.redirect is not None else self.destination.redirect
        cdef const Head* head = &self.head
        cdef Clause clause
        cdef bytes scheme = redirect.scheme if redirect.scheme is not None else (b"https" if self.request.https else b"http")
        cdef bytes host = PyBytes_FromStringAndSize(span_ptr(head, head.host), head.host.len)
        cdef bytes path = PyBytes_FromStringAndSize(self.request.path, self.request.path_size)
        cdef int port = head.port
        cdef int usual = 443 if scheme == b"https" else 80
        if redirect.authority is not None:
            host, port = redirect.authority, 0
        elif redirect.scheme is not None and port == (443 if self.request.https else 80):
            port = 0                      # the port that the old scheme implied means nothing to the new one
        if redirect.port or redirect.port_from:
            port = redirect.port
            if redirect.port_from == 2:
                port = self.listener.port or head.port
            if port == usual:
                port = 0
        if redirect.path is not None:
            path = redirect.path if redirect.path.startswith(b"/") else b"/" + redirect.path
        elif redirect.prefix is not None:
            clause = self.clause()
            path = _replace_prefix(path, clause.path.size if clause.path is not None else 1, redirect.prefix,
                                   clause.path is not None and clause.path.segments)
        if self.request.has_query and b"?" not in path:
            path += b"?" + PyBytes_FromStringAndSize(self.request.query, self.request.query_size)
        return b"%s://%s%s%s" % (scheme, host, b":%d" % port if port else b"", path)


cdef bytes _replace_prefix(bytes path, size_t cut, bytes value, bint segments):
    """Istio concatenates as written; by segments (Gateway API) there is exactly one slash at the seam."""
    cdef bytes rest
    if not segments:
        return value + path[cut:]
    rest = path[cut:].lstrip(b"/") if path[cut:].startswith(b"/") or cut and path[cut - 1:cut] == b"/" else path[cut:]
    if not rest:
        return (value.rstrip(b"/") or b"/") if not path[cut:] else (value.rstrip(b"/") + b"/")
    return value.rstrip(b"/") + b"/" + rest
