/* The HTTP/2 application behind the proxies: every request gets the same small answer, "grpc" as a unary call with
   trailers. It reads of a request no more than where it ends, gathers the answers to all that one read brought into one
   send, and keeps to the peer's windows. One thread, epoll, loopback, prior knowledge.
   usage: upstream_h2 PORT plain|grpc STREAMS     stops on SIGTERM or when its standard input closes */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "h2.h"

enum { MAX_FD = 20000, EVENTS = 256, CHUNK = 1 << 17, BLOCK = 128, REPLENISH = 1 << 28 };

typedef struct {
    gather out;
    int greeted, blocked;     /* the preface was there; the socket was full */
    int indexes, indexed;     /* the peer keeps a table of ours; our fields are in it */
    int64_t window;           /* what the peer lets us send on this connection */
    uint64_t consumed;
    uint32_t *waiting;        /* streams whose answers the window does not let go, a queue */
    unsigned waiting_head, waiting_count, waiting_room;
    unsigned kept;            /* bytes of a frame that came in parts */
    unsigned char *part;
} client;

static client *clients[MAX_FD];
static int poll_fd, is_grpc;
static unsigned most_streams, body_length;
static unsigned char scratch[CHUNK], body[5 + MESSAGE];
/* [0] literals that are not indexed, [1] literals that are, [2] by their numbers */
static unsigned char head_block[3][BLOCK], trailer_block[3][BLOCK];
static unsigned head_length[3], trailer_length[3];

static void make_blocks(void)
{
    for (int index = 0; index < 2; index++) {
        unsigned char *p = head_block[index];
        unsigned n = 0;
        p[n++] = 0x88;   /* :status 200 */
        if (!is_grpc) n += put_field(p + n, index, 54, "server", "app");
        n += put_field(p + n, index, 31, "content-type", is_grpc ? "application/grpc" : "text/plain");
        if (!is_grpc) n += put_field(p + n, index, 28, "content-length", "13");
        head_length[index] = n;
        trailer_length[index] = put_field(trailer_block[index], index, 0, "grpc-status", "0");
    }
    static const unsigned char plain[] = {0x88, 0xc0, 0xbf, 0xbe}, call[] = {0x88, 0xbf}, status[] = {0xbe};
    head_length[2] = is_grpc ? sizeof call : sizeof plain;
    memcpy(head_block[2], is_grpc ? call : plain, head_length[2]);
    trailer_length[2] = sizeof status;
    memcpy(trailer_block[2], status, sizeof status);
    if (is_grpc) body[4] = MESSAGE;   /* not compressed, 13 bytes follow */
    body_length = is_grpc ? 5 + MESSAGE : MESSAGE;
    memset(body + body_length - MESSAGE, 'x', MESSAGE);
}

static void forget(int fd)
{
    client *c = clients[fd];
    close(fd);
    free(c->out.bytes);
    free(c->waiting);
    free(c->part);
    free(c);
    clients[fd] = NULL;
}

static void answer(client *c, uint32_t stream)
{
    int form = c->indexed ? 2 : c->indexes;
    put_frame(&c->out, HEADERS, END_HEADERS, stream, head_block[form], head_length[form]);
    put_frame(&c->out, DATA, is_grpc ? 0 : END_STREAM, stream, body, body_length);
    if (is_grpc) put_frame(&c->out, HEADERS, END_HEADERS | END_STREAM, stream, trailer_block[form], trailer_length[form]);
    c->window -= body_length;
    c->indexed = c->indexes;
}

static void queue(client *c, uint32_t stream)
{
    if (c->waiting_count == c->waiting_room) {   /* unroll the ring into a larger one */
        uint32_t *larger = malloc(sizeof *larger * (c->waiting_room * 2 + 64));
        for (unsigned i = 0; i < c->waiting_count; i++) larger[i] = c->waiting[(c->waiting_head + i) % c->waiting_room];
        free(c->waiting);
        c->waiting = larger;
        c->waiting_head = 0;
        c->waiting_room = c->waiting_room * 2 + 64;
    }
    c->waiting[(c->waiting_head + c->waiting_count++) % c->waiting_room] = stream;
}

static void request_ended(client *c, uint32_t stream)
{
    if (!c->waiting_count && c->window >= body_length) answer(c, stream);
    else queue(c, stream);
}

static void window_grew(client *c)
{
    while (c->waiting_count && c->window >= body_length) {
        answer(c, c->waiting[c->waiting_head]);
        c->waiting_head = (c->waiting_head + 1) % c->waiting_room;
        c->waiting_count--;
    }
}

static void take_settings(client *c, const frame *f)
{
    if (f->flags & ACK) return;
    for (unsigned at = 0; at + 6 <= f->length; at += 6) {
        unsigned name = (unsigned)f->payload[at] << 8 | f->payload[at + 1];
        uint32_t value = u32(f->payload + at + 2);
        if (name == HEADER_TABLE_SIZE && value < TABLE) c->indexes = c->indexed = 0;
        if (name == INITIAL_WINDOW_SIZE && value < body_length) { fprintf(stderr, "upstream_h2: a window of %u\n", value); exit(1); }
    }
    put_frame(&c->out, SETTINGS, ACK, 0, "", 0);
}

static void take_frame(client *c, const frame *f)
{
    switch (f->type) {
    case DATA:
        c->consumed += f->length;
        if (c->consumed >= REPLENISH) { put_window(&c->out, (uint32_t)c->consumed); c->consumed = 0; }
        /* fall through */
    case HEADERS:
        if (f->flags & END_STREAM) request_ended(c, f->stream);
        break;
    case SETTINGS: take_settings(c, f); break;
    case PING:
        if (!(f->flags & ACK)) put_frame(&c->out, PING, ACK, 0, f->payload, f->length);
        break;
    case WINDOW_UPDATE:
        if (f->stream == 0) { c->window += u32(f->payload) & WIDEST; window_grew(c); }
        break;
    default: break;   /* an answer to a stream that was reset is ignored by the peer */
    }
}

static void greet(client *c)
{
    unsigned char settings[12] = {0, MAX_CONCURRENT_STREAMS, 0, 0, (unsigned char)(most_streams >> 8), (unsigned char)most_streams,
                                  0, INITIAL_WINDOW_SIZE, 0, 16, 0, 0};
    put_frame(&c->out, SETTINGS, 0, 0, settings, sizeof settings);
    put_window(&c->out, WIDEST - FIRST_WINDOW);
    c->greeted = 1;
}

static void flush(int fd, client *c)
{
    int done = send_gathered(fd, &c->out);
    if (done < 0) { forget(fd); return; }
    if (c->blocked == !done) return;
    c->blocked = !done;
    struct epoll_event e = {.events = done ? EPOLLIN : EPOLLOUT, .data.fd = fd};
    epoll_ctl(poll_fd, EPOLL_CTL_MOD, fd, &e);
}

static void take(int fd, client *c)
{
    unsigned have = c->kept, size;
    if (have) memcpy(scratch, c->part, have);
    ssize_t n = recv(fd, scratch + have, CHUNK - have, 0);
    if (n <= 0) { if (n == 0 || errno != EAGAIN) forget(fd); return; }
    have += (unsigned)n;
    const unsigned char *at = scratch, *end = scratch + have;
    if (!c->greeted && have >= sizeof PREFACE - 1) {
        if (memcmp(at, PREFACE, sizeof PREFACE - 1)) { forget(fd); return; }
        at += sizeof PREFACE - 1;
        greet(c);
    }
    frame f;
    while (c->greeted && (size = next_frame(at, (unsigned)(end - at), &f))) { take_frame(c, &f); at += size; }
    c->kept = (unsigned)(end - at);
    if (c->kept && !c->part) c->part = malloc(FRAME_HEAD + LARGEST_FRAME);
    if (c->kept) memcpy(c->part, at, c->kept);
    if (c->out.length) flush(fd, c);
}

static void accept_all(int listener)
{
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_FD) { close(fd); continue; }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        clients[fd] = calloc(1, sizeof(client));
        clients[fd]->window = FIRST_WINDOW;
        clients[fd]->indexes = 1;
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &e);
    }
}

static int listen_on(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 4096)) { perror("upstream_h2"); exit(1); }
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 4) { fprintf(stderr, "usage: upstream_h2 PORT plain|grpc STREAMS\n"); return 64; }
    is_grpc = !strcmp(argv[2], "grpc");
    most_streams = (unsigned)atoi(argv[3]);
    make_blocks();
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
            else if (clients[fd]->blocked) flush(fd, clients[fd]);
            else take(fd, clients[fd]);
        }
    }
}
