"""HTTP/2 with an endpoint, in three classes: the socket (ClientH2), the frames (ClientFrames), a request and its response (ClientH2Stream).

What happens to the requests of a connection that ends depends on what is known of each: those above the last stream of a GOAWAY, and
those that were reset with REFUSED_STREAM, were not processed (FAIL_REFUSED, RFC 9113 8.7); of those that nothing was heard since they
were sent on a connection that had served others, nobody knows (FAIL_STALE).
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from fastmesh.core.net.h2.budget cimport H2Limits
from fastmesh.core.net.h2.connection cimport H2Connection
from fastmesh.core.net.h2.stream cimport H2Stream
from fastmesh.core.net.readiness cimport Reactor
from fastmesh.core.net.stream cimport ClientStream, StreamUser
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.net.upstream cimport ConnectionOwner, Upstream
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.wire.message cimport Head

cdef enum:
    STREAMS_UNSAID = 100      # streams at a time, until an endpoint has said how many

cdef class ClientH2(Upstream):
    cdef ClientFrames frames
    cdef Cluster cluster      # its ping times and limits are those of the newest snapshot
    cdef uint32_t places      # streams at a time, until this connection is told: what the endpoint said on others
    cdef uint64_t idle_limit  # ms; 0 = never
    cdef void rest(self, uint64_t limit)              # nothing goes on: close after this
    cdef void close(self, int failure)

cdef class ClientFrames(H2Connection):
    cdef ClientH2 connection  # None when it has ended
    cdef ClientH2Stream spare # streams to use again, each the next one's `next_spare`
    cdef int spares
    cdef bint leaving         # no new streams; closed when those that it has have ended
    cdef bint unheard         # the peer takes nothing more: what it said before is still read
    cdef uint64_t heard       # times that something came
    cdef uint64_t rests_since # ms: without a stream
    cdef uint64_t ping_due    # ms
    cdef H2Limits own_limits

    cdef uint32_t room(self) noexcept                 # how many more streams
    cdef ClientStream assign(self, StreamUser user)   # a stream for `user`; its id comes with its request
    cdef void leave(self)
    cdef bint _decoded(self, int verdict)             # False: the connection has failed
    cdef void _interim(self, ClientH2Stream stream, const Head* head)
    cdef void _response(self, ClientH2Stream stream, const Head* head, bint end)
    cdef void _end(self, H2Stream* h2, const Head* trailers)
    cdef void _let_go(self, ClientH2Stream stream)    # it is out of the table: there is room for another one
    cdef void _lose(self, ClientH2Stream stream, int failure)
    cdef void _lose_above(self, uint32_t last_id, int failure)    # every stream with a higher id
    cdef void watch_over(self)                        # keep-alive pings, when the cluster wants them

cdef class ClientH2Stream(ClientStream):
    cdef ClientFrames frames
    cdef H2Stream h2
    cdef StreamUser user      # None: the response is complete, or nobody wants it any more
    cdef ClientH2Stream next_spare
    cdef uint64_t left        # of a response body with a length
    cdef uint64_t heard       # ClientFrames.heard when the request went out
    cdef bint measured        # the response has a length
    cdef bint to_head
    cdef bint bodyless        # HEAD, 204, 304: a body would be an error
    cdef bint upgrading       # an extended CONNECT (RFC 8441)
    cdef bint tunnel          # that was agreed to: each direction ends by itself
    cdef uint8_t interims

# None: refused at once
cdef ClientH2 connect_h2(Reactor reactor, ConnectionOwner owner, Endpoint endpoint, Cluster cluster, Tls tls, uint32_t places)
