"""See token_bucket.pxd."""
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.atomics cimport fm_cas, fm_load, fm_store


cdef inline uint64_t _epoch(Bucket* bucket, uint64_t now) noexcept nogil:
    cdef uint64_t epoch = fm_load(&bucket.epoch)
    if epoch == 0:
        fm_cas(&bucket.epoch, 0, now)
        epoch = fm_load(&bucket.epoch)
    return epoch


cdef inline uint64_t _tokens_by_period(uint64_t state, const BucketRule* rule, uint64_t period) noexcept nogil:
    """State: period index in the upper 32 bits, tokens *taken* below the burst in the lower 32."""
    cdef uint64_t last = state >> 32
    cdef uint64_t used = state & <uint64_t>0xffffffff
    cdef uint64_t refill
    if period > last:
        refill = (period - last) * rule.requests
        used = used - refill if used > refill else 0
    return rule.burst - used if rule.burst > used else 0


cdef bint _take_by_period(Bucket* bucket, const BucketRule* rule, uint64_t now) noexcept nogil:
    cdef uint64_t epoch = _epoch(bucket, now)
    cdef uint64_t period = (now - epoch) // rule.period if now > epoch else 0
    cdef uint64_t state, tokens
    while True:
        state = fm_load(&bucket.state)
        if period < state >> 32:          # another worker's clock reading was later
            period = state >> 32
        tokens = _tokens_by_period(state, rule, period)
        if tokens == 0:
            return False
        if fm_cas(&bucket.state, state, period << 32 | (rule.burst - tokens + 1)):
            return True


cdef bint _take_evenly(Bucket* bucket, const BucketRule* rule, uint64_t now) noexcept nogil:
    """State: the time, in ns since the epoch, at which the bucket would be full again."""
    cdef uint64_t epoch = _epoch(bucket, now)
    cdef uint64_t step = rule.period // rule.requests
    cdef uint64_t at = now - epoch if now > epoch else 0
    cdef uint64_t state, full_at
    while True:
        state = fm_load(&bucket.state)
        full_at = state if state > at else at
        if full_at + step > at + rule.burst * step:
            return False
        if fm_cas(&bucket.state, state, full_at + step):
            return True


cdef bint bucket_take(Bucket* bucket, const BucketRule* rule, uint64_t now) noexcept nogil:
    if rule.burst >= rule.requests:
        return _take_by_period(bucket, rule, now)
    return _take_evenly(bucket, rule, now)


cdef uint64_t bucket_peek(const Bucket* bucket, const BucketRule* rule, uint64_t now) noexcept nogil:
    cdef uint64_t at, step, used
    if bucket.epoch == 0:
        return rule.burst
    at = now - bucket.epoch if now > bucket.epoch else 0
    if rule.burst >= rule.requests:
        return _tokens_by_period(bucket.state, rule, at // rule.period)
    step = rule.period // rule.requests
    if bucket.state <= at:
        return rule.burst
    used = (bucket.state - at + step - 1) // step
    return rule.burst - used if rule.burst > used else 0      # another worker's clock reading was later


cdef uint64_t bucket_wait(const Bucket* bucket, const BucketRule* rule, uint64_t now) noexcept nogil:
    cdef uint64_t at, step
    at = now - bucket.epoch if bucket.epoch and now > bucket.epoch else 0
    if rule.burst >= rule.requests:
        return rule.period - at % rule.period
    step = rule.period // rule.requests
    return (bucket.state - at - 1) % step + 1 if bucket.state > at else 0


cdef Bucket* bucket_of_key(uint64_t* words, uint64_t sets, uint64_t key, uint64_t now, bint* evicted) noexcept nogil:
    # words of a way: tag, last use (ns), epoch, state
    cdef uint64_t* way = words + (key % sets) * SET_WAYS * 4
    cdef uint64_t* oldest = way
    cdef uint64_t tag
    cdef int i
    evicted[0] = False
    if key == 0:
        key = 1
    for i in range(SET_WAYS):
        tag = fm_load(&way[i * 4])
        if tag == key or (tag == 0 and (fm_cas(&way[i * 4], 0, key) or fm_load(&way[i * 4]) == key)):
            way[i * 4 + 1] = now
            return <Bucket*>&way[i * 4 + 2]
        if way[i * 4 + 1] < oldest[1]:
            oldest = way + i * 4
    evicted[0] = True
    fm_store(&oldest[0], key)
    oldest[1] = now
    fm_store(&oldest[3], 0)
    fm_store(&oldest[2], 0)
    return <Bucket*>&oldest[2]
