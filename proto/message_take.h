/**
 * message_take - from generated structs to ours, checking every value.
 *
 * The inside of message_unpack(). protobuf-c checks wire types and lengths, and
 * no value: this is the only validation there is.
 *
 * Thread:  pure.
 * Memory:  what `out` points to is in the scratch.
 * Result:  NULL, or a sentence that says what is wrong.
 */
#ifndef KV_PROTO_MESSAGE_TAKE_H
#define KV_PROTO_MESSAGE_TAKE_H

#include "kv.pb-c.h"
#include "proto/message.h"

/* A dtype is known to a layer above; here it is only kept small. */
#define TAKE_DTYPE_MAX 64

/* Of `payload_size` it is already known whether there may be any. */
typedef const char *(*take_fn)(struct scratch *scratch, const Kv__Envelope *env,
                               size_t payload_size, struct message *out);

extern const char take_out_of_scratch[];

/* Printable, and of a length within the limits. */
bool take_text_ok(const char *text, size_t min, size_t max);
bool take_printable(const void *data, size_t size);

/* What data links carry; the rest is static in message_unpack.c. */
const char *take_open(struct scratch *scratch, const Kv__Envelope *env,
                      size_t payload_size, struct message *out);
const char *take_opened(struct scratch *scratch, const Kv__Envelope *env,
                        size_t payload_size, struct message *out);
const char *take_push(struct scratch *scratch, const Kv__Envelope *env,
                      size_t payload_size, struct message *out);
const char *take_pull(struct scratch *scratch, const Kv__Envelope *env,
                      size_t payload_size, struct message *out);
const char *take_answer(struct scratch *scratch, const Kv__Envelope *env,
                        size_t payload_size, struct message *out);
const char *take_again(struct scratch *scratch, const Kv__Envelope *env,
                       size_t payload_size, struct message *out);
const char *take_optimizer(struct scratch *scratch, const Kv__Envelope *env,
                           size_t payload_size, struct message *out);
const char *take_hyper(struct scratch *scratch, const Kv__Envelope *env,
                       size_t payload_size, struct message *out);
const char *take_stalled(struct scratch *scratch, const Kv__Envelope *env,
                         size_t payload_size, struct message *out);
const char *take_skipped(struct scratch *scratch, const Kv__Envelope *env,
                         size_t payload_size, struct message *out);
const char *take_norms(struct scratch *scratch, const Kv__Envelope *env,
                       size_t payload_size, struct message *out);
const char *take_member(struct scratch *scratch, const Kv__Envelope *env,
                        size_t payload_size, struct message *out);
const char *take_rounds(struct scratch *scratch, const Kv__Envelope *env,
                        size_t payload_size, struct message *out);

/* --- message_take_keys.c -------------------------------------------------- */

const char *take_key(struct scratch *scratch, const Kv__Envelope *env,
                     size_t payload_size, struct message *out);
const char *take_list(struct scratch *scratch, const Kv__Envelope *env,
                      size_t payload_size, struct message *out);
const char *take_listed(struct scratch *scratch, const Kv__Envelope *env,
                        size_t payload_size, struct message *out);
const char *take_delete(struct scratch *scratch, const Kv__Envelope *env,
                        size_t payload_size, struct message *out);
const char *take_drop(struct scratch *scratch, const Kv__Envelope *env,
                      size_t payload_size, struct message *out);
const char *take_version(struct scratch *scratch, const Kv__Envelope *env,
                         size_t payload_size, struct message *out);
const char *take_versioned(struct scratch *scratch, const Kv__Envelope *env,
                           size_t payload_size, struct message *out);

#endif
