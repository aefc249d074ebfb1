/**
 * message_pack - from our structs to generated ones.
 *
 * The inside of message_pack().
 *
 * Thread:  pure.
 * Memory:  what is filled in borrows from the message.
 */
#ifndef KV_PROTO_MESSAGE_PACK_H
#define KV_PROTO_MESSAGE_PACK_H

#include "kv.pb-c.h"
#include "proto/message.h"

/* NULL: none, the key is a number. */
void pack_name(const char *name, ProtobufCBinaryData *out);

/* KV_ETOOBIG: it does not fit. */
enum kv_status pack_envelope(const Kv__Envelope *env, void *out,
                             size_t capacity, size_t *size);

/* --- message_pack_keys.c -------------------------------------------------- */

/* A LISTED. Apart: what is packed for each frame has no large locals. */
enum kv_status pack_listed(const struct message *m, void *out, size_t capacity,
                           size_t *size);

#endif
