"""The connections of one worker to one endpoint, and the users that wait for one. PoolH1 and PoolH2 say how they are shared."""
from libc.stdint cimport uint64_t
from fastmesh.core.net.readiness cimport Reactor
from fastmesh.core.net.stream cimport ClientStream, StreamUser
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.net.tls.client cimport ClientContext
from fastmesh.core.net.upstream cimport ConnectionOwner, Upstream
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint

cdef class Pool(ConnectionOwner):
    cdef Reactor reactor
    cdef Cluster cluster      # of the newest snapshot
    cdef Endpoint endpoint
    cdef readonly int connections
    cdef object waiting       # deque of StreamUser
    cdef readonly int connecting      # of those, not established yet
    cdef bint http2
    cdef bint retired         # no longer in the configuration: nothing is kept
    cdef const char* tls_error        # why the last handshake failed; static text, NULL = none did

    # A stream for `user`: at once, or later through user.on_upstream. NULL-like None with *failure set: not to be had.
    # `idempotent`: it may run twice; `fresh`: on a new connection.
    cdef ClientStream take(self, StreamUser user, bint idempotent, bint fresh, int* failure)
    cdef void forget(self, StreamUser user)          # the user does not wait any more
    cdef void retire(self)
    # for the two kinds
    cdef bint _wait(self, StreamUser user, int* failure)      # in the queue; False: too many wait
    # Who waited longest of those that `connection` fits (None: of all), out of the queue; None: nobody
    cdef StreamUser _next(self, Upstream connection)
    cdef bint _suits(self, Upstream connection, StreamUser user)      # it fits, and is as new as the user wants it
    cdef bint _room(self) noexcept                   # one more connection may be opened; counts it when so
    cdef void _no_room(self)                         # the cluster's connections are all in use
    cdef bint _connect(self, StreamUser user)        # open the connection that `_room` counted, one that fits the user
    cdef Upstream _open(self, Tls tls)               # None: refused at once
    cdef void _count_out(self, Upstream connection, bint connecting, int failure)     # a connection has ended
    cdef void _gone(self, Upstream connection, bint connecting, int failure)          # the same, and who waited for it is told
    # TLS. A connection belongs to the context that it was made with or, for a while, to a newer one of the same kin (see
    # tls/client.pxd), and to the server name that it was asked for.
    cdef ClientContext tls_now(self)                 # of new connections; None: plaintext
    cdef bint named_by_host(self)                    # requests for different hosts, or of different clients, want different connections
    cdef bint current(self, Upstream connection)     # made with the context of now, or good for it
    cdef void _outdated(self) noexcept               # counts one that is closed because it is not
    cdef bint fits(self, Upstream connection, StreamUser user)        # and for the name that the user wants
