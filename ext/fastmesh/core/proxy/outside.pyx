"""See outside.pxd."""
import asyncio
import ipaddress
import socket

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint64_t
from msgspec.msgpack import decode
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.clock cimport now_ms
from fastmesh.core.base.counters cimport WK_OUTSIDE_FAILED, WK_OUTSIDE_FULL, WK_OUTSIDE_REFUSED
from fastmesh.core.proxy.attempt cimport TIMER_OUTSIDE
from fastmesh.core.proxy.engine cimport Engine
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.route.cluster cimport Cluster, make_cluster
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.route.late cimport Late
from fastmesh.core.wire.message cimport span_ptr

cdef object PATIENCE = 5.0            # seconds, for one question
cdef uint64_t REFRESH = 60_000        # ms
cdef uint64_t REFRESH_FAILED = 5_000


cdef Outside make_outside(Engine engine, object loop, dict settings):
    cdef Outside outside = Outside.__new__(Outside)
    outside.engine, outside.loop = engine, loop
    outside.allowed = [ipaddress.ip_network(text) for text in settings.get("private", ())]
    outside.most = settings.get("hosts", 1000)
    return outside


cdef int go_outside(Transit t):
    """For a request whose destination has no endpoints of its own. One place for each host and port that is asked for."""
    cdef Outside outside = t.engine.outside
    cdef Late late = t.destination.late
    cdef bytes host = PyBytes_FromStringAndSize(span_ptr(&t.head, t.head.host), t.head.host.len).lower()
    cdef int port = late.port or t.head.port or (443 if t.secure else 80)
    cdef Answer answer
    if not host:
        return OUT_NOTHING
    answer = late.answers.get((host, port))
    if answer is None:
        answer = outside.remember(late, host, port)
        if answer is None:
            return OUT_REFUSED
    if not answer.asking and now_ms() >= answer.until:
        outside.ask(late, answer, host, port)
    if answer.cluster is not None:
        t.cluster = answer.cluster
        return OUT_FOUND
    if answer.asking:
        answer.waiting.append(t)
        return OUT_WAIT
    if answer.refused:
        fm_bump(&t.engine.row[WK_OUTSIDE_REFUSED], 1)
        return OUT_REFUSED
    return OUT_NOTHING


cdef class Answer:
    pass


cdef class Outside:
    cdef Answer remember(self, Late late, bytes host, int port):
        """A place for an answer; the oldest that nobody waits for gives its own. None: all are being asked for."""
        cdef Answer answer, other
        if len(late.answers) >= self.most:
            for key, other in late.answers.items():
                if not other.asking:
                    del late.answers[key]
                    break
            else:
                fm_bump(&self.engine.row[WK_OUTSIDE_FULL], 1)
                return None
        answer = late.answers[host, port] = Answer.__new__(Answer)
        answer.waiting = []
        return answer

    cdef void ask(self, Late late, Answer answer, bytes host, int port):
        answer.asking = True
        task = self.loop.create_task(self._ask(late, answer, host, port))
        task.add_done_callback(_done)     # a task that nobody refers to may be collected while it runs

    async def _ask(self, Late late, Answer answer, bytes host, int port):
        try:
            text = host.decode("ascii").strip("[]")
            question = self.loop.getaddrinfo(text, port, type=socket.SOCK_STREAM)
            found = sorted({item[4][0] for item in await asyncio.wait_for(question, PATIENCE)})
        except (OSError, ValueError, asyncio.TimeoutError):
            found = []
        self.take(late, answer, found, port)

    cdef void take(self, Late late, Answer answer, list found, int port):
        """A failure keeps the last good answer. Requests that waited go on from their timers."""
        cdef Transit t
        cdef list waiting = answer.waiting
        cdef list usable = [address for address in found if self._may(late, address, port)]
        if usable:
            if answer.cluster is None or usable != [endpoint.address for endpoint in answer.cluster.endpoints]:
                answer.cluster = make_reached(self.engine, late, [plain_endpoint(address, port) for address in usable],
                                              not late.trusted)
        elif found:
            answer.cluster = None         # the name leads to where nobody may go: what it led to before counts no more
        else:
            fm_bump(&self.engine.row[WK_OUTSIDE_FAILED], 1)
        answer.refused = bool(found) and not usable
        answer.until = now_ms() + (REFRESH if usable else REFRESH_FAILED)
        answer.asking, answer.waiting = False, []
        for t in waiting:
            if not t.accounted:
                self.engine.wheel.start(&t.timer, t, TIMER_OUTSIDE, 1)

    def _may(self, Late late, str text, int port):
        address = ipaddress.ip_address(text.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        if address.is_multicast or address.is_unspecified or self._is_own(address, port):
            return False
        if late.trusted or address.is_global:
            return True
        return any([address in network for network in self.allowed])

    def _is_own(self, address, int port):
        """Whether a request to there would come back to this proxy."""
        if port not in self.engine.own_ports():
            return False
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((str(address), 0))     # only addresses of this machine can be bound
            except OSError:
                return False
        return True


def _done(task):
    pass


cdef dict plain_endpoint(str address, int port):
    return {"address": address, "port": port, "weight": 1, "workload": 0, "locality": "", "mesh_tls": False, "priority": 0}


cdef Cluster make_reached(Engine engine, Late late, list endpoints, bint shared):
    cdef dict plan = decode(late.packed)
    plan["endpoints"] = endpoints
    plan["kind"] = "endpoints"
    cdef Cluster cluster = make_cluster(plan)
    cdef Endpoint endpoint
    cluster.tls = late.tls
    if not shared:
        return cluster
    texts = [endpoint.text for endpoint in cluster.endpoints]
    for endpoint in cluster.endpoints:
        endpoint.text = b"*"
    cluster.watched = False               # nobody is ejected for what another one did
    cluster.attach(engine.arena, engine.slot)
    for endpoint, text in zip(cluster.endpoints, texts):
        endpoint.text = text
    return cluster
