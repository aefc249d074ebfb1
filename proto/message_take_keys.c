#include "proto/message_take.h"

#include <string.h>

/* --- Parts of messages --------------------------------------------------- */

/* NULL for none: then a key is its number. */
static const char *take_name(struct scratch *scratch, ProtobufCBinaryData pb,
                             const char **out)
{
    char *name;

    *out = NULL;
    if (pb.len > KV_KEY_NAME_MAX || !take_printable(pb.data, pb.len)) {
        return "key with a malformed name";
    }
    if (pb.len == 0) {
        return NULL;
    }
    name = scratch_alloc(scratch, pb.len + 1);
    if (name == NULL) {
        return take_out_of_scratch;
    }
    memcpy(name, pb.data, pb.len);
    name[pb.len] = '\0';
    *out = name;
    return NULL;
}

static const char *take_shape(const uint64_t *shape, size_t dims,
                              uint64_t out[KV_DIMS_MAX])
{
    uint64_t count = 1;

    if (dims > KV_DIMS_MAX) {
        return "key with too many dimensions";
    }
    for (size_t i = 0; i < dims; i++) {
        if (shape[i] < 1 || shape[i] > KV_COUNT_MAX / count) {
            return "key with a size out of range";
        }
        count *= shape[i];
        out[i] = shape[i];
    }
    return NULL;
}

/* What a value is, but for its sizes. */
static const char *check_form(uint32_t dtype, uint32_t storage, size_t dims)
{
    if (dtype >= TAKE_DTYPE_MAX) {
        return "key with an unknown dtype";
    }
    if (storage > KV_ROW_SPARSE || (storage == KV_ROW_SPARSE && dims == 0)) {
        return "key of an unknown storage type, or row_sparse without rows";
    }
    return NULL;
}

/* --- Keys ---------------------------------------------------------------- */

const char *take_key(struct scratch *scratch, const Kv__Envelope *env,
                     size_t payload_size, struct message *out)
{
    const Kv__Key *pb = env->key;
    const char *wrong = check_form(pb->dtype, pb->storage, pb->n_shape);

    (void)payload_size;
    if (wrong == NULL) {
        wrong = take_name(scratch, pb->name, &out->key.name);
    }
    if (wrong != NULL) {
        return wrong;
    }
    out->key.number = pb->number;
    out->key.dtype = pb->dtype;
    out->key.dims = (uint32_t)pb->n_shape;
    out->key.storage = (enum kv_storage)pb->storage;
    return take_shape(pb->shape, pb->n_shape, out->key.shape);
}

const char *take_list(struct scratch *scratch, const Kv__Envelope *env,
                      size_t payload_size, struct message *out)
{
    (void)scratch;
    (void)payload_size;
    out->list.from = env->list->from;
    return NULL;
}

static const char *take_listing(struct scratch *scratch, const Kv__Listing *pb,
                                struct message_listing *out)
{
    const char *wrong = check_form(pb->dtype, pb->storage, pb->n_shape);

    if (wrong == NULL) {
        wrong = take_name(scratch, pb->name, &out->name);
    }
    if (wrong != NULL) {
        return wrong;
    }
    out->id = pb->id;
    out->slices = pb->slices;
    out->number = pb->number;
    out->dtype = pb->dtype;
    out->dims = (uint32_t)pb->n_shape;
    out->storage = (enum kv_storage)pb->storage;
    return take_shape(pb->shape, pb->n_shape, out->shape);
}

const char *take_listed(struct scratch *scratch, const Kv__Envelope *env,
                        size_t payload_size, struct message *out)
{
    const Kv__Listed *pb = env->listed;
    struct message_listing *keys;

    (void)payload_size;
    if (pb->n_key > KV_LISTED_MAX) {
        return "too many keys in one list";
    }
    keys = scratch_alloc(scratch, (pb->n_key + 1) * sizeof *keys);
    if (keys == NULL) {
        return take_out_of_scratch;
    }
    memset(keys, 0, (pb->n_key + 1) * sizeof *keys);
    for (size_t i = 0; i < pb->n_key; i++) {
        const char *wrong = take_listing(scratch, pb->key[i], &keys[i]);

        if (wrong != NULL) {
            return wrong;
        }
        if (pb->next != 0 && keys[i].id >= pb->next) {
            return "a list that goes on before its end";
        }
    }
    out->listed.keys = keys;
    out->listed.count = (uint32_t)pb->n_key;
    out->listed.next = pb->next;
    return NULL;
}

const char *take_delete(struct scratch *scratch, const Kv__Envelope *env,
                        size_t payload_size, struct message *out)
{
    const Kv__Delete *pb = env->delete_;

    (void)payload_size;
    if (pb->step > KV_DELETE_END) {
        return "delete with an unknown step";
    }
    out->delete.step = (enum kv_delete_step)pb->step;
    out->delete.key_id = pb->key_id;
    out->delete.number = pb->number;
    return take_name(scratch, pb->name, &out->delete.name);
}

/* --- Slices -------------------------------------------------------------- */

const char *take_drop(struct scratch *scratch, const Kv__Envelope *env,
                      size_t payload_size, struct message *out)
{
    const Kv__Drop *pb = env->drop;

    (void)scratch;
    (void)payload_size;
    if (pb->deletion == 0 || pb->deletion > KV_DELETIONS_MAX) {
        return "drop with a number out of range";
    }
    out->drop.key_id = pb->key_id;
    out->drop.slice = pb->slice;
    out->drop.deletion = pb->deletion;
    return NULL;
}

const char *take_version(struct scratch *scratch, const Kv__Envelope *env,
                         size_t payload_size, struct message *out)
{
    (void)scratch;
    (void)payload_size;
    out->version.key_id = env->version->key_id;
    out->version.slice = env->version->slice;
    return NULL;
}

const char *take_versioned(struct scratch *scratch, const Kv__Envelope *env,
                           size_t payload_size, struct message *out)
{
    (void)scratch;
    (void)payload_size;
    out->versioned.rounds = env->versioned->rounds;
    return NULL;
}
