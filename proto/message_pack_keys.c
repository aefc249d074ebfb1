#include "common/base/check.h"
#include "proto/message_pack.h"

static void fill_listing(const struct message_listing *l, Kv__Listing *out)
{
    kv__listing__init(out);
    out->id = l->id;
    pack_name(l->name, &out->name);
    out->number = l->number;
    out->dtype = l->dtype;
    out->n_shape = l->dims;
    out->shape = (uint64_t *)l->shape;
    out->storage = l->storage;
    out->slices = l->slices;
}

enum kv_status pack_listed(const struct message *m, void *out, size_t capacity,
                           size_t *size)
{
    Kv__Listing listings[KV_LISTED_MAX], *keys[KV_LISTED_MAX];
    Kv__Envelope env;
    Kv__Listed listed;

    KV_CHECK(m->listed.count <= KV_LISTED_MAX);
    kv__envelope__init(&env);
    kv__listed__init(&listed);
    for (uint32_t i = 0; i < m->listed.count; i++) {
        fill_listing(&m->listed.keys[i], &listings[i]);
        keys[i] = &listings[i];
    }
    listed.n_key = m->listed.count;
    listed.key = keys;
    listed.next = m->listed.next;
    env.body_case = KV__ENVELOPE__BODY_LISTED;
    env.listed = &listed;
    return pack_envelope(&env, out, capacity, size);
}
