/* What both load generators share: their modes and options, the clock, the counts and what they print. Modes:
     closed   N kept connections, each sends its next request when the answer is complete
     close    the same, but every request opens a connection of its own (HTTP/1.1 only)
     open     requests leave by a clock, RATE a second, whatever the answers do; latency counts from the intended time
     hold     N connections make one request each and then stay idle until standard input closes
   "begin" is printed when the warm-up is over (hold: when all are idle), and one JSON object at the end. */
#ifndef BENCH_GENERATOR_H
#define BENCH_GENERATOR_H
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "histogram.h"

enum mode { CLOSED, CLOSE, OPEN, HOLD };
enum { EVENTS = 256, WAVE = 64, SOURCES = 16, MOST_REFUSED = 1000 };

static const char *const mode_names[] = {"closed", "close", "open", "hold"};
static enum mode mode;
static struct sockaddr_in target;
static const char *path = "/small", *host = "bench";
static int connections = 64, hosts = 1, streams = 32, over_tls, resume, is_grpc;
static double rate = 5000, warmup = 1, duration = 5;
static int poll_fd;
static histogram latency;
static uint64_t done, bytes, due_number, start_at, started, opened;
static uint64_t bad_status, broken, refused, reopened, handshakes, resumed;
static int counting, stopping;

static inline uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static inline uint64_t due_at(uint64_t number) { return start_at + (uint64_t)((double)number * 1e9 / rate); }

static inline void fail(const char *why)
{
    fprintf(stderr, "load: %s\n", why);
    exit(1);
}

/* A socket on its way to the proxy; in modes of many connections its source moves on, so that ports never run out. -1: refused. */
static inline int connect_out(int *under_way)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0) { perror("load: socket"); exit(1); }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (mode == CLOSE || mode == HOLD) {
        struct sockaddr_in from = {.sin_family = AF_INET};
        from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (unsigned)(opened++ % SOURCES));
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(fd, (struct sockaddr *)&from, sizeof from)) { perror("load: bind"); exit(1); }
    }
    *under_way = connect(fd, (struct sockaddr *)&target, sizeof target) != 0;
    return fd;
}

static inline int socket_error(int fd)
{
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return error;
}

static inline void watch(int fd, uint32_t events, int what, uint32_t number)
{
    struct epoll_event e = {.events = events, .data.u32 = number};
    epoll_ctl(poll_fd, what, fd, &e);
}

static void turn(int64_t wait_ns);
static void send_due(void);
static int may_send(void);   /* open: is there a free place for a request */
static uint64_t idle_now(void);

static inline void run_until(uint64_t end)
{
    for (uint64_t now = now_ns(); now < end; now = now_ns()) {
        uint64_t wake = end;
        if (mode == OPEN) {
            send_due();
            if (may_send() && due_at(due_number) < wake) wake = due_at(due_number);
            now = now_ns();
        }
        turn(wake > now ? (int64_t)(wake - now) : 0);
    }
}

static inline void begin(void)
{
    counting = 1;
    done = bytes = bad_status = broken = refused = reopened = handshakes = resumed = 0;
    started = now_ns();
    printf("begin\n");
    fflush(stdout);
}

static inline void report(double seconds, uint64_t requests, uint64_t held)
{
    printf("{\"mode\": \"%s\", \"seconds\": %.6f, \"requests\": %lu, \"bytes\": %lu, \"bad_status\": %lu, \"broken\": %lu, "
           "\"refused\": %lu, \"reopened\": %lu, \"handshakes\": %lu, \"resumed\": %lu, \"held\": %lu, \"late\": %.0f, "
           "\"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f}\n",
           mode_names[mode], seconds, requests, bytes, bad_status, broken, refused, reopened, handshakes, resumed, held,
           mode == OPEN ? rate * seconds - (double)latency.total : 0.0, percentile_us(&latency, 0.5), percentile_us(&latency, 0.99),
           percentile_us(&latency, 0.999), (double)latency.highest / 1000.0);
}

/* All connections stand, and have made their one request: wait until the bench closes our standard input. */
static inline void hold(void)
{
    uint64_t made = done, limit = now_ns() + (uint64_t)(duration * 1e9);
    printf("begin\n");
    fflush(stdout);
    struct pollfd quit = {.fd = 0, .events = POLLIN};
    while (now_ns() < limit && poll(&quit, 1, 0) == 0) turn(10000000);
    report(0.0, made, idle_now());
}

static inline void measure(void)
{
    run_until(now_ns() + (uint64_t)(warmup * 1e9));
    if (!done) fail("no answer in the warm-up");
    begin();
    run_until(started + (uint64_t)(duration * 1e9));
    stopping = 1;
    report((double)(now_ns() - started) / 1e9, done, 0);
}

static inline void usage(void)
{
    fprintf(stderr, "usage: %s closed|close|open|hold PORT [-c connections] [-m streams] [-r rate] [-w warmup] [-d duration] "
                    "[-p path] [-H host] [-n hosts] [-T (TLS)] [-R (resume)] [-g (gRPC)]\n", program_invocation_short_name);
    exit(64);
}

static inline void options(int argc, char **argv)
{
    int i = 0, option;
    if (argc < 3) usage();
    while (i < 4 && strcmp(argv[1], mode_names[i])) i++;
    if (i == 4) usage();
    mode = (enum mode)i;
    target = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[2])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    optind = 3;
    while ((option = getopt(argc, argv, "c:m:r:w:d:p:H:n:TRg")) != -1) {
        if (option == 'c') connections = atoi(optarg);
        else if (option == 'm') streams = atoi(optarg);
        else if (option == 'r') rate = atof(optarg);
        else if (option == 'w') warmup = atof(optarg);
        else if (option == 'd') duration = atof(optarg);
        else if (option == 'p') path = optarg;
        else if (option == 'H') host = optarg;
        else if (option == 'n') hosts = atoi(optarg);
        else if (option == 'T') over_tls = 1;
        else if (option == 'R') resume = 1;
        else if (option == 'g') is_grpc = 1;
        else usage();
    }
    if (connections < 1 || connections > 19000 || hosts < 1 || hosts > 1000000 || streams < 1 || streams > 1000 || rate <= 0) usage();
    prctl(PR_SET_TIMERSLACK, 1000);
    poll_fd = epoll_create1(0);
    start_at = now_ns();
}
#endif
