"""Why an attempt failed. proxy/rescue turns these into responses."""

cdef enum Failure:            # why an attempt failed; a value, not an exception
    FAIL_NONE = 0
    FAIL_CONNECT              # refused or unreachable: nothing was sent
    FAIL_CONNECT_TIMEOUT
    FAIL_STALE                # a reused connection ended before any byte of the answer; nothing tells whether it was processed
    FAIL_CLOSED               # the upstream closed before a complete answer
    FAIL_RESET                # the upstream reset before a complete answer
    FAIL_PROTOCOL             # the upstream broke HTTP
    FAIL_OVERFLOW             # no room in the connection pool
    FAIL_TIMEOUT              # route time-out
    FAIL_PER_TRY_TIMEOUT
    FAIL_NO_HEALTHY
    FAIL_NO_CLUSTER
    FAIL_LOCAL                # this side gave up
    FAIL_REFUSED              # HTTP/2: refused before it was processed (REFUSED_STREAM, above the last id of a GOAWAY)
    FAIL_TLS                  # the handshake failed: nothing was sent
    FAIL_UPGRADE              # HTTP/2: the endpoint allows no extended CONNECT; nothing was sent
    FAIL_QUEUE                # waited too long for a connection: nothing was sent
