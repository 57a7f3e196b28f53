"""Tokens of a limit that several proxies share, taken ahead: requests are decided from shared memory and never wait for Redis.

The master asks Redis for a lease of tokens, workers spend it. A lease is for one window of time; the tokens of the next window
are asked for before this one ends. The story of a request, likely case first:
- the window's lease has a token: it is taken; when few are left, the master is asked for more;
- the window's lease says that Redis has none left: refused;
- nothing was granted yet (a new key, or the answer is on its way): passed on credit, at most `credit` such requests, and no more
  than Redis said are left of the window. The next grant pays what is owed before it lends a token. So one proxy alone never
  passes more than the limit; with others, who may have taken what was left, at most `credit` more, once a window;
- Redis is gone: whoever wrote the limit has said what then.
Time is an argument, in milliseconds of the monotonic clock.
"""
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.arena cimport Arena

cdef enum LeaseVerdict:
    LEASE_PASS = 0
    LEASE_CREDIT
    LEASE_REFUSED
    LEASE_GONE                # no Redis, and nothing left from before

cdef struct Lease:            # eight words, zeroed at birth
    uint64_t tag              # the key's hash; 0 = nobody's
    uint64_t used_at
    uint64_t current          # the window that runs: its end << 24 | LEASE_DRY | tokens
    uint64_t after            # the same of the window behind it
    uint64_t debt             # passed on credit: stamp << 48 | room << 24 | LEASE_SETTLED | requests
    uint64_t asked_at         # when the master was asked; 0 = it has answered
    uint64_t low              # stamp << 48 | room << 24 of the window behind | ask for more when no more than these are left
    uint64_t seen             # requests since the master looked: what sizes the next lease

cdef struct LeaseTable:       # before the leases of one limit
    uint64_t number           # its place in the arena / 64: how it is told to the master
    uint64_t gone             # 1 = Redis does not answer
    uint64_t lead             # ms before the end of a window in which the next one's tokens are asked for
    uint64_t slack            # ms after the end of a window in which Redis's clock may still be in it: how long answers take
    uint64_t unused[4]

cdef struct LeaseAsks:        # what workers ask of the master; a ring of `number << 32 | index of the lease + 1`
    uint64_t bell             # 1 = the master was told that something is in the ring
    uint64_t head             # next place to write
    uint64_t tail             # next place to read: the master's
    uint64_t alive            # when the master looked last; 0 = never yet
    uint64_t unused[4]
    uint64_t places[1024]

cdef enum:
    LEASE_WORDS = 8
    LEASE_WAYS = 4
    LEASE_SETS = 4096         # x LEASE_WAYS: 16,384 keys of one limit at a time
    LEASE_DRY = 0x800000      # Redis had no more
    LEASE_TOKENS = 0x7fffff
    LEASE_SETTLED = 0x800000  # Redis could not pay this debt: it ends with its window
    LEASE_ROOM = 0xffffff     # what Redis has left, beyond the tokens that are lent; more than this is as good as this

# The mark of the window that a room is of.
cdef inline uint64_t lease_stamp(uint64_t word) noexcept nogil:
    return word >> 24 & <uint64_t>0xffff

# Requests that are owed to the window of `word`; a debt that could not be paid is void in the next one.
cdef inline uint64_t lease_owed(uint64_t debt, uint64_t word) noexcept nogil:
    if debt & LEASE_SETTLED and debt >> 48 != lease_stamp(word):
        return 0
    return debt & LEASE_TOKENS

cdef LeaseTable* lease_table(Arena arena, bytes key, bint keyed) noexcept
cdef LeaseAsks* lease_asks(Arena arena) noexcept
# The lease of a key; `hash` 0: of a limit without keys. A full set gives up the lease that was used the longest ago.
cdef Lease* lease_of_key(LeaseTable* table, uint64_t hash, uint64_t now, bint* evicted) noexcept nogil
# *ask is set when the master should hear of it: see lease_ask.
cdef LeaseVerdict lease_take(LeaseAsks* asks, LeaseTable* table, Lease* lease, uint64_t credit, uint64_t now, bint* ask) noexcept nogil
# Put it into the ring, unless that was done a moment ago. True: the bell has to be rung.
cdef bint lease_ask(LeaseAsks* asks, LeaseTable* table, Lease* lease, uint64_t now) noexcept nogil
