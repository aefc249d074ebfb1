/**
 * codec - how a gradient looks on the wire.
 *
 * A codec is one file, codecs/NAME.c; the folder is the registry. What the
 * server needs of it is a sum: the ranks' gradients, each as it arrived, added
 * up in rank order, block by block, in f32. No decoded gradient is ever kept.
 * Tensors that are not computed in f32 (dtype.h) are plain arrays of their own
 * dtype in every codec that accepts them, and are summed in that.
 *
 *     worker   encode(slice) --wire--> server   kv_codec_sum(block)
 *
 * Encoding has no memory. A lossy codec that feeds its error back does so from
 * outside: encode, decode, keep the difference, add it to the next gradient.
 *
 * Thread:  any. Nothing here has state.
 * Memory:  borrows. Allocates nothing. A void * of any alignment. Outputs
 *          overlap no input.
 */
#ifndef KV_COMMON_CODEC_CODEC_H
#define KV_COMMON_CODEC_CODEC_H

#include <stdbool.h>
#include <stddef.h>

#include "common/compute/dtype.h"
#include "common/compute/vector.h"

/* Decoding starts at a multiple of this many elements, so that codecs that
 * pack several into a word need not split one. Slices are multiples too. */
#define KV_CODEC_GRAIN 64

#define KV_CODEC_PACKED (-1)

struct kv_codec {
    const char *name;
    unsigned id; /* On the wire: append, never renumber or reuse. */

    /* Which tensors it can carry. The rest is asked only about those. */
    bool (*accepts)(enum kv_dtype dtype);

    /* Bytes for `count` elements; depends on nothing else. */
    size_t (*encoded_size)(enum kv_dtype dtype, size_t count);

    /* The enum kv_dtype of which the encoded bytes are a plain array, or
     * KV_CODEC_PACKED. Plain ones are summed where they lie. */
    int (*plain)(enum kv_dtype dtype);

    void (*encode)(enum kv_dtype dtype, const void *in, size_t count,
                   void *out);

    /* Elements first .. first+count-1 of an encoded array of what is
     * kv_dtype_in_f32(); `first` as KV_CODEC_GRAIN says. */
    void (*decode)(enum kv_dtype dtype, const void *in, size_t first,
                   size_t count, float *out);
};

/* NULL if there is none: exact name, id off the wire. */
const struct kv_codec *kv_codec_find(const char *name);
const struct kv_codec *kv_codec_by_id(unsigned id);

/* All names as "fp16, none" into buf, cut off at size, always terminated.
 * Returns the length that the whole list has. */
size_t kv_codec_names(char *buf, size_t size);

/* A whole encoded array back into its own format. */
void kv_codec_decode(const struct kv_codec *codec, enum kv_dtype dtype,
                     const void *in, size_t count, void *out);

/* out = the sum, from left to right in f32, of elements first .. first+count-1
 * of n >= 1 encoded inputs of the same dtype, inputs[i] encoded by codecs[i].
 * The dtype is kv_dtype_in_f32(). Same bits as decoding each and kv_sum_f32(),
 * however the range is cut. */
void kv_codec_sum(const struct kv_codec *const *codecs,
                  const void *const *inputs, size_t n, enum kv_dtype dtype,
                  size_t first, size_t count, float *out);

/* The same, without a copy where there is nothing to add: returns `out`, or,
 * given one plain f32 input, the place in it, of whatever alignment that is. */
const kv_f32_any *kv_codec_sum_view(const struct kv_codec *const *codecs,
                                    const void *const *inputs, size_t n,
                                    enum kv_dtype dtype, size_t first,
                                    size_t count, float *out);

/* The same sum in the tensors' own dtype, whatever that is: f16 and bf16 are
 * rounded once, at the end. `out` is aligned to its elements. */
void kv_codec_sum_own(const struct kv_codec *const *codecs,
                      const void *const *inputs, size_t n, enum kv_dtype dtype,
                      size_t first, size_t count, void *out);

#endif
