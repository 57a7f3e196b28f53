"""What a peer of an HTTP/2 connection may cost: limits, and buckets for what is harmless once and an attack in numbers.

The defaults stand in server/settings, the reasons in docs/limits.md.
"""
from libc.stdint cimport uint32_t, uint64_t

cdef struct H2Limits:
    uint32_t streams          # at a time, of one connection
    uint32_t window           # of a stream: bytes that the peer may send before the user has taken some
    uint32_t connection_window
    uint32_t continuations    # CONTINUATION frames of one header block
    uint64_t unpacked         # bytes that the heads of running requests unpack to, beyond UNPACK_FAIR times what came for them
    uint32_t settings         # entries of one SETTINGS frame
    uint32_t control          # frames that we owe (acknowledgements, resets, windows) and the peer does not take
    uint32_t empty            # frames without content and without an end, one after the other
    uint32_t resets           # of streams, by either side: a bucket of this many,
    uint32_t resets_per_second                # and what leaks out of it
    uint32_t chatter          # PING, SETTINGS and frames of unknown types, in the same way
    uint32_t chatter_per_second
    uint32_t requests         # of one connection; then it is wound down; 0 = no limit
    uint64_t age              # ms; then it is wound down; 0 = no limit
    uint32_t grace            # ms between the two GOAWAYs of winding down

cdef struct Bucket:
    uint64_t level            # in 1/1000
    uint64_t at               # ms

# One drop more. True: it runs over.
cdef inline bint bucket_over(Bucket* bucket, uint32_t room, uint32_t per_second, uint64_t now) noexcept nogil:
    cdef uint64_t leaked = (now - bucket.at) * per_second
    bucket.level = bucket.level - leaked if bucket.level > leaked else 0
    bucket.at = now
    bucket.level += 1000
    return bucket.level > <uint64_t>room * 1000

cdef enum:
    UNPACK_FAIR = 10                  # a head that is this much larger than its header block costs nothing of `unpacked`
    PRIORITIES_PER_STREAM = 100       # Envoy's rule: 100 x (1 + streams)
    WINDOWS_FREE = 5                  # Envoy's rule: 5 + 2 x (streams + 10 x DATA frames that we sent)
    WINDOWS_PER_STREAM = 2
    WINDOWS_PER_DATA = 20
