/* The HTTP/2 load generator of the bench: prior knowledge on loopback, N connections with M streams under way on each,
   GET or (-g) unary gRPC calls (generator.h has its modes and options; "close" is not one of them). What it asks of one
   connection in one turn leaves with one send, as the answers come. An answer counts when its status is 200, its body has
   the right length and, with gRPC, trailers end it; the bench looks at the bytes themselves once, before the load. */
#define _GNU_SOURCE
#include "generator.h"
#include "h2.h"

enum { SCRATCH = 1 << 18, BLOCK = 160, REPLENISH = 1 << 28 };
enum state { GONE, CONNECTING, GREETING, STANDING, LEAVING };   /* LEAVING: the proxy has said GOAWAY */

typedef struct {
    uint32_t id;      /* 0: free */
    uint32_t got;     /* bytes of the body */
    int status_good, blocks;
    uint64_t intended;
} stream;

typedef struct {
    int fd, blocked, answered;
    enum state state;
    gather out;
    uint32_t next_id, active, most;
    int indexes, indexed;   /* the proxy keeps a table of ours; our fields are in it */
    int64_t window;         /* what the proxy lets us send */
    uint64_t consumed;
    unsigned kept;          /* bytes of a frame that came in parts */
    unsigned char *part;
    stream *streams;        /* a ring by number; a stream that is slower than a whole round of it keeps its place */
} conn;

static conn *conns;
static unsigned ring, next_conn, body_length, request_body_length;
static unsigned char scratch[SCRATCH], request_body[5 + MESSAGE];
static unsigned char block[3][BLOCK];   /* [0] literals that are not indexed, [1] literals that are, [2] by their numbers */
static unsigned block_length[3];

/* "/small" in Huffman's code, as browsers send it: a path is not indexed (RFC 7541, section 7.1.3, and habit). */
static const unsigned char small_path[] = {0x04, 0x85, 0x61, 0x14, 0x8e, 0x8a, 0x3f};

static void make_get(void)
{
    for (int form = 0; form < 3; form++) {
        unsigned char *p = block[form];
        unsigned n = 0;
        p[n++] = 0x82;   /* GET */
        p[n++] = 0x86;   /* http */
        memcpy(p + n, small_path, sizeof small_path);
        n += sizeof small_path;
        if (form == 2) { p[n++] = 0xc0; p[n++] = 0xbf; p[n++] = 0xbe; }
        else {
            n += put_field(p + n, form, 1, ":authority", host);
            n += put_field(p + n, form, 58, "user-agent", "bench");
            n += put_field(p + n, form, 19, "accept", "*/*");
        }
        block_length[form] = n;
    }
}

static void make_call(void)
{
    for (int form = 0; form < 3; form++) {
        unsigned char *p = block[form];
        unsigned n = 0;
        p[n++] = 0x83;   /* POST */
        p[n++] = 0x86;   /* http */
        if (form == 2) for (int number = 0xc2; number >= 0xbe; number--) p[n++] = (unsigned char)number;
        else {
            n += put_field(p + n, form, 4, ":path", "/bench.Echo/Say");
            n += put_field(p + n, form, 1, ":authority", host);
            n += put_field(p + n, form, 31, "content-type", "application/grpc");
            n += put_field(p + n, form, 0, "te", "trailers");
            n += put_field(p + n, form, 58, "user-agent", "bench");
        }
        block_length[form] = n;
    }
    request_body[4] = MESSAGE;
    memset(request_body + 5, 'y', MESSAGE);
    request_body_length = 5 + MESSAGE;
}

static void open_conn(conn *c);

static void drop(conn *c)
{
    close(c->fd);
    c->state = GONE;
}

static void lost(conn *c)
{
    if (c->state == CONNECTING || c->state == GREETING) refused++;
    else if (c->active) broken += c->active;
    else reopened++;
    if (refused > MOST_REFUSED) fail("the proxy refuses connections");
    drop(c);
    if (mode != HOLD && !stopping) open_conn(c);
}

static int has_place(const conn *c)
{
    return c->state == STANDING && c->active < c->most && c->window >= request_body_length;
}

static void send_request(conn *c, uint64_t intended)
{
    while (c->streams[(c->next_id >> 1) % ring].id) c->next_id += 2;
    stream *s = &c->streams[(c->next_id >> 1) % ring];
    *s = (stream){.id = c->next_id, .intended = intended};
    int form = c->indexed ? 2 : c->indexes;
    put_frame(&c->out, HEADERS, END_HEADERS | (is_grpc ? 0 : END_STREAM), s->id, block[form], block_length[form]);
    if (is_grpc) put_frame(&c->out, DATA, END_STREAM, s->id, request_body, request_body_length);
    c->window -= request_body_length;
    c->indexed = c->indexes;
    c->next_id += 2;
    c->active++;
}

static void ask_more(conn *c)
{
    if (stopping) return;
    if (mode == CLOSED) while (has_place(c)) send_request(c, 0);
    if (mode == HOLD && !c->answered && !c->active && has_place(c)) send_request(c, 0);
}

static void flush(conn *c)
{
    int all = send_gathered(c->fd, &c->out);
    if (all < 0) { lost(c); return; }
    if (c->blocked == !all) return;
    c->blocked = !all;
    watch(c->fd, all ? EPOLLIN : EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD, (uint32_t)(c - conns));
}

/* The next connection in turn that has a place; NULL: none. */
static conn *find_place(void)
{
    for (int i = 0; i < connections; i++) {
        conn *c = &conns[(next_conn + (unsigned)i) % (unsigned)connections];
        if (has_place(c)) { next_conn = (unsigned)(c - conns) + 1; return c; }
    }
    return NULL;
}

static int may_send(void)
{
    for (int i = 0; i < connections; i++) if (has_place(&conns[i])) return 1;
    return 0;
}

static void send_due(void)
{
    uint64_t now = now_ns();
    conn *c;
    while (due_at(due_number) <= now && (c = find_place())) send_request(c, due_at(due_number++));
    for (int i = 0; i < connections; i++) if (conns[i].out.length && !conns[i].blocked) flush(&conns[i]);
}

static void ended(conn *c, stream *s)
{
    if (!s->status_good) bad_status++;
    else if (s->got != body_length || s->blocks != 1 + is_grpc) broken++;
    else done++;
    if (counting && mode == OPEN) record(&latency, now_ns() - s->intended);
    s->id = 0;
    c->active--;
    c->answered = 1;
}

static int says_200(const unsigned char *p, const unsigned char *end)
{
    while (p < end && (*p & 0xe0) == 0x20) {   /* a new size of the table (RFC 7541, section 6.3) */
        int is_long = (*p++ & 0x1f) == 0x1f;
        while (is_long && p < end && *p & 0x80) p++;
        p += is_long;
    }
    return p < end && *p == 0x88;
}

static void take_settings(conn *c, const frame *f)
{
    if (f->flags & ACK) return;
    for (unsigned at = 0; at + 6 <= f->length; at += 6) {
        unsigned name = (unsigned)f->payload[at] << 8 | f->payload[at + 1];
        uint32_t value = u32(f->payload + at + 2);
        if (name == HEADER_TABLE_SIZE && value < TABLE) c->indexes = c->indexed = 0;
        if (name == MAX_CONCURRENT_STREAMS && value < c->most) c->most = value;
        if (name == INITIAL_WINDOW_SIZE && value < request_body_length) fail("the proxy's windows are too small");
    }
    put_frame(&c->out, SETTINGS, ACK, 0, "", 0);
    if (c->state == GREETING) c->state = STANDING;
}

static void take_answer(conn *c, const frame *f)
{
    stream *s = &c->streams[(f->stream >> 1) % ring];
    const unsigned char *start;
    if (s->id != f->stream) { broken++; return; }
    if (f->type == RST_STREAM) { broken++; s->id = 0; c->active--; return; }
    unsigned length = inner(f, &start);
    if (f->type == DATA) { s->got += length; c->consumed += f->length; }
    else if (s->blocks++ == 0) s->status_good = says_200(start, start + length);
    if (f->flags & END_STREAM) ended(c, s);
}

static void take_frame(conn *c, const frame *f)
{
    switch (f->type) {
    case DATA: case HEADERS: case RST_STREAM: take_answer(c, f); break;
    case SETTINGS: take_settings(c, f); break;
    case PING:
        if (!(f->flags & ACK)) put_frame(&c->out, PING, ACK, 0, f->payload, f->length);
        break;
    case GOAWAY: c->state = LEAVING; break;
    case WINDOW_UPDATE:
        if (f->stream == 0) c->window += u32(f->payload) & WIDEST;
        break;
    default: break;
    }
}

static void take(conn *c)
{
    unsigned have = c->kept, size;
    if (have) memcpy(scratch, c->part, have);
    ssize_t n = recv(c->fd, scratch + have, SCRATCH - have, 0);
    if (n <= 0) { if (n == 0 || errno != EAGAIN) lost(c); return; }
    bytes += (uint64_t)n;
    have += (unsigned)n;
    const unsigned char *at = scratch, *end = scratch + have;
    frame f;
    while ((size = next_frame(at, (unsigned)(end - at), &f))) { take_frame(c, &f); at += size; }
    c->kept = (unsigned)(end - at);
    if (c->kept && !c->part) c->part = malloc(FRAME_HEAD + LARGEST_FRAME);
    if (c->kept) memcpy(c->part, at, c->kept);
    if (c->consumed >= REPLENISH) { put_window(&c->out, (uint32_t)c->consumed); c->consumed = 0; }
    if (c->state == LEAVING && !c->active) { lost(c); return; }
    ask_more(c);
    if (c->out.length && !c->blocked) flush(c);
}

static void greet(conn *c)
{
    static const unsigned char settings[12] = {0, ENABLE_PUSH, 0, 0, 0, 0, 0, INITIAL_WINDOW_SIZE, 0, 16, 0, 0};
    memcpy(room_for(&c->out, sizeof PREFACE - 1), PREFACE, sizeof PREFACE - 1);
    c->out.length += sizeof PREFACE - 1;
    put_frame(&c->out, SETTINGS, 0, 0, settings, sizeof settings);
    put_window(&c->out, WIDEST - FIRST_WINDOW);
    c->state = GREETING;
    flush(c);
}

static void open_conn(conn *c)
{
    int under_way;
    free(c->out.bytes);
    free(c->part);
    stream *kept = c->streams ? c->streams : malloc(ring * sizeof *kept);
    memset(kept, 0, ring * sizeof *kept);
    *c = (conn){.state = CONNECTING, .next_id = 1, .most = (uint32_t)streams, .indexes = 1, .window = FIRST_WINDOW, .streams = kept};
    c->fd = connect_out(&under_way);
    watch(c->fd, under_way ? EPOLLOUT : EPOLLIN, EPOLL_CTL_ADD, (uint32_t)(c - conns));
    if (!under_way) greet(c);
    else if (errno != EINPROGRESS) lost(c);
}

static void connected(conn *c)
{
    if (socket_error(c->fd)) { lost(c); return; }
    watch(c->fd, EPOLLIN, EPOLL_CTL_MOD, (uint32_t)(c - conns));
    greet(c);
}

static void turn(int64_t wait_ns)
{
    struct epoll_event ready[EVENTS];
    struct timespec wait = {wait_ns / 1000000000, wait_ns % 1000000000};
    int n = epoll_pwait2(poll_fd, ready, EVENTS, &wait, NULL);
    for (int i = 0; i < n; i++) {
        conn *c = &conns[ready[i].data.u32];
        if (c->state == CONNECTING) connected(c);
        else if (c->state == GONE) continue;
        else if (ready[i].events & EPOLLOUT && c->blocked) flush(c);
        else take(c);
    }
}

static uint64_t idle_now(void)
{
    uint64_t kept = 0;
    for (int i = 0; i < connections; i++) kept += conns[i].state == STANDING && conns[i].answered;
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

int main(int argc, char **argv)
{
    options(argc, argv);
    if (mode == CLOSE || strcmp(path, "/small")) usage();
    if (mode == HOLD) streams = 1;
    if (is_grpc) make_call();
    else make_get();
    body_length = is_grpc ? 5 + MESSAGE : MESSAGE;
    ring = (unsigned)streams * 8;
    conns = calloc((size_t)connections, sizeof *conns);
    open_all();
    if (mode == HOLD) hold();
    else measure();
    return 0;
}
