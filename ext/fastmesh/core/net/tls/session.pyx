"""See tls.pxd."""
from libc.stdlib cimport malloc
from libc.string cimport memcpy
from fastmesh.core.base.outbuf cimport OutBuf, out_append, out_consume, out_free, out_size
from fastmesh.core.net.tls.openssl cimport (
    BIO, BIO_CTRL_EOF, BIO_CTRL_FLUSH, BIO_METHOD, BIO_TYPE_SOURCE_SINK, BIO_clear_retry_flags, BIO_get_data, BIO_get_new_index,
    BIO_meth_new, BIO_meth_set_ctrl, BIO_meth_set_read, BIO_meth_set_write, BIO_new, BIO_set_data, BIO_set_init,
    BIO_set_retry_read, BIO_set_retry_write, BIO_should_read, BIO_should_write, ERR_GET_REASON, ERR_clear_error, ERR_peek_error,
    ERR_reason_error_string, SSL, SSL_ERROR_ZERO_RETURN, SSL_READING, SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, SSL_WRITING,
    SSL_CIPHER_get_name, SSL_do_handshake, SSL_free, SSL_get0_alpn_selected, SSL_get_current_cipher, SSL_get_error, SSL_get_ex_data, SSL_get_rbio, SSL_get_verify_result,
    SSL_get_version,
    SSL_has_pending, SSL_peek_ex, SSL_read_ex, SSL_session_reused, SSL_set_bio, SSL_set_ex_data, SSL_shutdown, SSL_want,
    SSL_write_ex, X509_V_OK, X509_verify_cert_error_string,
)

cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_recv "recv"(int fd, void* buffer, size_t size, int flags)
    ssize_t c_send "send"(int fd, const void* buffer, size_t size, int flags)
    int MSG_NOSIGNAL, MSG_DONTWAIT, MSG_PEEK

cdef extern from "<errno.h>" nogil:
    int errno
    int EAGAIN, EINTR, ECONNRESET, EPIPE, ENOMEM

cdef enum End:                # how reading ended
    END_NOT = 0
    END_CLOSED                # close_notify: all was read
    END_CUT                   # anything else: what was read may be a part only

cdef enum:
    RECORD = 16384            # most bytes in one record, RFC 8446 section 5.1
    RECORDS = 4               # gathered for one send
    ROOM = RECORDS * (RECORD + 512) + 1024


# --- where OpenSSL meets the socket -----------------------------------------------------------------------------------

cdef struct Mark:             # the border of a gathered record
    size_t encrypted
    size_t plain

# One for all sessions of a worker: it is empty again when a write returns
cdef char* _gathered = <char*>malloc(ROOM)
cdef size_t _gathered_size = 0
cdef Mark[RECORDS] _marks
cdef int _mark_count = 0


cdef int _take(BIO* bio, char* buffer, int size) noexcept:
    cdef Wire* wire = <Wire*>BIO_get_data(bio)
    cdef ssize_t got
    BIO_clear_retry_flags(bio)
    if wire.ahead_size:
        got = size if <size_t>size < wire.ahead_size else wire.ahead_size
        memcpy(buffer, wire.ahead, got)
        wire.ahead += got
        wire.ahead_size -= got
        return <int>got
    got = c_recv(wire.fd, buffer, size, MSG_DONTWAIT)
    wire.drained = got < size
    if got < 0 and (errno == EAGAIN or errno == EINTR):
        BIO_set_retry_read(bio)
    elif got == 0:
        wire.ended = True
    return <int>got


cdef int _give(BIO* bio, const char* data, int size) noexcept:
    global _gathered_size
    cdef Wire* wire = <Wire*>BIO_get_data(bio)
    cdef ssize_t sent
    BIO_clear_retry_flags(bio)
    if wire.gathering:
        if _gathered_size + size > ROOM:
            return -1
        memcpy(_gathered + _gathered_size, data, size)
        _gathered_size += size
        return size
    if out_size(&wire.unsent):            # an alert behind records that wait
        return size if out_append(&wire.unsent, data, size) == 0 else -1
    sent = c_send(wire.fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT)
    if sent < 0 and (errno == EAGAIN or errno == EINTR):
        BIO_set_retry_write(bio)
    return <int>sent


cdef long _control(BIO* bio, int command, long number, void* pointer) noexcept:
    if command == BIO_CTRL_FLUSH:
        return 1
    if command == BIO_CTRL_EOF:
        return (<Wire*>BIO_get_data(bio)).ended
    return 0


cdef BIO_METHOD* _socket = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "fastmesh socket")
BIO_meth_set_read(_socket, _take)
BIO_meth_set_write(_socket, _give)
BIO_meth_set_ctrl(_socket, _control)


# --- a session --------------------------------------------------------------------------------------------------------

cdef Tls make_tls(SSL* ssl, object context, bytes name):
    cdef Tls tls = Tls.__new__(Tls)
    cdef BIO* bio
    if ssl == NULL:
        return None
    tls.ssl = ssl
    tls.context = context
    tls.sni = name
    tls.wire.fd = -1
    bio = BIO_new(_socket)
    if bio == NULL:
        return None
    BIO_set_data(bio, &tls.wire)
    BIO_set_init(bio, 1)
    SSL_set_bio(ssl, bio, bio)
    SSL_set_ex_data(ssl, 0, <void*>tls)
    return tls


cdef Tls tls_of(const SSL* ssl):
    return <Tls>SSL_get_ex_data(ssl, 0)


cdef class Tls:
    def __dealloc__(self):
        SSL_free(self.ssl)
        out_free(&self.wire.unsent)
        out_free(&self.held)

    cdef void attach(self, int fd) noexcept:
        self.wire.fd = fd

    cdef void feed(self, const char* data, size_t size) noexcept:
        self.wire.ahead, self.wire.ahead_size = data, size

    # --- the handshake ------------------------------------------------------------------------------------------------

    cdef int shake(self) noexcept:
        cdef int result
        if self.ssl == NULL:
            self.error, self.fault = "no key material for this context", FAULT_NOT_READY
            return SHAKE_FAILED
        result = SSL_do_handshake(self.ssl)
        if self.wire.ahead_size and out_size(&self.held) == 0:
            if out_append(&self.held, self.wire.ahead, self.wire.ahead_size) < 0:
                return SHAKE_FAILED
            self.wire.ahead = self.held.data
        if result == 1:
            self.shaken = True
            self.verified = self.verified or self.resumed()          # a ticket is of a session that was
            return SHAKE_DONE
        if SSL_want(self.ssl) == SSL_READING and BIO_should_read(SSL_get_rbio(self.ssl)):
            return SHAKE_READ
        if SSL_want(self.ssl) == SSL_WRITING and BIO_should_write(SSL_get_rbio(self.ssl)):
            return SHAKE_WRITE
        return self._failed()

    cdef int _failed(self) noexcept:
        cdef unsigned long code = ERR_peek_error()
        cdef long verdict = SSL_get_verify_result(self.ssl)
        self._end = END_CUT
        if self.fault == FAULT_OTHER:
            if self.wire.ended or code == 0:
                self.fault = FAULT_PEER_LEFT
            elif ERR_GET_REASON(code) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
                self.fault = FAULT_NO_CERTIFICATE
        if self.error == NULL:            # else it was said where it was found
            if verdict != X509_V_OK:
                self.error = X509_verify_cert_error_string(verdict)
            elif self.fault != FAULT_PEER_LEFT:
                self.error = ERR_reason_error_string(code)
            elif not self.shaken:
                self.error = "the peer closed the connection in the handshake"
        ERR_clear_error()
        return SHAKE_FAILED

    cdef bint resumed(self) noexcept:
        return SSL_session_reused(self.ssl) == 1

    cdef const char* version(self) noexcept:
        return SSL_get_version(self.ssl) + 4          # without "TLSv"

    cdef const char* cipher(self) noexcept:
        return SSL_CIPHER_get_name(SSL_get_current_cipher(self.ssl))

    cdef bint chose_h2(self) noexcept:
        cdef const unsigned char* name = NULL
        cdef unsigned int size = 0
        SSL_get0_alpn_selected(self.ssl, &name, &size)
        return size >= 2 and name[size - 1] == c'2' and name[size - 2] == c'h'       # h2, istio-h2

    # --- in -----------------------------------------------------------------------------------------------------------

    cdef ssize_t read(self, char* buffer, size_t size) noexcept:
        cdef size_t got = 0, total = 0
        self._dry = False
        while self._end == END_NOT:
            if SSL_read_ex(self.ssl, buffer + total, size - total, &got) != 1:
                return self._stop(total)
            total += got
            if self.wire.drained and not SSL_has_pending(self.ssl) or total == size:
                return total
        if self._end == END_CLOSED:
            return 0
        (&errno)[0] = ECONNRESET
        return -1

    cdef ssize_t _stop(self, ssize_t total) noexcept:
        """OpenSSL gave nothing more: for now, or for ever."""
        if SSL_want(self.ssl) == SSL_READING and BIO_should_read(SSL_get_rbio(self.ssl)):
            self._dry = True
            (&errno)[0] = EAGAIN
            return total if total else -1
        if SSL_get_error(self.ssl, 0) == SSL_ERROR_ZERO_RETURN:
            self._end = END_CLOSED
        else:
            self._failed()
            self.silent = True
        ERR_clear_error()
        if total:
            return total                  # has_more says that there is an end to be read
        (&errno)[0] = ECONNRESET
        return 0 if self._end == END_CLOSED else -1

    cdef bint has_more(self) noexcept:
        return self._end != END_NOT or not self._dry and SSL_has_pending(self.ssl)

    cdef bint quiet(self) noexcept:
        cdef char byte
        cdef size_t got = 0
        if self._end != END_NOT:
            return False
        if not SSL_has_pending(self.ssl) and c_recv(self.wire.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0:
            return errno == EAGAIN
        if SSL_peek_ex(self.ssl, &byte, 1, &got) == 1:
            return False
        self._stop(0)
        return self._end == END_NOT

    # --- out ----------------------------------------------------------------------------------------------------------

    cdef ssize_t write(self, const char* data, size_t size) noexcept:
        return self.write_two(data, size, NULL, 0)

    cdef ssize_t write_two(self, const char* first, size_t first_size, const char* second, size_t second_size) noexcept:
        global _gathered_size, _mark_count
        cdef size_t total = 0, step
        cdef ssize_t sent
        if self._end == END_CUT or self._deaf:
            (&errno)[0] = EPIPE
            return -1
        if out_size(&self.wire.unsent):
            sent = c_send(self.wire.fd, self.wire.unsent.data + self.wire.unsent.start, out_size(&self.wire.unsent),
                          MSG_NOSIGNAL | MSG_DONTWAIT)
            if sent < 0:
                return -1
            out_consume(&self.wire.unsent, sent)
            if out_size(&self.wire.unsent):
                (&errno)[0] = EAGAIN
                return -1
        total, self.owed = self.owed, 0   # those left just now
        if total > first_size + second_size:
            total = first_size + second_size
        while total < first_size + second_size:
            _gathered_size, _mark_count = 0, 0
            step = 0
            if total < first_size:
                step = self._encrypt(first + total, first_size - total, 0)
            if total + step >= first_size:
                step += self._encrypt(second + (total + step - first_size), first_size + second_size - total - step, step)
            if step == 0:
                self._failed()
                (&errno)[0] = EPIPE
                return total if total else -1
            sent = self._push()
            if sent < 0:
                return total if total else -1
            total += sent
            if <size_t>sent < step:
                self.owed = step - sent
                (&errno)[0] = EAGAIN
                return total if total else -1
        return total

    cdef size_t _encrypt(self, const char* data, size_t size, size_t before) noexcept:
        """Records of data[0:size] into what is gathered; the bytes that found room. `before`: those that were gathered already."""
        global _mark_count
        cdef size_t done = 0, took = 0
        self.wire.gathering = True
        while done < size and _mark_count < RECORDS:
            took = size - done
            if SSL_write_ex(self.ssl, data + done, took if took < RECORD else RECORD, &took) != 1:
                break
            done += took
            _marks[_mark_count].encrypted, _marks[_mark_count].plain = _gathered_size, before + done
            _mark_count += 1
        self.wire.gathering = False
        return done

    cdef ssize_t _push(self) noexcept:
        """Send what is gathered. The plain bytes of the records that left whole; the rest waits, encrypted."""
        cdef int i
        cdef ssize_t sent = c_send(self.wire.fd, _gathered, _gathered_size, MSG_NOSIGNAL | MSG_DONTWAIT)
        cdef size_t plain = 0
        if sent == <ssize_t>_gathered_size:
            return _marks[_mark_count - 1].plain
        if sent < 0:
            if errno != EAGAIN and errno != EINTR:
                self._deaf = self.silent = True
                return -1
            sent = 0
        for i in range(_mark_count):
            if _marks[i].encrypted <= <size_t>sent:
                plain = _marks[i].plain
        if out_append(&self.wire.unsent, _gathered + sent, _gathered_size - sent) < 0:
            self._deaf = self.silent = True
            (&errno)[0] = ENOMEM
            return -1
        return plain

    cdef void say_goodbye(self) noexcept:
        if self.shaken and not self.silent and self._end != END_CUT:
            if SSL_shutdown(self.ssl) < 0:
                ERR_clear_error()
