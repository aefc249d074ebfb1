/**
 * limits - every number that a peer could make large, and its maximum.
 *
 * A number off the wire is compared with its limit before it is used, and
 * nothing is allocated on a peer's word alone.
 */
#ifndef KV_PROTO_LIMITS_H
#define KV_PROTO_LIMITS_H

#include <stdint.h>

#define KV_VERSION_MIN 1 /* Protocol versions that this build speaks. */
#define KV_VERSION_MAX 1

#define KV_META_MAX 16384         /* Bytes of metadata in a frame. */
#define KV_PAYLOAD_MAX (4u << 20) /* Bytes of payload in a frame. */
#define KV_SLICE_BYTES_MAX (4u << 20)
#define KV_SLICE_BYTES_DEFAULT (512u << 10)
#define KV_SLICE_ALIGN 64 /* Elements; a slice is a multiple, but the last. */

/* A slice of at least KV_DIRECT_MIN bytes travels alone in its frame, straight
 * from and into its tensor, and so do as many bytes of smaller ones that lie
 * side by side. All else is batched, and copied once: that costs less than to
 * send more frames. */
#define KV_DIRECT_MIN (96u << 10)
#define KV_BATCH_PAYLOAD_MAX (256u << 10)
#define KV_BATCH_ENTRIES_MAX 4096 /* Slices in a frame. */
#define KV_BATCH_RUNS_MAX 128     /* Runs of slices in a frame; message.h. */
/* What a Pull of several slices asks for in all: a server makes the answers to
 * a frame before it looks whether they can leave. */
#define KV_PULLED_BYTES_MAX (4u << 20)

#define KV_RANKS_MAX 1024                  /* Workers of a job. */
#define KV_NODE_MAX (8 + 2 * KV_RANKS_MAX) /* Of Dead; as MXNet counts. */
#define KV_SERVERS_MAX 512      /* Servers of a job; Joined names them all. */
#define KV_SHARDS_MAX 64        /* Shards of a server. */
#define KV_SLOTS_MAX (1u << 24) /* Slices of a shard. */

/* A slice's rounds are counted in the lower bits. Once a shard has dropped a
 * slice, those that come later begin with another number above these, so that
 * no round of an earlier slice of the same slot can be taken for theirs. */
#define KV_ROUND_BITS 36
#define KV_DELETIONS_MAX ((UINT64_C(1) << (64 - KV_ROUND_BITS)) - 1)

#define KV_KEY_NAME_MAX 255
#define KV_KEYS_MAX (1u << 24)
#define KV_LISTED_MAX 32 /* Keys in a frame that lists them. */
#define KV_DIMS_MAX 8
#define KV_COUNT_MAX (UINT64_C(1) << 40) /* Elements of a value. */
#define KV_ADDRESS_MAX 255               /* "host:port". */
#define KV_NAME_MAX 31                   /* Optimizer, parameter. */
#define KV_PARAMS_TEXT_MAX 1023          /* Settings of an optimizer. */
#define KV_TEXT_MAX 511                  /* An error's sentence. */
#define KV_NORMS_MAX 3                   /* Sums of a pass over a slice. */
#define KV_PASSES_MAX 2   /* Before an update that needs norms. */
#define KV_MISSING_MAX 16 /* Ranks named in a stall notice. */

/* What one link may hold on a server in contributions to open rounds, those
 * that are being measured for norms apart, before the server stops reading from
 * it. */
#define KV_HELD_BYTES_MAX (12u << 20)

/* Before a connection has proved that it knows the key. */
#define KV_UNPROVEN_MAX 128 /* Connections; then the oldest goes. */
#define KV_UNPROVEN_PER_HOST_MAX 64
#define KV_HANDSHAKE_MS 5000
#define KV_HEAD_MS 10000     /* A begun frame head must arrive in... */
#define KV_PROGRESS_MS 10000 /* ...and a payload must move. */

#endif
