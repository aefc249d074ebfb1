/* The yardstick for arithmetic: a loop that reads and writes as many arrays and
 * does next to nothing with them. Compiled as the loops are that it measures.
 */
#include "tests/bench/bench.h"

#include "common/compute/stream.h"

KV_TEMPLATE float add_up(const float *const *in, unsigned ins, size_t i)
{
    float sum = in[0][i];

    for (unsigned n = 1; n < ins; n++) {
        sum += in[n][i];
    }
    return sum;
}

/* `ins`, `outs` and `past_caches` are constants wherever this is called. */
KV_TEMPLATE void pass(const float *const *in, unsigned ins, float *const *out,
                      unsigned outs, size_t count, bool past_caches)
{
    if (!past_caches) {
        KV_INDEPENDENT
        for (size_t i = 0; i < count; i++) {
            float sum = add_up(in, ins, i);

            for (unsigned n = 0; n < outs; n++) {
                out[n][i] = sum;
            }
        }
        return;
    }
    for (size_t first = 0; first < count; first += KV_STREAM_FLOATS) {
        KV_SCRATCH float sums[KV_STREAM_FLOATS];

        KV_INDEPENDENT
        for (size_t i = 0; i < KV_STREAM_FLOATS; i++) {
            sums[i] = add_up(in, ins, first + i);
        }
        for (unsigned n = 0; n < outs; n++) {
            kv_stream_write(out[n] + first, sums);
        }
    }
    kv_stream_end();
}

KV_TEMPLATE void choose(const float *const *in, float *const *out,
                        unsigned outs, size_t count, bool past_caches)
{
    switch (outs) {
    case 1:
        pass(in, 2, out, 1, count, past_caches);
        break;
    case 2:
        pass(in, 3, out, 2, count, past_caches);
        break;
    case 3:
        pass(in, 4, out, 3, count, past_caches);
        break;
    default:
        pass(in, 5, out, 4, count, past_caches);
    }
}

KV_CLONES static void bench_update_loops(const float *const *in,
                                         float *const *out, unsigned slots,
                                         size_t count, bool past_caches)
{
    if (past_caches) {
        choose(in, out, slots + 1, count, true);
    } else {
        choose(in, out, slots + 1, count, false);
    }
}

void bench_stream_update(const float *const *in, float *const *out,
                         unsigned slots, size_t count, bool past_caches)
{
    bench_update_loops(in, out, slots, count, past_caches);
}

/* In lanes, as additions keep their order. */
KV_TEMPLATE float total(const float *const *in, unsigned ins, size_t count)
{
    float lanes[64] = {0}, sum = 0;

    for (size_t first = 0; first < count; first += 64) {
        for (size_t i = 0; i < 64; i++) {
            lanes[i] += add_up(in, ins, first + i);
        }
    }
    for (size_t i = 0; i < 64; i++) {
        sum += lanes[i];
    }
    return sum;
}

KV_CLONES static float bench_read_loops(const float *const *in, unsigned ins,
                                        size_t count)
{
    switch (ins) {
    case 0:
        return 0;
    case 1:
        return total(in, 1, count);
    case 2:
        return total(in, 2, count);
    case 3:
        return total(in, 3, count);
    default:
        return total(in, 4, count);
    }
}

float bench_stream_read(const float *const *in, unsigned ins, size_t count)
{
    return bench_read_loops(in, ins, count);
}

KV_CLONES static void bench_sum4_loop(const float *const *in, float *out,
                                      size_t count)
{
    pass(in, 4, &out, 1, count, true);
}

void bench_stream_sum4(const float *const *in, float *out, size_t count)
{
    bench_sum4_loop(in, out, count);
}
