/* The HTTP/1.1 load generator of the bench: one thread, epoll, GET on loopback, plaintext or TLS 1.3 (generator.h has its
   modes and options). Big plaintext bodies are dropped in the kernel (MSG_TRUNC), so the client's copy never is what limits
   a proxy. With TLS every client offers one cipher and one group, so that all proxies do the same work. */
#define _GNU_SOURCE
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <strings.h>

#include "generator.h"

enum { SCRATCH = 1 << 18, HEAD = 16384, PART = 2048 };
enum state { GONE, CONNECTING, SHAKING, IDLE, WAITING, BODY };

typedef struct {
    int fd;
    enum state state;
    int in_ring;         /* of those that wait for their time */
    unsigned kept;       /* bytes of a response head that came in parts */
    int64_t remaining;   /* of the body */
    uint64_t intended;
    char *part;
    SSL *ssl;
    SSL_SESSION *session;   /* the last ticket, for the next connection in this place */
} conn;

static conn *conns;
static char **requests;
static unsigned *request_lengths;
static char scratch[SCRATCH];
static int *idle_ring, idle_head, idle_count;
static SSL_CTX *context;

static unsigned pick_request(void)
{
    static uint64_t x = 88172645463325252ull;
    if (hosts == 1) return 0;
    x ^= x << 13; x ^= x >> 7; x ^= x << 17;
    return (unsigned)(x % (unsigned)hosts);
}

static void open_conn(conn *c);

static void drop(conn *c)
{
    if (c->ssl) {
        SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);   /* the session stays good without the farewell */
        SSL_free(c->ssl);
        c->ssl = NULL;
    }
    close(c->fd);
    c->state = GONE;
    c->kept = 0;
}

static void reopen(conn *c)
{
    drop(c);
    if (!stopping) open_conn(c);
}

static void lost(conn *c)
{
    if (c->state == CONNECTING || c->state == SHAKING) refused++;
    else if (c->state == WAITING || c->state == BODY) broken++;
    else reopened++;
    if (refused > MOST_REFUSED) fail("the proxy refuses connections");
    if (mode == HOLD) drop(c);
    else reopen(c);
}

/* recv or its like; -1 with EAGAIN when there is nothing, 0 or -1 when the connection is over */
static ssize_t pull(conn *c, void *to, size_t room, int flags)
{
    if (!c->ssl) return recv(c->fd, to, room, flags);
    int n = SSL_read(c->ssl, to, (int)room);
    if (n > 0) return n;
    errno = SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_READ ? EAGAIN : ECONNRESET;
    ERR_clear_error();
    return -1;
}

static ssize_t push(conn *c, const char *from, unsigned length)
{
    if (!c->ssl) return send(c->fd, from, length, MSG_NOSIGNAL);
    return SSL_write(c->ssl, from, (int)length);
}

static void send_request(conn *c, uint64_t intended)
{
    unsigned i = pick_request();
    c->intended = intended;
    c->state = WAITING;
    if (push(c, requests[i], request_lengths[i]) != (ssize_t)request_lengths[i]) lost(c);
}

/* the connection has nothing under way: give it the next request or let it wait for one */
static void became_free(conn *c)
{
    c->state = IDLE;
    if (stopping) return;
    if (mode == CLOSED || mode == CLOSE) { send_request(c, 0); return; }
    if (mode == HOLD) return;
    if (due_at(due_number) <= now_ns()) { send_request(c, due_at(due_number)); due_number++; return; }
    if (c->in_ring) return;
    c->in_ring = 1;
    idle_ring[(idle_head + idle_count++) % connections] = (int)(c - conns);
}

static int may_send(void) { return idle_count; }

static void send_due(void)
{
    uint64_t now = now_ns();
    while (idle_count && due_at(due_number) <= now) {
        conn *c = &conns[idle_ring[idle_head]];
        idle_head = (idle_head + 1) % connections;
        idle_count--;
        c->in_ring = 0;
        if (c->state != IDLE) continue;   /* it was lost while it waited, and is on its way back */
        send_request(c, due_at(due_number));
        due_number++;
    }
}

static void ready_to_ask(conn *c)
{
    if (mode == HOLD) send_request(c, 0);
    else became_free(c);
}

static void shake(conn *c)
{
    int n = SSL_connect(c->ssl);
    if (n == 1) {
        handshakes++;
        resumed += (uint64_t)SSL_session_reused(c->ssl);
        ready_to_ask(c);
    } else if (SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ) {
        if (!refused) ERR_print_errors_fp(stderr);
        ERR_clear_error();
        lost(c);
    }
}

static void start_tls(conn *c)
{
    c->ssl = SSL_new(context);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_app_data(c->ssl, c);
    SSL_set_tlsext_host_name(c->ssl, host);
    if (resume && c->session) SSL_set_session(c->ssl, c->session);
    c->state = SHAKING;
    shake(c);
}

static void stands(conn *c)
{
    if (over_tls) start_tls(c);
    else ready_to_ask(c);
}

static void open_conn(conn *c)
{
    int under_way;
    c->fd = connect_out(&under_way);
    c->state = CONNECTING;
    watch(c->fd, under_way ? EPOLLOUT : EPOLLIN, EPOLL_CTL_ADD, (uint32_t)(c - conns));
    if (!under_way) stands(c);
    else if (errno != EINPROGRESS) lost(c);
}

static void connected(conn *c)
{
    if (socket_error(c->fd)) { lost(c); return; }
    watch(c->fd, EPOLLIN, EPOLL_CTL_MOD, (uint32_t)(c - conns));
    stands(c);
}

static void complete(conn *c)
{
    done++;
    if (counting && mode == OPEN) record(&latency, now_ns() - c->intended);
    if (mode == CLOSE) { c->state = IDLE; reopen(c); }
    else became_free(c);
}

static int64_t content_length(const char *head, const char *end)
{
    for (const char *line = head; line && line < end; line = memchr(line, '\n', (size_t)(end - line))) {
        if (*line == '\n') line++;
        if ((*line | 32) == 'c' && !strncasecmp(line, "content-length:", 15)) return atoll(line + 15);
    }
    return -1;
}

/* take_head and take_body: 1 when there may be more to read at once */
static int take_head(conn *c)
{
    unsigned have = c->kept;
    if (have) memcpy(scratch, c->part, have);
    ssize_t n = pull(c, scratch + have, HEAD, 0);
    if (n <= 0) { if (n == 0 || errno != EAGAIN) lost(c); return 0; }
    if (c->state != WAITING) { lost(c); return 0; }   /* an answer that nobody asked for */
    bytes += (uint64_t)n;
    have += (unsigned)n;
    scratch[have] = 0;
    char *end = memmem(scratch, have, "\r\n\r\n", 4);
    if (!end) {
        if (have >= PART) { broken++; reopen(c); return 0; }
        if (!c->part) c->part = malloc(PART);
        memcpy(c->part, scratch, c->kept = have);
        return 1;
    }
    c->kept = 0;
    if (strncmp(scratch + 9, "200", 3)) bad_status++;
    int64_t length = content_length(scratch, end);
    if (length < 0) { fprintf(stderr, "load: an answer without Content-Length:\n%.600s\n", scratch); exit(1); }
    c->remaining = length - (int64_t)(have - (unsigned)(end + 4 - scratch));
    if (c->remaining > 0) { c->state = BODY; return 1; }
    if (c->remaining < 0) { broken++; reopen(c); }
    else complete(c);
    return 0;
}

static int take_body(conn *c)
{
    ssize_t n = pull(c, scratch, c->remaining < SCRATCH ? (size_t)c->remaining : SCRATCH, MSG_TRUNC);
    if (n <= 0) { if (n == 0 || errno != EAGAIN) lost(c); return 0; }
    bytes += (uint64_t)n;
    c->remaining -= n;
    if (c->remaining) return 1;
    complete(c);
    return 0;
}

static void turn(int64_t wait_ns)
{
    struct epoll_event ready[EVENTS];
    struct timespec wait = {wait_ns / 1000000000, wait_ns % 1000000000};
    int n = epoll_pwait2(poll_fd, ready, EVENTS, &wait, NULL);
    for (int i = 0; i < n; i++) {
        conn *c = &conns[ready[i].data.u32];
        int more = 0;
        if (c->state == CONNECTING) connected(c);
        else if (c->state == SHAKING) shake(c);
        else if (c->state == BODY) more = take_body(c);
        else if (c->state != GONE) more = take_head(c);
        while (more && c->ssl && SSL_has_pending(c->ssl))   /* bytes that the kernel does not have any more */
            more = c->state == BODY ? take_body(c) : take_head(c);
    }
}

static uint64_t idle_now(void)
{
    uint64_t kept = 0;
    for (int i = 0; i < connections; i++) kept += conns[i].state == IDLE;
    return kept;
}

static void open_all(void)
{
    uint64_t limit = now_ns() + 60ull * 1000000000ull;
    for (int i = 0; i < connections; i++) {
        open_conn(&conns[i]);
        while (mode == HOLD && now_ns() < limit && done + broken + refused + WAVE < (uint64_t)i) turn(1000000);
    }
    while (mode == HOLD && done + broken + refused < (uint64_t)connections && now_ns() < limit) turn(1000000);
}

static void make_requests(void)
{
    requests = calloc((size_t)hosts, sizeof *requests);
    request_lengths = calloc((size_t)hosts, sizeof *request_lengths);
    for (int i = 0; i < hosts; i++) {
        char name[300];
        if (hosts == 1) snprintf(name, sizeof name, "%s", host);
        else snprintf(name, sizeof name, "h%05d.%s", i, host);
        request_lengths[i] = (unsigned)asprintf(&requests[i], "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\n%s\r\n",
                                                path, name, mode == CLOSE ? "Connection: close\r\n" : "");
    }
}

static int keep_ticket(SSL *ssl, SSL_SESSION *session)
{
    conn *c = SSL_get_app_data(ssl);
    SSL_SESSION_free(c->session);
    c->session = session;
    return 1;
}

static void make_context(void)
{
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    if (!SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") || !SSL_CTX_set1_groups_list(context, "X25519")) fail("OpenSSL");
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    if (!resume) return;
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep_ticket);
}

int main(int argc, char **argv)
{
    options(argc, argv);
    make_requests();
    if (over_tls) make_context();
    conns = calloc((size_t)connections, sizeof *conns);
    idle_ring = calloc((size_t)connections, sizeof *idle_ring);
    open_all();
    if (mode == HOLD) hold();
    else measure();
    return 0;
}
