/* Calls about keys as such: which there are, how far they have come, and that
 * they go. */
#include "worker/kvworker.h"

#include <string.h>

#include "common/base/mem.h"
#include "worker/arguments.h"
#include "worker/failure.h"
#include "worker/store.h"

/* An op with its keys; dropped again when they are refused. */
static int take_keys(struct kvw *kv, enum op_kind kind,
                     const struct kvw_key *keys, size_t count,
                     struct kvw_op **out)
{
    char text[ARGUMENTS_TEXT_MAX];
    enum kv_status status;
    int result = store_enter(kv, true);

    if (result == KVW_OK) {
        result = store_take(kv, kind, out);
    }
    if (result != KVW_OK) {
        return result;
    }
    status = arguments_keys(*out, keys, count, text);
    if (status != KV_OK) {
        op_drop(&kv->pool, *out);
        return failure(kv->number, status, "%s", text);
    }
    return KVW_OK;
}

int kvw_delete(struct kvw *kv, const struct kvw_key *keys, size_t count)
{
    struct kvw_op *op;
    int result = take_keys(kv, OP_DELETE, keys, count, &op);

    return result == KVW_OK ? store_run(kv, op) : result;
}

int kvw_get_version(struct kvw *kv, struct kvw_key key, uint64_t *version)
{
    uint64_t rounds = 0;
    struct kvw_op *op;
    int result;

    if (version == NULL) {
        return failure(kv->number, KV_EINVAL, "a place for it is needed");
    }
    result = take_keys(kv, OP_VERSION, &key, 1, &op);
    if (result != KVW_OK) {
        return result;
    }
    op->version = &rounds;
    result = store_run(kv, op);
    if (result == KVW_OK) {
        *version = rounds;
    }
    return result;
}

/* --- Listing -------------------------------------------------------------- */

static void tell(const struct op_listing *l, kvw_key_fn fn, void *arg)
{
    struct kvw_key_info info = {
        .dtype = (enum kvw_dtype)l->dtype,
        .dims = l->dims,
        .storage = l->storage == KV_ROW_SPARSE ? KVW_ROW_SPARSE : KVW_DENSE,
        .slices = l->slices};

    info.key.name = l->name[0] == '\0' ? NULL : l->name;
    info.key.number = l->number;
    memcpy(info.shape, l->shape, sizeof info.shape);
    fn(arg, &info);
}

static int next_page(struct kvw *kv, struct op_page *page)
{
    struct kvw_op *op;
    int result = store_enter(kv, true);

    if (result == KVW_OK) {
        result = store_take(kv, OP_LIST, &op);
    }
    if (result != KVW_OK) {
        return result;
    }
    op->page = page;
    return store_run(kv, op);
}

int kvw_list_keys(struct kvw *kv, kvw_key_fn fn, void *arg)
{
    struct op_page *page = mem_zalloc(1, sizeof *page);
    int result;

    if (page == NULL || fn == NULL) {
        mem_free(page);
        return failure(kv->number, fn == NULL ? KV_EINVAL : KV_ENOMEM,
                       fn == NULL ? "a function is needed"
                                  : "out of memory for a list");
    }
    do {
        result = next_page(kv, page);
        for (uint32_t i = 0; result == KVW_OK && i < page->count; i++) {
            tell(&page->keys[i], fn, arg);
        }
    } while (result == KVW_OK && page->from != 0);
    mem_free(page);
    return result;
}
