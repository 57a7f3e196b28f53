/* What the HTTP/2 client and the HTTP/2 upstream of the bench share: frames (RFC 9113, section 4), and a buffer that gathers
   the frames of one turn into one send. Both know beforehand every block that they write, so neither has an HPACK encoder;
   each indexes its fields with the first block of a connection, as real programs do, and names them by number afterwards. */
#ifndef BENCH_H2_H
#define BENCH_H2_H
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
enum { ACK = 1, END_STREAM = 1, END_HEADERS = 4, PADDED = 8, WITH_PRIORITY = 32 };
enum { HEADER_TABLE_SIZE = 1, ENABLE_PUSH = 2, MAX_CONCURRENT_STREAMS = 3, INITIAL_WINDOW_SIZE = 4 };
enum { FRAME_HEAD = 9, LARGEST_FRAME = 16384, FIRST_WINDOW = 65535, TABLE = 4096 };
enum { MESSAGE = 13 };   /* bytes of the application's body; gRPC puts a prefix of 5 before it */
#define WIDEST 0x7fffffffu
#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

typedef struct {
    unsigned length;
    unsigned char type, flags;
    uint32_t stream;
    const unsigned char *payload;
} frame;

typedef struct {
    unsigned char *bytes;
    unsigned length, room, sent;
} gather;

static inline uint32_t u32(const unsigned char *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

/* The size of the frame at `p`, 0 when it is not all there. */
static inline unsigned next_frame(const unsigned char *p, unsigned have, frame *f)
{
    if (have < FRAME_HEAD) return 0;
    f->length = (unsigned)p[0] << 16 | (unsigned)p[1] << 8 | p[2];
    if (f->length > LARGEST_FRAME) { fprintf(stderr, "bench: a frame of %u bytes\n", f->length); exit(1); }
    if (have < FRAME_HEAD + f->length) return 0;
    f->type = p[3];
    f->flags = p[4];
    f->stream = u32(p + 5) & WIDEST;
    f->payload = p + FRAME_HEAD;
    return FRAME_HEAD + f->length;
}

static inline unsigned char *room_for(gather *g, unsigned more)
{
    if (g->length + more > g->room) {
        g->room = (g->length + more) * 2;
        g->bytes = realloc(g->bytes, g->room);
    }
    return g->bytes + g->length;
}

static inline void put_frame(gather *g, unsigned type, unsigned flags, uint32_t stream, const void *payload, unsigned length)
{
    unsigned char *p = room_for(g, FRAME_HEAD + length);
    p[0] = (unsigned char)(length >> 16); p[1] = (unsigned char)(length >> 8); p[2] = (unsigned char)length;
    p[3] = (unsigned char)type; p[4] = (unsigned char)flags;
    p[5] = (unsigned char)(stream >> 24); p[6] = (unsigned char)(stream >> 16); p[7] = (unsigned char)(stream >> 8); p[8] = (unsigned char)stream;
    memcpy(p + FRAME_HEAD, payload, length);
    g->length += FRAME_HEAD + length;
}

static inline void put_window(gather *g, uint32_t more)
{
    unsigned char p[4] = {(unsigned char)(more >> 24), (unsigned char)(more >> 16), (unsigned char)(more >> 8), (unsigned char)more};
    put_frame(g, WINDOW_UPDATE, 0, 0, p, 4);
}

/* One send for all that was gathered. 1: all is out, 0: the socket is full, -1: the peer is gone. */
static inline int send_gathered(int fd, gather *g)
{
    while (g->sent < g->length) {
        ssize_t n = send(fd, g->bytes + g->sent, g->length - g->sent, MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN ? 0 : -1;
        g->sent += (unsigned)n;
    }
    g->sent = g->length = 0;
    return 1;
}

/* A field, literal: with its name's number or with its name, indexed or not (RFC 7541, section 6.2). No name here is long. */
static inline unsigned put_field(unsigned char *p, int index, unsigned number, const char *name, const char *value)
{
    unsigned n = 0, most = index ? 63 : 15, name_length = (unsigned)strlen(name), length = (unsigned)strlen(value);
    unsigned char kind = index ? 0x40 : 0;
    if (number < most) p[n++] = (unsigned char)(kind | number);
    else { p[n++] = (unsigned char)(kind | most); p[n++] = (unsigned char)(number - most); }
    if (number == 0) { p[n++] = (unsigned char)name_length; memcpy(p + n, name, name_length); n += name_length; }
    p[n++] = (unsigned char)length;
    memcpy(p + n, value, length);
    return n + length;
}

/* The bytes that a HEADERS or DATA frame really carries, without padding and priority. */
static inline unsigned inner(const frame *f, const unsigned char **start)
{
    unsigned skip = 0, pad = 0;
    if (f->flags & PADDED) { pad = f->length ? f->payload[0] : 0; skip = 1; }
    if (f->type == HEADERS && f->flags & WITH_PRIORITY) skip += 5;
    if (skip + pad > f->length) { fprintf(stderr, "bench: a frame with too much padding\n"); exit(1); }
    *start = f->payload + skip;
    return f->length - skip - pad;
}
#endif
