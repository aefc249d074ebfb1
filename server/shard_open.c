#include <inttypes.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "server/shard_settings.h"

#define OPENS_MAX ((size_t)1 << 20) /* Of a rank, waiting. */

/* A slice that somebody wants to attach to before it is there. */
struct awaited {
    uint64_t key;
    struct list openers;
};

struct opener {
    struct list_link among_openers; /* Of the slice. */
    struct list_link among_opens;   /* Of the rank. */
    struct awaited *awaited;
    struct slice_desc desc;
    uint64_t request_id, since_ms;
    uint32_t rank;
};

static void refused(struct shard *s, uint32_t rank, uint64_t request_id,
                    enum kv_status status)
{
    s->events.opened(s->events.ctx, rank, request_id, status, s->text, 0, 0,
                     false);
}

/* --- Checks --------------------------------------------------------------- */

static enum kv_status check_desc(struct shard *s, uint32_t rank,
                                 const struct slice_desc *d)
{
    size_t unit, count_max;

    if (s->policy == NULL) {
        return shard_refuse(s, KV_EINVAL,
                            "rank %u opens key id %u before its policy", rank,
                            d->key_id);
    }
    if (d->dtype > INT32_MAX || !kv_dtype_known((int)d->dtype)) {
        return shard_refuse(s, KV_EINVAL,
                            "rank %u opens key id %u slice %u with dtype %u, "
                            "which is none",
                            rank, d->key_id, d->slice, d->dtype);
    }
    unit = kv_dtype_size((enum kv_dtype)d->dtype);
    count_max = KV_SLICE_BYTES_MAX / unit;
    if (d->count == 0 || d->count > count_max) {
        return shard_refuse(s, KV_EINVAL,
                            "rank %u opens key id %u slice %u with %" PRIu64
                            " elements: 1 to %zu are possible",
                            rank, d->key_id, d->slice, d->count, count_max);
    }
    return KV_OK;
}

static enum kv_status check_same(struct shard *s, uint32_t rank,
                                 const struct slice_desc *d,
                                 const struct entry *e)
{
    if (d->dtype != (uint32_t)e->dtype || d->count != e->count) {
        return shard_refuse(s, KV_EMISMATCH,
                            "rank %u opens key id %u slice %u as %s[%" PRIu64
                            "], and it is %s[%zu]",
                            rank, d->key_id, d->slice,
                            kv_dtype_name((enum kv_dtype)d->dtype), d->count,
                            kv_dtype_name(e->dtype), e->count);
    }
    if (d->row_length != e->row_length) {
        return shard_refuse(
            s, KV_EMISMATCH,
            "rank %u opens key id %u slice %u with rows of %" PRIu64
            ", and it has rows of %u (0: it is dense)",
            rank, d->key_id, d->slice, d->row_length, e->row_length);
    }
    if (e->row_length == 0 && d->width != e->shape.width) {
        return shard_refuse(s, KV_EMISMATCH,
                            "rank %u opens key id %u slice %u with a width of "
                            "%" PRIu64 ", and it is %zu wide",
                            rank, d->key_id, d->slice, d->width,
                            e->shape.width);
    }
    return KV_OK;
}

/* --- Attach --------------------------------------------------------------- */

static void attach(struct shard *s, uint32_t rank, uint64_t request_id,
                   const struct slice_desc *desc, const struct entry *e)
{
    struct policy_view v = shard_view(s, e);
    enum kv_status status = check_same(s, rank, desc, e);

    if (status != KV_OK) {
        refused(s, rank, request_id, status);
        return;
    }
    s->events.opened(s->events.ctx, rank, request_id, KV_OK, NULL, e->slot,
                     s->policy->committed(&v, rank), e->value->reset != 0);
}

/* --- Wait ----------------------------------------------------------------- */

/* Whoever opens a slice that is not there, and has asked the root before the
 * last deletion, may mean one that was dropped: nobody would ever create it. */
static enum kv_status ask_again(struct shard *s)
{
    return shard_refuse(s, KV_EAGAIN,
                        "a key was deleted meanwhile: ask the root again");
}

static struct awaited *await(struct shard *s, uint64_t key)
{
    struct awaited *w = map_get(&s->awaited, key);

    if (w != NULL) {
        return w;
    }
    w = mem_zalloc(1, sizeof *w);
    if (w == NULL) {
        return NULL;
    }
    w->key = key;
    list_init(&w->openers);
    if (map_put(&s->awaited, key, w) != KV_OK) {
        mem_free(w);
        return NULL;
    }
    return w;
}

static void free_if_unwanted(struct shard *s, struct awaited *w)
{
    if (list_empty(&w->openers)) {
        KV_CHECK(map_remove(&s->awaited, w->key) == w);
        mem_free(w);
    }
}

static enum kv_status wait(struct shard *s, uint32_t rank, uint64_t request_id,
                           const struct slice_desc *desc, uint64_t key)
{
    struct opener *o;
    struct awaited *w;

    if (s->ranks[rank].opens_count >= OPENS_MAX) {
        return shard_refuse(
            s, KV_ETOOBIG,
            "rank %u waits for %zu slices already, which rank 0 has "
            "not initialized",
            rank, OPENS_MAX);
    }
    o = mem_zalloc(1, sizeof *o);
    w = o == NULL ? NULL : await(s, key);
    if (w == NULL) {
        mem_free(o);
        return shard_no_memory(s);
    }
    o->awaited = w;
    o->desc = *desc;
    o->request_id = request_id;
    o->since_ms = s->now_ms;
    o->rank = rank;
    list_push(&w->openers, &o->among_openers);
    list_push(&s->ranks[rank].opens, &o->among_opens);
    s->ranks[rank].opens_count++;
    return KV_OK;
}

static void free_opener(struct shard *s, struct opener *o)
{
    list_unlink(&o->among_openers);
    list_unlink(&o->among_opens);
    s->ranks[o->rank].opens_count--;
    mem_free(o);
}

static void serve_waiting(struct shard *s, uint64_t key, const struct entry *e)
{
    struct awaited *w = map_get(&s->awaited, key);

    if (w == NULL) {
        return;
    }
    while (!list_empty(&w->openers)) {
        struct opener *o =
            LIST_ENTRY(list_first(&w->openers), struct opener, among_openers);
        struct opener served = *o;

        free_opener(s, o);
        attach(s, served.rank, served.request_id, &served.desc, e);
    }
    free_if_unwanted(s, w);
}

void shard_end_waiting(struct shard *s, uint64_t key)
{
    struct awaited *w = map_get(&s->awaited, key);

    while (w != NULL && !list_empty(&w->openers)) {
        struct opener *o =
            LIST_ENTRY(list_first(&w->openers), struct opener, among_openers);
        struct opener told = *o;

        free_opener(s, o);
        refused(s, told.rank, told.request_id, ask_again(s));
    }
    if (w != NULL) {
        free_if_unwanted(s, w);
    }
}

void shard_forget_opens(struct shard *s, uint32_t rank)
{
    struct list *opens = &s->ranks[rank].opens;

    while (!list_empty(opens)) {
        struct opener *o =
            LIST_ENTRY(list_first(opens), struct opener, among_opens);
        struct awaited *w = o->awaited;

        free_opener(s, o);
        free_if_unwanted(s, w);
    }
}

bool shard_open_waits(const struct shard *s, uint32_t rank,
                      uint64_t *request_id, uint64_t *since_ms)
{
    const struct list_link *first = list_first(&s->ranks[rank].opens);
    const struct opener *o;

    if (first == NULL) {
        return false;
    }
    o = LIST_ENTRY(first, const struct opener, among_opens);
    *request_id = o->request_id;
    *since_ms = o->since_ms;
    return true;
}

/* --- Create --------------------------------------------------------------- */

static enum kv_status check_value(struct shard *s, uint32_t rank,
                                  const struct slice_desc *d, size_t size)
{
    enum kv_dtype dtype = (enum kv_dtype)d->dtype;
    size_t right = d->count * kv_dtype_size(dtype);

    if (size != right) {
        return shard_refuse(
            s, KV_EMISMATCH,
            "rank %u initializes key id %u slice %u with %zu bytes: "
            "%s[%" PRIu64 "] has %zu",
            rank, d->key_id, d->slice, size, kv_dtype_name(dtype), d->count,
            right);
    }
    if (s->slots >= KV_SLOTS_MAX && s->free == NULL) {
        return shard_refuse(s, KV_ETOOBIG,
                            "the shard has %u slices, no more go in", s->slots);
    }
    return KV_OK;
}

static void create(struct shard *s, uint32_t rank, uint64_t request_id,
                   const struct slice_desc *d, const void *value)
{
    struct state_shape shape =
        shard_shape((enum kv_dtype)d->dtype, d->count, 0, d->width);
    struct entry *e;
    enum kv_status status = shard_create(s, d, value, &e);

    if (status != KV_OK) {
        refused(s, rank, request_id,
                shard_refuse(
                    s, status,
                    "the server has no room for key id %u slice %u: %zu bytes "
                    "(--arena-dir, --arena-max)",
                    d->key_id, d->slice, shard_value_size(s, &shape)));
        return;
    }
    attach(s, rank, request_id, d, e);
    serve_waiting(s, shard_slice_key(d->key_id, d->slice), e);
}

void shard_open(struct shard *s, uint32_t rank, uint64_t request_id,
                const struct slice_desc *desc, const void *value, size_t size)
{
    uint64_t key = shard_slice_key(desc->key_id, desc->slice);
    const struct entry *e = map_get(&s->slices, key);
    enum kv_status status = check_desc(s, rank, desc);

    KV_CHECK(rank < s->workers);
    if (status == KV_OK && e == NULL && desc->deletions < shard_deletions(s)) {
        status = ask_again(s);
    } else if (status == KV_OK && e == NULL) {
        status = value == NULL ? wait(s, rank, request_id, desc, key)
                               : check_value(s, rank, desc, size);
    }
    if (status != KV_OK) {
        refused(s, rank, request_id, status);
    } else if (e != NULL) {
        attach(s, rank, request_id, desc, e);
    } else if (value != NULL) {
        create(s, rank, request_id, desc, value);
    }
}
