/**
 * fuzz - one entry, two drivers: libFuzzer in `make fuzz`, and replay.c, which
 * plays the corpus in `make test`.
 *
 * A file tests/fuzz/fuzz_NAME.c defines the entry, and corpus/NAME/ has a few
 * inputs to begin with: that is all. It KV_CHECKs what must hold for any input
 * and frees what it allocated; the same input always does the same.
 *
 * Memory:  borrows the input.
 */
#ifndef KV_TESTS_FUZZ_FUZZ_H
#define KV_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Takes numbers off the front of an input; zeros after its end. */
struct fuzz_input {
    const uint8_t *at;
    size_t left;
};

static inline uint64_t fuzz_take(struct fuzz_input *in, size_t bytes)
{
    uint64_t value = 0;

    for (size_t i = 0; i < bytes && in->left > 0; i++) {
        value |= (uint64_t)*in->at++ << 8 * i;
        in->left--;
    }
    return value;
}

/* The next `size` bytes, and zeros for those that are not there. */
static inline void fuzz_copy(struct fuzz_input *in, void *out, size_t size)
{
    size_t there = size < in->left ? size : in->left;

    memcpy(out, in->at, there);
    memset((uint8_t *)out + there, 0, size - there);
    in->at += there;
    in->left -= there;
}

#endif
