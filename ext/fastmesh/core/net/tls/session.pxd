"""One TLS session on a descriptor that somebody else owns: OpenSSL 3, called in C. It reads and writes like recv and send.

This is all that readiness knows of TLS; contexts (`server`, `client`), what they check (`verify`) and what a peer proved
(`peer`) stand beside it.

OpenSSL meets the socket in two functions of ours. Reading: one recv takes what the kernel has, up to a record, and tells whether
there may be more. Writing: the records of one write are gathered and leave with one send. What the kernel did not take stays here,
encrypted; the caller is told that those bytes were not sent yet, and writes again from the first of them, as with send.
"""
from fastmesh.core.base.outbuf cimport OutBuf
from fastmesh.core.net.tls.openssl cimport SSL

cdef enum Shake:              # what a step of the handshake answers
    SHAKE_DONE = 0
    SHAKE_READ                # wants to read
    SHAKE_WRITE               # wants to write
    SHAKE_FAILED              # `error` says why, `fault` of what kind

cdef enum Fault:              # kinds of failure that are counted apart
    FAULT_OTHER = 0
    FAULT_PEER_LEFT           # the connection ended
    FAULT_NO_CERTIFICATE      # none was sent, and one is required
    FAULT_CERTIFICATE         # not trusted, expired, revoked, of the wrong kind
    FAULT_NAME                # its names are not those that are wanted
    FAULT_PIN                 # neither hash fits
    FAULT_NOT_READY           # this side has no key material

cdef struct Wire:             # where OpenSSL meets the socket
    int fd
    bint gathering            # records are collected, not sent
    bint drained              # the last recv took all that there was
    bint ended                # FIN
    const char* ahead         # bytes that were read before TLS was known: the ClientHello
    size_t ahead_size
    OutBuf unsent             # encrypted; the kernel was full

cdef class Tls:
    cdef SSL* ssl
    cdef Wire wire
    cdef object context       # ServerContext or ClientContext: what the session was made with
    cdef const char* error    # static text: why the handshake or the session failed
    cdef int fault            # Fault
    cdef int _end             # how reading ended: End
    cdef bint _dry            # nothing is left to decrypt until the kernel has more
    cdef bint silent          # no close_notify: what was sent is not a complete message
    cdef bint _deaf           # the peer takes nothing more; what it said before can be read
    cdef bint shaken          # the handshake is complete
    cdef bint verified        # the peer's certificate, if it has one, was checked
    cdef size_t owed          # bytes that are encrypted in `unsent`, and that the caller will write again
    cdef bytes sni            # server name that was asked for; b"" = none
    cdef bytes place          # where a client keeps its session
    cdef object peer          # peer.Peer, or False when there is none; None: nobody has asked yet
    cdef OutBuf held          # `ahead`, when it had to be kept

    cdef void attach(self, int fd) noexcept
    cdef void feed(self, const char* data, size_t size) noexcept      # read these first; `shake` follows at once
    cdef int shake(self) noexcept
    # As recv and send: bytes, 0 = the peer closed (read), -1 with errno (EAGAIN: nothing now)
    cdef ssize_t read(self, char* buffer, size_t size) noexcept
    cdef ssize_t write(self, const char* data, size_t size) noexcept
    cdef ssize_t write_two(self, const char* first, size_t first_size, const char* second, size_t second_size) noexcept
    cdef bint has_more(self) noexcept         # bytes were taken from the kernel and not read yet
    cdef bint quiet(self) noexcept            # alive, and nothing to read: tickets and key updates are taken in
    cdef void say_goodbye(self) noexcept      # close_notify, before the descriptor is closed
    cdef bint resumed(self) noexcept
    cdef const char* version(self) noexcept           # "1.3"
    cdef const char* cipher(self) noexcept
    cdef bint chose_h2(self) noexcept         # ALPN
    cdef int _failed(self) noexcept
    cdef ssize_t _stop(self, ssize_t total) noexcept
    cdef size_t _encrypt(self, const char* data, size_t size, size_t before) noexcept
    cdef ssize_t _push(self) noexcept

# Takes over `ssl`; `name` as in Tls.sni. None: no memory
cdef Tls make_tls(SSL* ssl, object context, bytes name)
# The session that OpenSSL calls back about
cdef Tls tls_of(const SSL* ssl)
