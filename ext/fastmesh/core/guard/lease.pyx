"""See lease.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.arena cimport ENTRY_LEASES, ENTRY_LEASE_ASKS, Arena
from fastmesh.core.base.atomics cimport fm_add, fm_cas, fm_load, fm_store

cdef enum:
    PLACES = 1024
    ASK_AGAIN = 100           # ms: an answer takes no longer; after that the question was lost
    DEAF = 5000               # ms: a master that has not looked for so long is as good as no Redis
    DRY_AGAIN = 1000          # ms: others may have given some back


cdef LeaseTable* lease_table(Arena arena, bytes key, bint keyed) noexcept:
    cdef uint32_t count = LEASE_SETS * LEASE_WAYS if keyed else 1
    cdef LeaseTable* table = <LeaseTable*>arena.words(ENTRY_LEASES, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key),
                                                      (count + 1) * LEASE_WORDS)
    cdef char* at = <char*>table
    table.number = (at - arena.base) // 64 if arena.base <= at < arena.base + arena.size else 0
    return table


cdef LeaseAsks* lease_asks(Arena arena) noexcept:
    return <LeaseAsks*>arena.words(ENTRY_LEASE_ASKS, "", 0, sizeof(LeaseAsks) // 8)


cdef Lease* lease_of_key(LeaseTable* table, uint64_t hash, uint64_t now, bint* evicted) noexcept nogil:
    cdef Lease* way = <Lease*>(table + 1)
    cdef Lease* oldest
    cdef uint64_t tag
    cdef int i
    evicted[0] = False
    if hash == 0:
        way.tag = 1
        return way
    way += (hash % LEASE_SETS) * LEASE_WAYS
    oldest = way
    for i in range(LEASE_WAYS):
        tag = fm_load(&way[i].tag)
        if tag == hash or (tag == 0 and (fm_cas(&way[i].tag, 0, hash) or fm_load(&way[i].tag) == hash)):
            return &way[i]
        if way[i].used_at < oldest.used_at:
            oldest = &way[i]
    evicted[0] = True
    fm_store(&oldest.tag, hash)
    fm_store(&oldest.current, 0)
    fm_store(&oldest.after, 0)
    fm_store(&oldest.debt, 0)
    fm_store(&oldest.low, 0)
    fm_store(&oldest.asked_at, 0)
    return oldest


cdef LeaseVerdict lease_take(LeaseAsks* asks, LeaseTable* table, Lease* lease, uint64_t credit, uint64_t now,
                             bint* ask) noexcept nogil:
    cdef uint64_t word, after, left, asked
    ask[0] = False
    lease.used_at = now
    fm_add(&lease.seen, 1)
    while True:
        word = fm_load(&lease.current)
        if now < word >> 24:
            left = word & LEASE_TOKENS
            if left:
                if not fm_cas(&lease.current, word, word - 1):
                    continue
                ask[0] = (left - 1 <= lease.low & LEASE_TOKENS and not word & LEASE_DRY) or _wants_next(table, lease, word, now)
                return LEASE_PASS
            if not word & LEASE_DRY:
                break
            asked = fm_load(&lease.asked_at)
            ask[0] = _wants_next(table, lease, word, now) or asked + DRY_AGAIN <= now
            return LEASE_REFUSED
        after = fm_load(&lease.after)
        if now >= after >> 24:
            break
        if fm_cas(&lease.current, word, after):       # the next window has begun
            fm_cas(&lease.after, after, 0)
    ask[0] = True
    asked = fm_load(&asks.alive)
    if fm_load(&table.gone) or (asked and now > asked + DEAF) or table.number == 0:     # 0: the arena was full
        return LEASE_GONE
    return LEASE_CREDIT if _owe(table, lease, word, credit, now) else LEASE_REFUSED


cdef inline bint _owe(LeaseTable* table, Lease* lease, uint64_t word, uint64_t credit, uint64_t now) noexcept nogil:
    """Pass one on credit, if there is some. Room and debt change in one step: a grant moves tokens from one to the other."""
    cdef uint64_t debt, room, owed, ahead, stamp = lease_stamp(word)
    while True:
        debt = fm_load(&lease.debt)
        if now >= (word >> 24) + fm_load(&table.slack):       # a window of which nothing is known
            owed = 0 if debt & LEASE_SETTLED else debt & LEASE_TOKENS
            if owed >= credit:
                return False
            if fm_cas(&lease.debt, debt, (debt & ~<uint64_t>0xffffff) | (owed + 1)):
                return True
            continue
        ahead = fm_load(&lease.low)
        room = credit
        if debt >> 48 == stamp:
            room = debt >> 24 & LEASE_ROOM
        elif ahead >> 48 == stamp:
            room = ahead >> 24 & LEASE_ROOM
        owed = lease_owed(debt, word)
        if owed >= credit or owed >= room:
            return False
        if fm_cas(&lease.debt, debt, stamp << 48 | room << 24 | (owed + 1)):
            return True


cdef inline bint _wants_next(LeaseTable* table, Lease* lease, uint64_t word, uint64_t now) noexcept nogil:
    return (word >> 24) - now <= table.lead and fm_load(&lease.after) == 0


cdef bint lease_ask(LeaseAsks* asks, LeaseTable* table, Lease* lease, uint64_t now) noexcept nogil:
    cdef uint64_t asked = fm_load(&lease.asked_at)
    cdef uint64_t head
    if (asked != 0 and now < asked + ASK_AGAIN) or table.number == 0 or not fm_cas(&lease.asked_at, asked, now):
        return False
    while True:
        head = fm_load(&asks.head)
        if head - fm_load(&asks.tail) >= PLACES:
            break                     # the master has enough to do; this one asks again in a while
        if fm_cas(&asks.head, head, head + 1):
            fm_store(&asks.places[head % PLACES], table.number << 32 | <uint64_t>(lease - <Lease*>(table + 1)) + 1)
            break
    return fm_cas(&asks.bell, 0, 1)
