/* kvw_row_sparse_pull: ids become rows, and the rest is a pull. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "worker/failure.h"
#include "worker/moves.h"
#include "worker/rows.h"
#include "worker/store.h"

/* What one call needs for a while. */
struct work {
    struct kvw *kv;
    struct kvw_item *items;
    size_t item_count;
    int64_t *read;
    uint64_t *marks, *spare;
};

static int refuse(const struct work *w, const struct kvw_row_pull *p,
                  const char *wrong)
{
    struct key_spec spec = {.name = p->key.name, .number = p->key.number};
    char name[KEYS_TEXT_MAX];

    return failure(w->kv->number, KV_EINVAL, "%s: %s", keys_text(&spec, name),
                   wrong);
}

static int check(const struct work *w, const struct kvw_row_pull *p)
{
    if (p->outs == NULL || p->out_count == 0 || p->ids == NULL ||
        (p->ids_count != 1 && p->ids_count != p->out_count)) {
        return refuse(w, p, "it takes outs, and one list of ids or one an out");
    }
    for (uint32_t i = 0; i < p->out_count; i++) {
        const struct kvw_tensor *t = &p->outs[i];

        if (t->storage != KVW_ROW_SPARSE || t->dims == 0) {
            return refuse(w, p, "what rows are pulled into is row_sparse");
        }
        if (t->rows == NULL && t->row_count > 0) {
            return refuse(w, p, "an out has no room for row numbers");
        }
    }
    for (uint32_t i = 0; i < p->ids_count; i++) {
        if ((p->ids[i].data == NULL && p->ids[i].count > 0) ||
            p->ids[i].count > UINT32_MAX) {
            return refuse(w, p, "ids are NULL, or more than 2^32 - 1");
        }
    }
    return KVW_OK;
}

/* --- Ids ------------------------------------------------------------------ */

static int bad_ids(const struct work *w, const struct kvw_row_pull *p,
                   const struct kvw_tensor *out, enum kv_status status,
                   size_t bad)
{
    char wrong[160];

    if (status == KV_ENOTSUP) {
        return refuse(w, p,
                      "ids are KVW_I64, KVW_I32, KVW_I8 or KVW_U8: floats do "
                      "not tell large numbers apart");
    }
    snprintf(wrong, sizeof wrong,
             "id %" PRId64 " (number %zu) is not one of its %" PRIu64 " rows",
             w->read[bad], bad, out->shape[0]);
    return refuse(w, p, wrong);
}

/* Into out->rows, ascending and each once. */
static int take_ids(struct work *w, const struct kvw_row_pull *p,
                    const struct kvw_row_ids *ids, struct kvw_tensor *out)
{
    struct rows_part part = {w->read, NULL, (uint32_t)ids->count};
    struct rows_marks marks = {.of = w->marks, .spare = w->spare};
    size_t bad = 0, unique;
    enum kv_status status =
        rows_read((enum kv_dtype)ids->dtype, ids->data, ids->count,
                  (int64_t)out->shape[0], w->read, &bad);

    if (status != KV_OK) {
        return bad_ids(w, p, out, status, bad);
    }
    if (!rows_fit(out->shape[0], ids->count)) {
        return refuse(w, p, MOVES_TOO_MANY);
    }
    rows_sort(&marks, &part, 1);
    unique = rows_unique(&marks, w->read);
    if (unique > out->row_count) {
        char wrong[160];

        snprintf(wrong, sizeof wrong,
                 "its ids are %zu rows, and an out has room for %" PRIu64,
                 unique, out->row_count);
        return refuse(w, p, wrong);
    }
    memcpy(out->rows, w->read, unique * sizeof *out->rows);
    out->row_count = unique;
    return KVW_OK;
}

/* With one list of ids, an item of all outs; else an item each. */
static int take_pull(struct work *w, const struct kvw_row_pull *p)
{
    for (uint32_t i = 0; i < p->out_count; i++) {
        bool shared = p->ids_count == 1;
        int result = take_ids(w, p, &p->ids[shared ? 0 : i], &p->outs[i]);

        if (result != KVW_OK) {
            return result;
        }
        if (i == 0 || !shared) {
            w->items[w->item_count++] = (struct kvw_item){
                p->key, &p->outs[i], shared ? p->out_count : 1};
        }
    }
    return KVW_OK;
}

/* --- The call ------------------------------------------------------------- */

static bool make_room(struct work *w, const struct kvw_row_pull *pulls,
                      size_t count)
{
    uint64_t items = 0, ids = 1;

    for (size_t i = 0; i < count; i++) {
        items += pulls[i].out_count;
        for (uint32_t n = 0; n < pulls[i].ids_count; n++) {
            ids = pulls[i].ids[n].count > ids ? pulls[i].ids[n].count : ids;
        }
    }
    w->items = mem_zalloc(items, sizeof *w->items);
    w->read = mem_alloc(ids * sizeof *w->read);
    w->marks = mem_alloc(ids * sizeof *w->marks);
    w->spare = mem_alloc(ids * sizeof *w->spare);
    return w->items != NULL && w->read != NULL && w->marks != NULL &&
           w->spare != NULL;
}

static void free_room(struct work *w)
{
    mem_free(w->items);
    mem_free(w->read);
    mem_free(w->marks);
    mem_free(w->spare);
}

int kvw_row_sparse_pull(struct kvw *kv, const struct kvw_row_pull *pulls,
                        size_t count, const struct kvw_call *call,
                        struct kvw_op **op)
{
    struct work w = {.kv = kv};
    int result = store_enter(kv, false);

    if (result == KVW_OK && (pulls == NULL || count == 0)) {
        result = failure(kv->number, KV_EINVAL, "no rows to pull");
    }
    for (size_t i = 0; result == KVW_OK && i < count; i++) {
        result = check(&w, &pulls[i]);
    }
    if (result != KVW_OK) {
        return result;
    }
    if (!make_room(&w, pulls, count)) {
        result = failure(kv->number, KV_ENOMEM, "out of memory for row ids");
    }
    for (size_t i = 0; result == KVW_OK && i < count; i++) {
        result = take_pull(&w, &pulls[i]);
    }
    if (result == KVW_OK) {
        result = kvw_pull(kv, w.items, w.item_count, call, op);
    }
    free_room(&w);
    return result;
}
