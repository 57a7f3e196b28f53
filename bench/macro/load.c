/* The load generator of the bench: one thread, epoll, HTTP/1.1 GET on loopback. Four modes:
     closed   N keep-alive connections, each sends its next request when the answer is complete
     close    the same, but every request opens a connection of its own (Connection: close)
     open     requests leave by a clock, RATE a second, whatever the answers do; latency counts from the intended time
     hold     N connections make one request each and then stay idle until standard input closes
   It prints "begin" when the warm-up is over (hold: when all are idle) and one JSON object at the end.
   Big bodies are dropped in the kernel (MSG_TRUNC), so the client's copy never is what limits a proxy. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "histogram.h"

enum { EVENTS = 256, SCRATCH = 1 << 18, PART = 2048, WAVE = 64, SOURCES = 16 };
enum mode { CLOSED, CLOSE, OPEN, HOLD };
enum state { GONE, CONNECTING, IDLE, WAITING, BODY };

typedef struct {
    int fd;
    enum state state;
    int in_ring;         /* of those that wait for their time */
    unsigned kept;       /* bytes of a response head that came in parts */
    int64_t remaining;   /* of the body */
    uint64_t intended;
    char *part;
} conn;

static enum mode mode;
static struct sockaddr_in target;
static const char *path = "/small", *host = "bench";
static int connections = 64, hosts = 1;
static double rate = 5000, warmup = 1, duration = 5;
static conn *conns;
static char **requests;
static unsigned *request_lengths;
static int poll_fd;
static char scratch[SCRATCH];
static histogram latency;
static int *idle_ring, idle_head, idle_count;
static uint64_t done, bytes, due_number, start_at, started;
static uint64_t bad_status, broken, refused, reopened, opened;
static int counting, stopping;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static unsigned pick_request(void)
{
    static uint64_t x = 88172645463325252ull;
    if (hosts == 1) return 0;
    x ^= x << 13; x ^= x >> 7; x ^= x << 17;
    return (unsigned)(x % (unsigned)hosts);
}

static void open_conn(conn *c);

static void reopen(conn *c)
{
    close(c->fd);
    c->state = GONE;
    c->kept = 0;
    if (!stopping) open_conn(c);
}

static void lost(conn *c)
{
    if (c->state == CONNECTING) refused++;
    else if (c->state == WAITING || c->state == BODY) broken++;
    else reopened++;
    if (refused > 1000) { fprintf(stderr, "load: the proxy refuses connections\n"); exit(1); }
    if (mode == HOLD) { close(c->fd); c->state = GONE; return; }
    reopen(c);
}

static void send_request(conn *c, uint64_t intended)
{
    unsigned i = pick_request();
    c->intended = intended;
    c->state = WAITING;
    if (send(c->fd, requests[i], request_lengths[i], MSG_NOSIGNAL) != (ssize_t)request_lengths[i]) lost(c);
}

static uint64_t due_at(uint64_t number) { return start_at + (uint64_t)((double)number * 1e9 / rate); }

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

static void open_conn(conn *c)
{
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) { perror("load: socket"); exit(1); }
    if (mode != CLOSE) setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (mode == CLOSE || mode == HOLD) {   /* many connections: spread them over sources, so that ports never run out */
        struct sockaddr_in from = {.sin_family = AF_INET};
        from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (unsigned)(opened++ % SOURCES));
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(c->fd, (struct sockaddr *)&from, sizeof from)) { perror("load: bind"); exit(1); }
    }
    int failed = connect(c->fd, (struct sockaddr *)&target, sizeof target);
    struct epoll_event e = {.events = failed ? EPOLLOUT : EPOLLIN, .data.u32 = (uint32_t)(c - conns)};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &e);
    c->state = CONNECTING;
    if (!failed) { if (mode == HOLD) send_request(c, 0); else became_free(c); }
    else if (errno != EINPROGRESS) lost(c);
}

static void connected(conn *c)
{
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) { lost(c); return; }
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = (uint32_t)(c - conns)};
    epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &e);
    if (mode == HOLD) send_request(c, 0); else became_free(c);
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

static void take_head(conn *c)
{
    unsigned have = c->kept;
    if (have) memcpy(scratch, c->part, have);
    ssize_t n = recv(c->fd, scratch + have, 16384, 0);
    if (n <= 0) { if (n == 0 || errno != EAGAIN) lost(c); return; }
    if (c->state != WAITING) { lost(c); return; }   /* an answer that nobody asked for */
    bytes += (uint64_t)n;
    have += (unsigned)n;
    scratch[have] = 0;
    char *end = memmem(scratch, have, "\r\n\r\n", 4);
    if (!end) {
        if (have >= PART) { broken++; reopen(c); return; }
        if (!c->part) c->part = malloc(PART);
        memcpy(c->part, scratch, c->kept = have);
        return;
    }
    c->kept = 0;
    if (strncmp(scratch + 9, "200", 3)) bad_status++;
    int64_t length = content_length(scratch, end);
    if (length < 0) { fprintf(stderr, "load: an answer without Content-Length:\n%.600s\n", scratch); exit(1); }
    c->remaining = length - (int64_t)(have - (unsigned)(end + 4 - scratch));
    if (c->remaining > 0) c->state = BODY;
    else if (c->remaining < 0) { broken++; reopen(c); }
    else complete(c);
}

static void take_body(conn *c)
{
    ssize_t n = recv(c->fd, scratch, c->remaining < SCRATCH ? (size_t)c->remaining : SCRATCH, MSG_TRUNC);
    if (n <= 0) { if (n == 0 || errno != EAGAIN) lost(c); return; }
    bytes += (uint64_t)n;
    c->remaining -= n;
    if (!c->remaining) complete(c);
}

static void turn(int64_t wait_ns)
{
    struct epoll_event ready[EVENTS];
    struct timespec wait = {wait_ns / 1000000000, wait_ns % 1000000000};
    int n = epoll_pwait2(poll_fd, ready, EVENTS, &wait, NULL);
    for (int i = 0; i < n; i++) {
        conn *c = &conns[ready[i].data.u32];
        if (c->state == CONNECTING) connected(c);
        else if (c->state == BODY) take_body(c);
        else if (c->state != GONE) take_head(c);
    }
}

static void run_until(uint64_t end)
{
    for (uint64_t now = now_ns(); now < end; now = now_ns()) {
        uint64_t wake = end;
        if (mode == OPEN) {
            send_due();
            if (idle_count && due_at(due_number) < wake) wake = due_at(due_number);
            now = now_ns();
        }
        turn(wake > now ? (int64_t)(wake - now) : 0);
    }
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

static void begin(void)
{
    counting = 1;
    done = bytes = bad_status = broken = refused = reopened = 0;
    started = now_ns();
    printf("begin\n");
    fflush(stdout);
}

static void hold(void)
{
    uint64_t made = done;
    printf("begin\n");
    fflush(stdout);
    struct pollfd quit = {.fd = 0, .events = POLLIN};
    uint64_t limit = now_ns() + (uint64_t)(duration * 1e9);
    while (now_ns() < limit && poll(&quit, 1, 0) == 0) turn(10000000);
    uint64_t kept = 0;
    for (int i = 0; i < connections; i++) kept += conns[i].state == IDLE;
    printf("{\"mode\": \"hold\", \"requests\": %lu, \"held\": %lu, \"bad_status\": %lu, \"broken\": %lu, \"refused\": %lu, \"reopened\": 0}\n",
           made, kept, bad_status, broken, refused);
}

static void report(void)
{
    double seconds = (double)(now_ns() - started) / 1e9;
    printf("{\"mode\": \"%s\", \"seconds\": %.6f, \"requests\": %lu, \"bytes\": %lu, \"bad_status\": %lu, \"broken\": %lu, "
           "\"refused\": %lu, \"reopened\": %lu, \"late\": %.0f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f}\n",
           mode == OPEN ? "open" : mode == CLOSE ? "close" : "closed", seconds, done, bytes, bad_status, broken, refused, reopened,
           mode == OPEN ? rate * seconds - (double)latency.total : 0.0, percentile_us(&latency, 0.5), percentile_us(&latency, 0.99),
           percentile_us(&latency, 0.999), (double)latency.highest / 1000.0);
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

static void usage(void)
{
    fprintf(stderr, "usage: load closed|close|open|hold PORT [-c connections] [-r rate] [-w warmup] [-d duration] [-p path] "
                    "[-H host] [-n hosts]\n");
    exit(64);
}

static void options(int argc, char **argv)
{
    static const char *const names[] = {"closed", "close", "open", "hold"};
    int i = 0, option;
    if (argc < 3) usage();
    while (i < 4 && strcmp(argv[1], names[i])) i++;
    if (i == 4) usage();
    mode = (enum mode)i;
    target = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[2])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    optind = 3;
    while ((option = getopt(argc, argv, "c:r:w:d:p:H:n:")) != -1) {
        if (option == 'c') connections = atoi(optarg);
        else if (option == 'r') rate = atof(optarg);
        else if (option == 'w') warmup = atof(optarg);
        else if (option == 'd') duration = atof(optarg);
        else if (option == 'p') path = optarg;
        else if (option == 'H') host = optarg;
        else if (option == 'n') hosts = atoi(optarg);
        else usage();
    }
    if (connections < 1 || connections > 19000 || hosts < 1 || hosts > 1000000 || rate <= 0) usage();
}

int main(int argc, char **argv)
{
    options(argc, argv);
    prctl(PR_SET_TIMERSLACK, 1000);
    make_requests();
    conns = calloc((size_t)connections, sizeof *conns);
    idle_ring = calloc((size_t)connections, sizeof *idle_ring);
    poll_fd = epoll_create1(0);
    start_at = now_ns();
    open_all();
    if (mode == HOLD) { hold(); return 0; }
    run_until(now_ns() + (uint64_t)(warmup * 1e9));
    if (!done) { fprintf(stderr, "load: no answer in the warm-up\n"); return 1; }
    begin();
    run_until(started + (uint64_t)(duration * 1e9));
    stopping = 1;
    report();
    return 0;
}
