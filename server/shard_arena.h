/**
 * shard_arena - what a shard keeps in its arena.
 *
 * A permanent record a slice, which points to its value block;
 * and to settings of its own; one permanent fence table; words that hold the
 * policy, the place of the optimizer's settings, and the last deletion heard
 * of. Everything else is made again from those, and from what workers send
 * again.
 */
#ifndef KV_SERVER_SHARD_ARENA_H
#define KV_SERVER_SHARD_ARENA_H

#include "common/optim/hyper.h"
#include "proto/limits.h"
#include "server/shard_state.h"

enum { SHARD_KIND_SLICE = 1, SHARD_KIND_FENCE = 2 };
enum { SHARD_WORD_POLICY, SHARD_WORD_SPEC, SHARD_WORD_DELETIONS };

/* Permanent, until the slice is dropped. Storing `live` is what commits a
 * round. */
struct slice_record {
    uint64_t live; /* Offset of the value block. */
    uint64_t count;
    uint64_t first_round; /* What its rounds begin with; KV_ROUND_BITS. */
    uint32_t slot;
    uint32_t key_id, slice, dtype;
    uint32_t row_length; /* Elements; 0 when dense. */
    uint32_t slices;     /* Of the key. */
    uint32_t plain;
    uint32_t width; /* Elements of a row of a dense slice; 0: they are cut. */
    uint64_t own;   /* Offset of an own_block; 0: there is none. */
};

/* A value block: this, seq[], then weights and state (shard_state.h), each
 * array at a multiple of 64 bytes. Never changed once it is live.
 *
 * Of a row_sparse slice: this, seq[], then what the last round has changed:
 * `changed` rows as u32, and their new images. All rows lie in another block,
 * `rows`, into which those images are copied once they are live. An image is
 * the row's weights and state. */
struct value {
    uint64_t round;      /* Rounds committed. */
    uint64_t updates;    /* By the optimizer, since its state was fresh. */
    uint64_t generation; /* Of the settings that the state belongs to. */
    struct state_form form;
    uint32_t seqs; /* Ranks with a sequence number; 0 unless per_rank. */
    uint64_t rows; /* Offset. */
    uint64_t changed;
    uint64_t passes; /* That the last round was measured in. */
    double sums[KV_PASSES_MAX][KV_NORMS_MAX]; /* Of this slice, then. */
    uint64_t skipped; /* The last round that was; shard_skip.c. In async... */
    uint32_t culprit; /* ...this rank's count. SHARD_NOBODY: the sum is. */
    uint16_t fails;
    uint16_t reset; /* The last round was one. */
    uint64_t seq[]; /* By rank. */
};

/* The optimizer as it was set, and what has changed since. Another one gets a
 * higher generation, and state of lower ones counts as none. */
struct spec_block {
    uint64_t generation; /* From 1. */
    char name[KV_NAME_MAX + 1];
    char params[KV_PARAMS_TEXT_MAX + 1];
    uint64_t hyper_count;
    struct kv_hyper hypers[];
};

/* What has changed for one key alone; none if its generation is not that of
 * the optimizer. */
struct own_block {
    uint64_t generation;
    uint32_t hyper_count;
    uint32_t only_scales; /* No number of the optimizer itself. */
    struct kv_hyper hypers[];
};

struct fence_block {
    uint64_t workers;
    struct {
        uint64_t incarnation;
        uint64_t token; /* 0: not known yet. */
        uint64_t left;  /* By the life before this number; 0: has not. */
    } rank[];
};

#endif
