/* Latencies in nanoseconds, counted in buckets that are at most 1/64 wide: every percentile is right to 1.6 %. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H
#include <stdint.h>

enum { SUB_BITS = 6, SUB = 1 << SUB_BITS, OCTAVES = 40, BUCKETS = OCTAVES * SUB };

typedef struct {
    uint64_t count[BUCKETS];
    uint64_t total;
    uint64_t highest;
} histogram;

static inline unsigned bucket_of(uint64_t value)
{
    if (value < SUB) return (unsigned)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - SUB_BITS;
    unsigned index = ((shift + 1) << SUB_BITS) + (unsigned)((value >> shift) & (SUB - 1));
    return index < BUCKETS ? index : BUCKETS - 1;
}

static inline uint64_t bucket_middle(unsigned index)
{
    if (index < SUB) return index;
    unsigned shift = (index >> SUB_BITS) - 1;
    return (((uint64_t)SUB + (index & (SUB - 1))) << shift) + ((1ull << shift) >> 1);
}

static inline void record(histogram *h, uint64_t value)
{
    h->count[bucket_of(value)]++;
    h->total++;
    if (value > h->highest) h->highest = value;
}

static inline double percentile_us(const histogram *h, double share)
{
    uint64_t wanted = (uint64_t)((double)h->total * share), seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += h->count[i];
        if (seen > wanted) return (double)bucket_middle(i) / 1000.0;
    }
    return (double)h->highest / 1000.0;
}
#endif
