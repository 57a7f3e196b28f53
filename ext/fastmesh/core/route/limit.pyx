"""See limit.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from fastmesh.core.base.arena cimport ENTRY_BUCKET, ENTRY_BUCKET_SET, ENTRY_LIMIT, Arena
from fastmesh.core.base.atomics cimport fm_bump, fm_load
from fastmesh.core.base.counters cimport (
    LIMIT_ROW, LM_CLOSED, LM_CREDIT, LM_EVICTED, LM_LIMITED, LM_OPEN, LM_PASSED,
)
from fastmesh.core.guard.lease cimport (
    LEASE_CREDIT, LEASE_GONE, LEASE_PASS, LEASE_TOKENS, Lease, lease_ask, lease_asks, lease_of_key, lease_table, lease_take,
)
from fastmesh.core.guard.token_bucket cimport (
    BUCKET_WORDS, SET_WAYS, Bucket, bucket_of_key, bucket_peek, bucket_take, bucket_wait,
)
from fastmesh.core.route.match cimport Request, first_match, make_clauses
from fastmesh.core.route.trait cimport Trait, hash_traits, make_trait


cdef bytes state_key(str name, uint64_t requests, uint64_t period, uint64_t burst):
    """The numbers are part of the key: a changed limit starts with a full bucket, an unchanged one keeps its state."""
    return f"{name}\0{requests}/{period}/{burst}".encode()


cdef class Limit:
    cdef void attach(self, Arena arena, int slot, object bell):
        cdef bytes key = state_key(self.name, self.rule.requests, self.rule.period, self.rule.burst)
        cdef bytes name = self.name.encode()
        self.bell = bell
        if self.is_global:
            self.asks = lease_asks(arena)
            self.table = lease_table(arena, key, bool(self.keys))
            self.words = <uint64_t*>self.table
        elif self.keys:
            self.words = arena.words(ENTRY_BUCKET_SET, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key),
                                     KEYED_SETS * SET_WAYS * 4)
        else:
            self.words = arena.words(ENTRY_BUCKET, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), BUCKET_WORDS)
        self.row = arena.words(ENTRY_LIMIT, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), LIMIT_ROW * arena.slots)
        self.row += slot * LIMIT_ROW

    cdef bint applies(self, const Request* request, bytes client, bytes principal):
        cdef Trait trait
        if self.clauses and first_match(self.clauses, request) is None:
            return False
        if self.traits is not None:
            for trait in self.traits:
                if not trait.fits(request, client, principal):
                    return False
        return True

    cdef bint admit(self, const Request* request, bytes client, bytes principal, uint64_t now):
        if not self.applies(request, client, principal):
            return True
        if self.is_global:
            return self._take_lease(self._lease(request, client, principal, now // 1000000), now // 1000000)
        if bucket_take(self._bucket(request, client, principal, now), &self.rule, now):
            fm_bump(&self.row[LM_PASSED], 1)
            return True
        fm_bump(&self.row[LM_LIMITED], 1)
        return False

    cdef bint _take_lease(self, Lease* lease, uint64_t now_ms):
        cdef bint ask
        cdef int verdict = lease_take(self.asks, self.table, lease, self.credit, now_ms, &ask)
        if ask and lease_ask(self.asks, self.table, lease, now_ms):
            self.bell()
        if verdict == LEASE_PASS:
            fm_bump(&self.row[LM_PASSED], 1)
            return True
        if verdict == LEASE_CREDIT:
            fm_bump(&self.row[LM_PASSED], 1)
            fm_bump(&self.row[LM_CREDIT], 1)
            return True
        if verdict == LEASE_GONE:
            fm_bump(&self.row[LM_CLOSED if self.fails_closed else LM_OPEN], 1)
            return not self.fails_closed
        fm_bump(&self.row[LM_LIMITED], 1)
        return False

    cdef uint64_t peek(self, const Request* request, bytes client, bytes principal, uint64_t now, uint64_t* wait):
        cdef Bucket* bucket
        cdef uint64_t word, now_ms = now // 1000000
        if self.is_global:
            word = fm_load(&self._lease(request, client, principal, now_ms).current)
            wait[0] = (word >> 24) - now_ms if word >> 24 > now_ms else self.rule.period // 1000000
            return word & LEASE_TOKENS if word >> 24 > now_ms else 0
        bucket = self._bucket(request, client, principal, now)
        wait[0] = (bucket_wait(bucket, &self.rule, now) + 999999) // 1000000
        return bucket_peek(bucket, &self.rule, now)

    cdef Bucket* _bucket(self, const Request* request, bytes client, bytes principal, uint64_t now):
        cdef bint evicted
        cdef Bucket* bucket
        if not self.keys:
            return <Bucket*>self.words
        bucket = bucket_of_key(self.words, KEYED_SETS, hash_traits(self.keys, request, client, principal), now, &evicted)
        if evicted:
            fm_bump(&self.row[LM_EVICTED], 1)
        return bucket

    cdef Lease* _lease(self, const Request* request, bytes client, bytes principal, uint64_t now_ms):
        cdef bint evicted
        cdef Lease* lease
        if not self.keys:
            return lease_of_key(self.table, 0, now_ms, &evicted)
        lease = lease_of_key(self.table, hash_traits(self.keys, request, client, principal), now_ms, &evicted)
        if evicted:
            fm_bump(&self.row[LM_EVICTED], 1)
        return lease


cdef Limit make_limit(dict plan):
    cdef Limit limit = Limit.__new__(Limit)
    cdef dict shared = plan["shared"]
    limit.name = plan["name"]
    limit.origin = plan["origin"]
    limit.rule.requests = plan["requests"]
    limit.rule.period = <uint64_t>plan["period"] * 1000000
    limit.rule.burst = plan["burst"]
    limit.clauses = make_clauses(plan["matches"])
    limit.traits = [make_trait(kind, name, test, value) for kind, name, test, value in plan["traits"]] or None
    limit.keys = [make_trait(kind, name, "present", "") for kind, name in plan["keys"]]
    limit.enabled = plan["enabled"]
    limit.enforced = plan["enforced"]
    limit.told = plan["told"]
    limit.status = plan["status"]
    limit.grpc = -1 if plan["grpc_status"] is None else plan["grpc_status"]
    limit.details = plan["details"].encode()
    limit.body = plan["body"]
    limit.headers = [(name.encode(), value.encode()) for name, value in plan["headers"]]
    limit.retry_after = plan["retry_after"]
    limit.quota = b"%d" % limit.rule.burst
    if shared is not None:
        limit.is_global = True
        limit.fails_closed = shared["fails_closed"]
        limit.domain = shared["domain"]
        limit.credit = shared["credit"]
        limit.quota = b"%d, %d;w=%d" % (limit.rule.burst, limit.rule.requests, max(1, limit.rule.period // 1000000000))
    return limit
