/**
 * conformance - values for the jobs of conformance.sh, each row of them one
 * number throughout, and steps that end the process with a sentence when a
 * number is not what MXNet's is.
 *
 *     struct value v;
 *     value_open(&v, kvw_str("w"), KVW_F16, KVW_DENSE, 2, 3);
 *     value_init(&v, 1);                 // on every rank; rank 0's counts
 *     value_push(&v, rank + 1);
 *     value_pull(&v);
 *     value_want(&v, 57);
 *     value_expect(&v);
 *     value_close(&v);
 *
 * Thread:  one.
 * Memory:  a value owns its arrays.
 */
#ifndef KV_TESTS_E2E_CONFORMANCE_H
#define KV_TESTS_E2E_CONFORMANCE_H

#include "worker/kvworker.h"
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/compute/dtype.h"

#define WAIT_MS 120000
#define DEVICES 2

static struct kvw *kv;

struct value {
    struct kvw_key key;
    struct kvw_tensor in[DEVICES]; /* To push; the first also has rows. */
    struct kvw_tensor out;
    float *want; /* Of each row. */
    float *line; /* A row in f32. */
};

static inline _Noreturn void give_up(const char *what, const char *why)
{
    fprintf(stderr, "rank %d: %s: %s\n", kv == NULL ? -1 : kvw_rank(kv), what,
            why);
    exit(EXIT_FAILURE);
}

static inline void check(int status, const char *what)
{
    if (status != KVW_OK) {
        give_up(what, kvw_error(kv));
    }
}

static inline void wait_all(void)
{
    check(kvw_wait_all(kv, WAIT_MS), "wait");
}

static inline void barrier(void)
{
    check(kvw_barrier(kv, WAIT_MS), "barrier");
}

/* --- Values --------------------------------------------------------------- */

static inline void *room(uint64_t count, size_t size)
{
    void *memory = calloc(count, size);

    if (memory == NULL) {
        give_up("memory", "out of it");
    }
    return memory;
}

static inline uint64_t value_columns(const struct value *v)
{
    return v->out.shape[1];
}

static inline size_t value_unit(const struct value *v)
{
    return v->out.dtype == KVW_F16 ? 2 : 4;
}

static inline void value_open(struct value *v, struct kvw_key key,
                              enum kvw_dtype dtype, enum kvw_storage storage,
                              uint64_t rows, uint64_t columns)
{
    struct kvw_tensor t = {NULL,    dtype, 2,   {rows, columns},
                           storage, NULL,  rows};

    v->key = key;
    v->out = t;
    v->out.data = room(rows * columns, value_unit(v));
    v->out.rows = room(rows, sizeof(int64_t));
    for (int d = 0; d < DEVICES; d++) {
        v->in[d] = t;
        v->in[d].data = room(rows * columns, value_unit(v));
    }
    v->in[0].rows = room(rows, sizeof(int64_t));
    v->want = room(rows, sizeof(float));
    v->line = room(columns, sizeof(float));
}

static inline void value_close(struct value *v)
{
    for (int d = 0; d < DEVICES; d++) {
        free(v->in[d].data);
    }
    free(v->in[0].rows);
    free(v->out.data);
    free(v->out.rows);
    free(v->want);
    free(v->line);
}

static inline void value_want(struct value *v, float number)
{
    for (uint64_t row = 0; row < v->out.shape[0]; row++) {
        v->want[row] = number;
    }
}

/* All rows that a tensor holds. */
static inline void value_fill(const struct value *v, const struct kvw_tensor *t,
                              float number)
{
    size_t size = value_columns(v) * value_unit(v);

    for (uint64_t i = 0; i < value_columns(v); i++) {
        v->line[i] = number;
    }
    for (uint64_t i = 0; i < t->row_count; i++) {
        kv_from_f32((enum kv_dtype)t->dtype, v->line,
                    (char *)t->data + i * size, value_columns(v));
    }
}

/* --- Steps ---------------------------------------------------------------- */

/* Who is not rank 0 comes with NaN, which nobody may ever see. */
static inline void value_init(struct value *v, float first)
{
    struct kvw_tensor t = v->in[0];
    struct kvw_item item = {v->key, &t, 1};

    t.rows = NULL;
    t.row_count = t.shape[0];
    value_fill(v, &t, kvw_rank(kv) == 0 ? first : NAN);
    value_want(v, first);
    check(kvw_init(kv, &item, 1), "init");
}

/* Of a row_sparse value, the rows that in[0] has. */
static inline void value_push(struct value *v, float number)
{
    struct kvw_item item = {v->key, &v->in[0], 1};

    value_fill(v, &v->in[0], number);
    check(kvw_push(kv, &item, 1, NULL, NULL), "push");
}

static inline void value_pull(struct value *v)
{
    struct kvw_item item = {v->key, &v->out, 1};

    v->out.row_count = v->out.shape[0];
    for (uint64_t row = 0; row < v->out.shape[0]; row++) {
        v->out.rows[row] = (int64_t)row;
    }
    value_fill(v, &v->out, NAN);
    check(kvw_pull(kv, &item, 1, NULL, NULL), "pull");
}

static inline void value_pull_rows(struct value *v, const int64_t *ids,
                                   uint64_t count)
{
    struct kvw_row_ids list = {ids, KVW_I64, count};
    struct kvw_row_pull pull = {v->key, &v->out, 1, &list, 1};

    v->out.row_count = v->out.shape[0];
    value_fill(v, &v->out, NAN);
    check(kvw_row_sparse_pull(kv, &pull, 1, NULL, NULL), "pull of rows");
}

/* --- What came ------------------------------------------------------------ */

static inline _Noreturn void value_wrong(const struct value *v, int64_t row,
                                         uint64_t column, float got)
{
    char what[64], why[96];

    snprintf(what, sizeof what, "key '%s' %lld (%llu,%llu) f%zu",
             v->key.name == NULL ? "" : v->key.name, (long long)v->key.number,
             (unsigned long long)v->out.shape[0],
             (unsigned long long)v->out.shape[1], 8 * value_unit(v));
    snprintf(why, sizeof why, "[%lld,%llu] is %.9g, not %.9g", (long long)row,
             (unsigned long long)column, (double)got, (double)v->want[row]);
    give_up(what, why);
}

/* The rows that a pull brought. */
static inline void value_expect_in(const struct value *v,
                                   const struct kvw_tensor *t,
                                   const int64_t *rows)
{
    size_t size = value_columns(v) * value_unit(v);

    for (uint64_t i = 0; i < t->row_count; i++) {
        kv_to_f32((enum kv_dtype)t->dtype, (char *)t->data + i * size, v->line,
                  value_columns(v));
        for (uint64_t column = 0; column < value_columns(v); column++) {
            if (v->line[column] != v->want[rows[i]]) {
                value_wrong(v, rows[i], column, v->line[column]);
            }
        }
    }
}

static inline void value_expect(const struct value *v)
{
    value_expect_in(v, &v->out, v->out.rows);
}

/* The rows that `ids` name, ascending and each once, and no others. */
static inline void value_expect_rows(const struct value *v, const int64_t *ids,
                                     uint64_t count)
{
    bool *named = room(v->out.shape[0], sizeof *named);
    uint64_t unique = 0;

    for (uint64_t i = 0; i < count; i++) {
        unique += !named[ids[i]];
        named[ids[i]] = true;
    }
    if (v->out.row_count != unique) {
        give_up(v->key.name, "another number of rows than were named");
    }
    for (uint64_t i = 0; i < unique; i++) {
        if (!named[v->out.rows[i]] ||
            (i > 0 && v->out.rows[i] <= v->out.rows[i - 1])) {
            give_up(v->key.name, "a row that was not named, or not in order");
        }
    }
    free(named);
    value_expect(v);
}

#endif
