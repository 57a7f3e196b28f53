/* The application behind every proxy: it answers GET /small, /10k and /1m from ready-made bytes, one send each (big
   bodies leave a memfd through sendfile), so that it never is what the bench measures. One thread, epoll, loopback.
   usage: upstream PORT      stops on SIGTERM or when its standard input closes */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FD = 20000, EVENTS = 256, CHUNK = 65536, KEPT = 4096 };

typedef struct {
    char *bytes;  /* head and, for bodies that fit one send, the body */
    size_t length;
    off_t file;   /* bytes that follow from the memfd */
} answer;

typedef struct {
    const answer *current;
    size_t sent;       /* of current->bytes */
    off_t file_sent;
    unsigned queued;   /* pipelined requests that wait behind the current one (all for the same path) */
    unsigned kept;     /* bytes of a head that came in parts */
    char *part;
    unsigned char waits_to_write;
} client;

static client *clients[MAX_FD];
static answer small, ten_k, one_m;
static int poll_fd, body_fd;
static char scratch[CHUNK];

static void make_answer(answer *a, size_t body, int from_file)
{
    a->bytes = malloc(256 + (from_file ? 0 : body));
    int head = sprintf(a->bytes, "HTTP/1.1 200 OK\r\nServer: app\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", body);
    if (!from_file) memset(a->bytes + head, 'x', body);
    a->length = (size_t)head + (from_file ? 0 : body);
    a->file = from_file ? (off_t)body : 0;
}

static void watch(int fd, int write)
{
    if (clients[fd]->waits_to_write == write) return;
    clients[fd]->waits_to_write = (unsigned char)write;
    struct epoll_event e = {.events = write ? EPOLLOUT : EPOLLIN, .data.fd = fd};
    epoll_ctl(poll_fd, EPOLL_CTL_MOD, fd, &e);
}

static void forget(int fd)
{
    close(fd);
    free(clients[fd]->part);
    free(clients[fd]);
    clients[fd] = NULL;
}

/* 1: all sent, 0: the socket is full, -1: the peer is gone */
static int push(int fd, client *c)
{
    const answer *a = c->current;
    while (c->sent < a->length) {
        ssize_t n = send(fd, a->bytes + c->sent, a->length - c->sent, MSG_NOSIGNAL | (a->file ? MSG_MORE : 0));
        if (n < 0) return errno == EAGAIN ? 0 : -1;
        c->sent += (size_t)n;
    }
    while (c->file_sent < a->file) {
        ssize_t n = sendfile(fd, body_fd, &c->file_sent, (size_t)(a->file - c->file_sent));
        if (n < 0) return errno == EAGAIN ? 0 : -1;
        if (n == 0) return -1;
    }
    return 1;
}

static void serve(int fd, client *c)
{
    while (c->queued) {
        int done = push(fd, c);
        if (done < 0) { forget(fd); return; }
        if (done == 0) { watch(fd, 1); return; }
        c->queued--;
        c->sent = 0;
        c->file_sent = 0;
    }
    watch(fd, 0);
}

static const answer *choose(const char *head)
{
    const char *path = strchr(head, ' ');
    if (path && !strncmp(path, " /10k", 5)) return &ten_k;
    if (path && !strncmp(path, " /1m", 4)) return &one_m;
    return &small;
}

static void keep(client *c, const char *bytes, size_t n)
{
    if (!c->part) c->part = malloc(KEPT);
    c->kept = n < KEPT ? (unsigned)n : 0;
    memcpy(c->part, bytes, c->kept);
}

static void take(int fd, client *c)
{
    size_t have = c->kept;
    if (have) memcpy(scratch, c->part, have);
    ssize_t n = recv(fd, scratch + have, CHUNK - have - 1, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) forget(fd);
        return;
    }
    have += (size_t)n;
    scratch[have] = 0;
    c->kept = 0;
    char *at = scratch, *end;
    while ((end = memmem(at, have - (size_t)(at - scratch), "\r\n\r\n", 4))) {
        c->current = choose(at);
        c->queued++;
        at = end + 4;
    }
    if (at < scratch + have) keep(c, at, have - (size_t)(at - scratch));
    if (c->queued) serve(fd, c);
}

static void accept_all(int listener)
{
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_FD) { close(fd); continue; }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        clients[fd] = calloc(1, sizeof(client));
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &e);
    }
}

static int listen_on(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 4096)) { perror("upstream"); exit(1); }
    return fd;
}

static void make_answers(void)
{
    make_answer(&small, 13, 0);
    make_answer(&ten_k, 10240, 0);
    make_answer(&one_m, 1 << 20, 1);
    body_fd = memfd_create("body", 0);
    memset(scratch, 'x', CHUNK);
    for (int i = 0; i < (1 << 20) / CHUNK; i++)
        if (write(body_fd, scratch, CHUNK) != CHUNK) exit(1);
}

int main(int argc, char **argv)
{
    if (argc != 2) { fprintf(stderr, "usage: upstream PORT\n"); return 64; }
    signal(SIGPIPE, SIG_IGN);   /* sendfile knows no MSG_NOSIGNAL */
    make_answers();
    int listener = listen_on(atoi(argv[1]));
    poll_fd = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = listener}, ready[EVENTS];
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &e);
    e.data.fd = 0;
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, 0, &e);
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(poll_fd, ready, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (fd == 0) return 0;
            if (fd == listener) accept_all(listener);
            else if (!clients[fd]) continue;
            else if (clients[fd]->waits_to_write) serve(fd, clients[fd]);
            else take(fd, clients[fd]);
        }
    }
}
