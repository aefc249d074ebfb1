/* A call with row_sparse tensors, on the lane. */
#include <string.h>

#include "common/base/mem.h"
#include "worker/engine_core.h"
#include "worker/lookup.h"
#include "worker/moves.h"
#include "worker/rows.h"

/* --- Preparation ---------------------------------------------------------- */

/* The dense gradient that rows stand for: zeros elsewhere. */
static bool spread(struct move *m)
{
    size_t size = moves_row_length(&m->spec) * kv_dtype_size(m->spec.dtype);
    const char *data = m->data[0];
    char *to = mem_zalloc(m->spec.shape[0], size);

    m->dense = to;
    for (uint32_t i = 0; to != NULL && i < m->row_count; i++) {
        memcpy(to + (size_t)m->rows[i] * size,
               m->from != NULL ? m->from[i] : data + i * size, size);
    }
    m->data[0] = to;
    m->rows = NULL;
    return to != NULL;
}

/* Which of the rows lie in which slice. */
static bool split(struct move *m)
{
    const struct key *key = m->key;
    size_t length = moves_row_length(&m->spec);
    int64_t rows_per_slice = (int64_t)(key->slice_step / length);
    size_t begin = 0;

    m->parts = mem_zalloc(key->slice_count, sizeof *m->parts);
    for (uint32_t i = 0; m->parts != NULL && i < key->slice_count; i++) {
        struct part_rows *p = &m->parts[i];

        p->first = i * rows_per_slice;
        p->length = length;
        p->rows = m->rows + begin;
        p->from = m->from == NULL ? NULL : m->from + begin;
        p->count = (uint32_t)rows_below(p->rows, m->row_count - begin,
                                        p->first + rows_per_slice);
        begin += p->count;
    }
    return m->parts != NULL;
}

static bool prepare(struct engine *e, struct kvw_op *op, size_t *pieces)
{
    if (!lookup_moves(&e->keys, e->job.rank, op)) {
        return false;
    }
    for (size_t i = 0; i < op->move_count; i++) {
        struct move *m = &op->moves[i];

        if (m->rows != NULL &&
            !(m->key->spec.storage == KV_DENSE ? spread(m) : split(m))) {
            op_fail(op, KV_ENOMEM, "out of memory for rows");
            return false;
        }
        *pieces += m->key->slice_count;
    }
    return true;
}

/* --- Start and end -------------------------------------------------------- */

/* A push reaches every slice, to be its part of the round; a pull only those
 * that it wants something of. */
static void submit(struct engine *e, struct kvw_op *op, struct move *m)
{
    size_t row = moves_row_length(&m->spec) * kv_dtype_size(m->spec.dtype);

    for (uint32_t i = 0; i < m->key->slice_count; i++) {
        const struct part_rows *rows = m->rows == NULL ? NULL : &m->parts[i];
        struct part *p;

        if (m->pull && rows != NULL && rows->count == 0) {
            continue;
        }
        p = m->pull ? engine_pull(op, m->key, i, m->data, m->data_count)
                    : engine_push(op, m->key, i, m->data, m->data_count);
        p->rows = rows;
        if (rows != NULL) {
            p->offset = (size_t)(rows->rows - m->rows) * row;
        }
        route_submit(&e->routes[m->key->slices[i].home], p);
    }
}

void engine_moves(struct engine *e, struct kvw_op *op)
{
    size_t pieces = 0;

    if (e->left && engine_stops(e, op)) {
        return;
    }
    op->left = 1; /* So that it cannot end in the middle of this. */
    if (prepare(e, op, &pieces) && engine_reserve(op, pieces)) {
        for (size_t i = 0; i < op->move_count; i++) {
            submit(e, op, &op->moves[i]);
        }
    }
    engine_one_less(e, op);
}

void engine_moves_free(struct kvw_op *op)
{
    for (size_t i = 0; i < op->move_count; i++) {
        mem_free(op->moves[i].dense);
        mem_free(op->moves[i].parts);
    }
}
