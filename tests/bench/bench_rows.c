/* What a worker of the rows case does: a table of embeddings, of which each
 * round pushes and pulls a few rows at random. */
#include "tests/bench/bench.h"

#include <stdlib.h>
#include <string.h>

#include "worker/kvworker.h"

enum { SETS = 16 }; /* Of row numbers; rounds take turns with them. */

struct bench_table {
    size_t rows, length; /* Of the table; of a row, in floats. */
    size_t moved;        /* Rows a round. */
    int64_t *ids, *pulled;
    float *gradients, *weights;
    unsigned round;
};

struct bench_table *bench_table_new(const struct bench_case *b)
{
    struct bench_table *t = calloc(1, sizeof *t);
    uint64_t random = 1;

    t->length = b->key_bytes / sizeof(float);
    t->rows = b->model_bytes / b->key_bytes;
    t->moved = b->rows;
    t->ids = calloc(SETS * t->moved, sizeof *t->ids);
    t->pulled = calloc(t->moved, sizeof *t->pulled);
    t->gradients = calloc(t->moved, b->key_bytes);
    t->weights = calloc(t->moved, b->key_bytes);
    for (size_t i = 0; i < SETS * t->moved; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        t->ids[i] = (int64_t)((random >> 33) % t->rows);
    }
    for (size_t i = 0; i < t->moved * t->length; i++) {
        t->gradients[i] = (float)(i % 17) * 1e-3f;
    }
    return t;
}

/* No rows given: all are zero. */
int bench_table_init(const struct bench_table *t, struct kvw *kv)
{
    struct kvw_tensor zeros = kvw_f32_rows(NULL, NULL, 0, t->rows, t->length);
    struct kvw_item item = {kvw_int(0), &zeros, 1};

    return kvw_init(kv, &item, 1);
}

int bench_table_round(struct bench_table *t, struct kvw *kv)
{
    int64_t *ids = t->ids + t->round++ % SETS * t->moved;
    struct kvw_tensor pushed =
        kvw_f32_rows(t->gradients, ids, t->moved, t->rows, t->length);
    struct kvw_tensor out =
        kvw_f32_rows(t->weights, t->pulled, t->moved, t->rows, t->length);
    struct kvw_item push = {kvw_int(0), &pushed, 1};
    struct kvw_row_ids wanted = {ids, KVW_I64, t->moved};
    struct kvw_row_pull pull = {kvw_int(0), &out, 1, &wanted, 1};
    int status = kvw_push(kv, &push, 1, NULL, NULL);

    if (status == KVW_OK) {
        status = kvw_row_sparse_pull(kv, &pull, 1, NULL, NULL);
    }
    return status == KVW_OK ? kvw_wait_all(kv, KVW_FOREVER) : status;
}
