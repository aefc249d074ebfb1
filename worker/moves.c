#include "worker/moves.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "worker/rows.h"

#define ALIGN ((size_t)64)

/* Everything of a call lies in one room, whose size is known beforehand. */
struct room {
    char *at;
};

static size_t padded(size_t size)
{
    return (size + ALIGN - 1) & ~(ALIGN - 1);
}

static void *take(struct room *room, size_t size)
{
    void *taken = room->at;

    room->at += padded(size);
    return taken;
}

/* --- Tensors -------------------------------------------------------------- */

size_t moves_row_length(const struct key_spec *spec)
{
    size_t length = 1;

    for (uint32_t i = 1; i < spec->dims; i++) {
        length *= spec->shape[i];
    }
    return length;
}

/* Some rows, rather than all of them in order. */
static bool has_rows(const struct kvw_tensor *t)
{
    return t->storage == KVW_ROW_SPARSE &&
           (t->rows != NULL || t->row_count == 0);
}

static size_t row_size(const struct kvw_tensor *t)
{
    size_t size = kv_dtype_size((enum kv_dtype)t->dtype);

    for (uint32_t i = 1; i < t->dims; i++) {
        size *= t->shape[i];
    }
    return size;
}

static size_t data_size(const struct kvw_tensor *t)
{
    return row_size(t) * (has_rows(t) ? t->row_count : t->shape[0]);
}

static uint64_t total_rows(const struct kvw_item *item)
{
    uint64_t total = 0;

    for (uint32_t i = 0; i < item->tensor_count; i++) {
        total += item->tensors[i].row_count;
    }
    return total;
}

static enum kv_status refuse(const struct kvw_item *item, const char *wrong,
                             char text[ARGUMENTS_TEXT_MAX])
{
    struct key_spec spec = {.name = item->key.name, .number = item->key.number};
    char name[KEYS_TEXT_MAX];

    snprintf(text, ARGUMENTS_TEXT_MAX, "%s: %s", keys_text(&spec, name), wrong);
    return KV_EINVAL;
}

static enum kv_status bad_row(const struct kvw_item *item,
                              const struct kvw_tensor *t, size_t at,
                              char text[ARGUMENTS_TEXT_MAX])
{
    char wrong[160];

    snprintf(wrong, sizeof wrong,
             "row %" PRId64 " (number %zu of %" PRIu64
             ") is not one of its %" PRIu64 " rows",
             t->rows[at], at, t->row_count, t->shape[0]);
    return refuse(item, wrong, text);
}

static enum kv_status check_tensor(const struct kvw_item *item,
                                   const struct kvw_tensor *t,
                                   char text[ARGUMENTS_TEXT_MAX])
{
    if (t->storage != KVW_DENSE && t->storage != KVW_ROW_SPARSE) {
        return refuse(item, "its storage is KVW_DENSE or KVW_ROW_SPARSE", text);
    }
    if (has_rows(t) != has_rows(item->tensors)) {
        return refuse(item, "its tensors are all dense, or all row_sparse",
                      text);
    }
    if (t->storage == KVW_ROW_SPARSE && !has_rows(t) &&
        t->row_count != t->shape[0]) {
        return refuse(item,
                      "a row_sparse tensor without row numbers has all rows, "
                      "or none",
                      text);
    }
    if (has_rows(t) && t->row_count > UINT32_MAX) {
        return refuse(item, "a call brings at most 2^32 - 1 rows", text);
    }
    for (size_t i = 0; has_rows(t) && i < t->row_count; i++) {
        if (t->rows[i] < 0 || (uint64_t)t->rows[i] >= t->shape[0]) {
            return bad_row(item, t, i, text);
        }
    }
    return KV_OK;
}

static enum kv_status check_item(const struct kvw_item *item, bool pull,
                                 char text[ARGUMENTS_TEXT_MAX])
{
    const struct kvw_tensor *first = item->tensors;
    enum kv_status status = KV_OK;

    for (uint32_t i = 0; status == KV_OK && i < item->tensor_count; i++) {
        status = check_tensor(item, &item->tensors[i], text);
    }
    if (status == KV_OK && pull && has_rows(first) &&
        !rows_ascending(first->rows, first->row_count, INT64_MAX)) {
        return refuse(item,
                      "the rows of a tensor that is pulled into are ascending; "
                      "kvw_row_sparse_pull() makes them so",
                      text);
    }
    if (status == KV_OK && !pull && has_rows(first) &&
        !rows_fit(first->shape[0], total_rows(item))) {
        return refuse(item, MOVES_TOO_MANY, text);
    }
    return status;
}

/* --- Room ----------------------------------------------------------------- */

/* May the rows go as they are? */
static bool as_they_are(const struct kvw_item *item, bool pull, uint32_t flags)
{
    const struct kvw_tensor *t = item->tensors;

    return pull || ((flags & KVW_COPY) == 0 && item->tensor_count == 1 &&
                    rows_ascending(t->rows, t->row_count, INT64_MAX));
}

/* May they be sent from where they are, but for those that stand twice? */
static bool scattered(uint32_t flags)
{
    return (flags & MOVES_SCATTERED) != 0 && (flags & KVW_COPY) == 0;
}

static size_t merge_room(const struct kvw_item *item, uint32_t flags)
{
    uint64_t rows = total_rows(item);
    size_t size = padded(item->tensor_count * sizeof(struct rows_part)) +
                  padded(rows * sizeof(int64_t)) +
                  2 * padded(rows * sizeof(uint64_t));

    if (scattered(flags)) {
        return size + padded(rows * sizeof(void *)) +
               padded(rows / 2 * row_size(item->tensors));
    }
    return size + padded(rows * row_size(item->tensors));
}

static size_t room_of(const struct kvw_item *item, bool pull, uint32_t flags)
{
    size_t size = padded(item->tensor_count * sizeof(void *));
    bool copy = (flags & KVW_COPY) != 0;

    if (item->key.name != NULL) {
        size += padded(strlen(item->key.name) + 1);
    }
    if (!has_rows(item->tensors)) {
        for (uint32_t i = 0; copy && !pull && i < item->tensor_count; i++) {
            size += padded(data_size(&item->tensors[i]));
        }
        return size;
    }
    return as_they_are(item, pull, flags) ? size
                                          : size + merge_room(item, flags);
}

/* --- Moves ---------------------------------------------------------------- */

/* Sorted and summed, in the room. */
static void merge(struct room *room, struct move *m,
                  const struct kvw_item *item, uint32_t flags)
{
    uint64_t total = total_rows(item);
    struct rows_part *parts =
        take(room, item->tensor_count * sizeof(struct rows_part));
    int64_t *rows = take(room, total * sizeof *rows);
    uint64_t *of = take(room, total * sizeof *of);
    uint64_t *spare = take(room, total * sizeof *spare);
    struct rows_marks marks = {.of = of, .spare = spare};
    const void **from = NULL;
    void *data;

    if (scattered(flags)) {
        from = take(room, total * sizeof *from);
        data = take(room, total / 2 * row_size(item->tensors));
    } else {
        data = take(room, total * row_size(item->tensors));
    }

    for (uint32_t i = 0; i < item->tensor_count; i++) {
        const struct kvw_tensor *t = &item->tensors[i];

        parts[i] = (struct rows_part){t->rows, t->data, (uint32_t)t->row_count};
    }
    rows_sort(&marks, parts, item->tensor_count);
    m->row_count =
        (uint32_t)rows_sum(&marks, parts, m->spec.dtype,
                           moves_row_length(&m->spec), rows, from, data);
    m->rows = rows;
    m->from = from;
    m->data[0] = data;
    m->data_count = 1;
}

static void take_dense(struct room *room, struct move *m,
                       const struct kvw_item *item, bool copy)
{
    for (uint32_t i = 0; copy && i < item->tensor_count; i++) {
        size_t size = data_size(&item->tensors[i]);

        m->data[i] = memcpy(take(room, size), m->data[i], size);
    }
}

static void take_move(struct room *room, struct move *m,
                      const struct kvw_item *item, bool pull, uint32_t flags)
{
    static const int64_t none = 0;
    const struct kvw_tensor *t = item->tensors;
    char text[ARGUMENTS_TEXT_MAX];

    memset(m, 0, sizeof *m);
    KV_CHECK(arguments_spec(item, &m->spec, text) == KV_OK);
    if (m->spec.name != NULL) {
        size_t size = strlen(m->spec.name) + 1;

        m->spec.name = memcpy(take(room, size), m->spec.name, size);
    }
    m->pull = pull;
    m->data = take(room, item->tensor_count * sizeof(void *));
    m->data_count = item->tensor_count;
    for (uint32_t i = 0; i < item->tensor_count; i++) {
        m->data[i] = item->tensors[i].data;
    }
    if (!has_rows(t)) {
        take_dense(room, m, item, (flags & KVW_COPY) != 0 && !pull);
    } else if (as_they_are(item, pull, flags)) {
        m->rows = t->row_count == 0 ? &none : t->rows;
        m->row_count = (uint32_t)t->row_count;
    } else {
        merge(room, m, item, flags);
    }
}

/* --- Calls ---------------------------------------------------------------- */

static bool left_out(const struct kvw_item *item, bool pull, uint32_t flags)
{
    return pull && (flags & KVW_IGNORE_SPARSE) != 0 &&
           item->tensors->storage != KVW_DENSE;
}

static enum kv_status measure(const struct kvw_item *items, size_t count,
                              bool pull, uint32_t flags, size_t *size,
                              char text[ARGUMENTS_TEXT_MAX])
{
    struct key_spec spec;

    for (size_t i = 0; items != NULL && i < count; i++) {
        enum kv_status status = arguments_spec(&items[i], &spec, text);

        if (status == KV_OK) {
            status = check_item(&items[i], pull, text);
        }
        if (status != KV_OK) {
            return status;
        }
        *size += sizeof(struct move) + room_of(&items[i], pull, flags);
    }
    return KV_OK;
}

enum kv_status moves_check(const struct kvw_item *items, size_t count,
                           char text[ARGUMENTS_TEXT_MAX])
{
    size_t size = 0;

    return measure(items, count, false, 0, &size, text);
}

static bool same_key(const struct kvw_key *a, const struct kvw_key *b)
{
    if (a->name == NULL || b->name == NULL) {
        return a->name == b->name && a->number == b->number;
    }
    return strcmp(a->name, b->name) == 0;
}

static enum kv_status check_pairs(const struct kvw_item *pushes,
                                  const struct kvw_item *pulls, size_t count,
                                  char text[ARGUMENTS_TEXT_MAX])
{
    for (size_t i = 0; pushes != NULL && pulls != NULL && i < count; i++) {
        if (!same_key(&pushes[i].key, &pulls[i].key)) {
            return refuse(
                &pushes[i],
                "it is pushed, but another one is pulled in its place", text);
        }
    }
    return KV_OK;
}

static void take_moves(struct room *room, struct kvw_op *op,
                       const struct kvw_item *pushes,
                       const struct kvw_item *pulls, size_t count,
                       uint32_t flags)
{
    for (size_t i = 0; i < count; i++) {
        if (pushes != NULL) {
            take_move(room, &op->moves[op->move_count++], &pushes[i], false,
                      flags);
        }
        if (pulls != NULL && !left_out(&pulls[i], true, flags)) {
            take_move(room, &op->moves[op->move_count++], &pulls[i], true,
                      flags);
        }
    }
}

enum kv_status moves_take(struct op_pool *pool, struct kvw_op *op,
                          const struct kvw_item *pushes,
                          const struct kvw_item *pulls, size_t count,
                          uint32_t flags, char text[ARGUMENTS_TEXT_MAX])
{
    size_t sides = (size_t)(pushes != NULL) + (size_t)(pulls != NULL);
    size_t size = ALIGN; /* That the array of moves is padded by. */
    struct room room;
    enum kv_status status = measure(pushes, count, false, flags, &size, text);

    if (status == KV_OK) {
        status = measure(pulls, count, true, flags, &size, text);
    }
    if (status == KV_OK) {
        status = check_pairs(pushes, pulls, count, text);
    }
    if (status != KV_OK) {
        return status;
    }
    room.at = op_copy_room(pool, op, size);
    if (room.at == NULL) {
        snprintf(text, ARGUMENTS_TEXT_MAX, "out of memory for %zu bytes", size);
        return KV_ENOMEM;
    }
    op->moves = take(&room, sides * count * sizeof(struct move));
    take_moves(&room, op, pushes, pulls, count, flags);
    return KV_OK;
}

/* --- First values --------------------------------------------------------- */

static size_t whole_size(const struct kvw_tensor *t)
{
    return row_size(t) * t->shape[0];
}

struct kvw_item *moves_spread(const struct kvw_item *items, size_t count)
{
    size_t size = padded(count * sizeof *items) +
                  padded(count * sizeof(struct kvw_tensor));
    struct kvw_tensor *tensors;
    struct kvw_item *out;
    struct room room;

    for (size_t i = 0; i < count; i++) {
        size += padded(whole_size(items[i].tensors));
    }
    room.at = mem_zalloc(1, size + ALIGN);
    if (room.at == NULL) {
        return NULL;
    }
    out = take(&room, count * sizeof *out);
    tensors = take(&room, count * sizeof *tensors);
    for (size_t i = 0; i < count; i++) {
        struct kvw_tensor *t = &tensors[i];
        size_t size_of_row = row_size(items[i].tensors);
        char *data;

        *t = *items[i].tensors;
        out[i] = (struct kvw_item){items[i].key, t, 1};
        if (!has_rows(t)) {
            continue;
        }
        data = take(&room, whole_size(t));
        for (uint64_t n = 0; n < t->row_count; n++) {
            memcpy(data + (size_t)t->rows[n] * size_of_row,
                   (const char *)t->data + n * size_of_row, size_of_row);
        }
        t->data = data;
        t->rows = NULL;
        t->row_count = t->shape[0];
    }
    return out;
}
