/**
 * dist_custom_job - what MXNet and ps-lite demand beyond dist_sync.
 *
 *     kvlaunch -n 7 -s 7 -- dist_custom_job custom
 *     kvlaunch -n 7 -s 7 -- dist_custom_job async
 *     kvlaunch -n 2 -s 2 -- dist_custom_job app
 *
 * custom: tests/nightly/dist_device_sync_kvstore_custom.py, broadcast and
 * pushpull without an optimizer. async: dist_async_kvstore.py. app: ps-lite's
 * test_kv_app.cc, keys of each rank's own, to which every push adds.
 */
#include "tests/e2e/conformance.h"

static int rank, workers;

static void open_as(const char *kind)
{
    check(kvw_open(&kv, kind, NULL), "open");
    rank = kvw_rank(kv);
    workers = kvw_num_workers(kv);
}

/* --- custom --------------------------------------------------------------- */

static void broadcast_keys(int first, int count, uint64_t rows,
                           uint64_t columns)
{
    for (int i = 0; i < count; i++) {
        struct kvw_item in, out;
        struct value v;

        value_open(&v, kvw_int(first + i), KVW_F32, KVW_DENSE, rows, columns);
        in = (struct kvw_item){v.key, &v.in[0], 1};
        out = (struct kvw_item){v.key, &v.in[1], 1};
        value_fill(&v, &v.in[0], rank == 0 ? (float)i : NAN);
        check(kvw_broadcast(kv, &in, i % 2 == 0 ? &out : NULL, 1), "broadcast");
        value_want(&v, (float)i);
        for (uint64_t row = 0; row < rows; row++) {
            v.out.rows[row] = (int64_t)row;
        }
        value_expect_in(&v, i % 2 == 0 ? &v.in[1] : &v.in[0], v.out.rows);
        value_close(&v);
    }
}

/* Two devices of rank + 1 each, in place, three times: always the same sum. */
static void pushpull_in_place(int key, uint64_t rows, uint64_t columns)
{
    struct kvw_item both;
    struct value v;

    value_open(&v, kvw_int(key), KVW_F32, KVW_DENSE, rows, columns);
    value_init(&v, 1);
    both = (struct kvw_item){v.key, v.in, DEVICES};
    value_want(&v, (float)(workers * (workers + 1)));
    for (uint64_t row = 0; row < rows; row++) {
        v.out.rows[row] = (int64_t)row;
    }
    for (int repeat = 0; repeat < 3; repeat++) {
        value_fill(&v, &v.in[0], (float)(rank + 1));
        value_fill(&v, &v.in[1], (float)(rank + 1));
        check(kvw_pushpull(kv, &both, NULL, 1, NULL, NULL), "pushpull");
        wait_all();
        value_expect_in(&v, &v.in[0], v.out.rows);
        value_expect_in(&v, &v.in[1], v.out.rows);
    }
    value_close(&v);
}

static void custom(void)
{
    open_as("dist_device_sync");
    broadcast_keys(200, 100, 2, 3);
    broadcast_keys(300, 10, 1200, 1200); /* MXNet: 100, too. */
    broadcast_keys(400, 100, 2, 3);
    broadcast_keys(500, 10, 1200, 1200);
    pushpull_in_place(600, 2, 3);
    pushpull_in_place(601, 1200, 1200);
    pushpull_in_place(602, 1211, 1211);
}

/* --- async ---------------------------------------------------------------- */

/* MXNet's server ends itself here. */
static void push_without_optimizer(struct value *v)
{
    struct kvw_item item = {v->key, &v->in[0], 1};
    struct kvw_op *op;

    value_fill(v, &v->in[0], 1);
    check(kvw_push(kv, &item, 1, NULL, &op), "push");
    if (kvw_wait(kv, op, WAIT_MS) == KVW_OK ||
        strstr(kvw_error(kv), "optimizer") == NULL) {
        give_up("a push without an optimizer", kvw_error(kv));
    }
}

static void async_key(struct value *v, float right)
{
    for (int i = 0; i < 7; i++) {
        value_push(v, (float)(rank + 1));
        wait_all();
    }
    barrier();
    value_pull(v);
    wait_all();
    value_want(v, right);
    value_expect(v);
}

static void async(void)
{
    static const char *const names[] = {"small", "big", "small.f16", "rows"};
    struct value v[4];

    open_as("dist_async");
    for (int k = 0; k < 4; k++) {
        value_open(&v[k], kvw_str(names[k]), k == 2 ? KVW_F16 : KVW_F32,
                   k == 3 ? KVW_ROW_SPARSE : KVW_DENSE, k == 1 ? 1200 : 2,
                   k == 1 ? 1200 : 3);
        value_init(&v[k], 1);
    }
    push_without_optimizer(&v[0]);
    barrier();
    check(kvw_set_optimizer(kv, "test", "rescale_grad=2"), "set_optimizer");
    barrier();
    for (int k = 0; k < 4; k++) {
        for (int row = 0; row < 2; row++) {
            v[k].in[0].rows[row] = row;
        }
        async_key(&v[k], (float)(1 + 7 * workers * (workers + 1)));
        value_close(&v[k]);
    }
}

/* --- app ------------------------------------------------------------------ */

#define APP_KEYS 10000
#define APP_RANKS 2
#define APP_ALL (APP_KEYS * APP_RANKS)
#define APP_REPEAT 50

static float app_value(int key)
{
    return (float)(key % 1000);
}

static void app_expect(const float *got, int first, int times)
{
    for (int i = 0; i < APP_KEYS; i++) {
        if (got[i] != (float)times * app_value(first + i)) {
            fprintf(stderr, "key %d is %g after %d pushes of %g\n", first + i,
                    (double)got[i], times, (double)app_value(first + i));
            give_up("app", "wrong sum");
        }
    }
}

/* Registered by all, each to be pushed by one rank. */
static void app_init(struct kvw_item *items, struct kvw_tensor *tensors,
                     float *values)
{
    for (int i = 0; i < APP_ALL; i++) {
        tensors[i] = kvw_f32(&values[i], 1);
        items[i] = (struct kvw_item){kvw_int(i), &tensors[i], 1};
    }
    check(kvw_init(kv, items, APP_ALL), "init");
    check(kvw_set_optimizer(kv, "accumulate", ""), "set_optimizer");
    barrier();
}

static void app_play(struct kvw_item *in, struct kvw_tensor *tensors,
                     const float *got, int first)
{
    struct kvw_item *out = in + APP_KEYS;

    for (int i = 0; i < APP_REPEAT; i++) {
        check(kvw_push(kv, in, APP_KEYS, NULL, NULL), "push");
    }
    for (int i = 0; i < APP_KEYS; i++) {
        out[i] = (struct kvw_item){in[i].key, &tensors[i], 1};
    }
    check(kvw_pull(kv, out, APP_KEYS, NULL, NULL), "pull");
    wait_all();
    app_expect(got, first, APP_REPEAT);
    for (int i = 0; i < APP_REPEAT; i++) {
        check(kvw_pushpull(kv, in, out, APP_KEYS, NULL, NULL), "pushpull");
    }
    wait_all();
    app_expect(got, first, 2 * APP_REPEAT);
}

static void app(void)
{
    static struct kvw_tensor tensors[APP_ALL], outs[APP_KEYS];
    static struct kvw_item items[APP_ALL + APP_KEYS];
    static float values[APP_ALL], got[APP_KEYS];
    int first;

    open_as("dist_async");
    if (workers != APP_RANKS) {
        give_up("usage", "app is for two workers");
    }
    app_init(items, tensors, values);
    first = rank * APP_KEYS;
    for (int i = 0; i < APP_KEYS; i++) {
        items[i].key = kvw_int(first + i);
        values[i] = app_value(first + i);
        outs[i] = kvw_f32(&got[i], 1);
    }
    app_play(items, outs, got, first);
}

int main(int argc, char **argv)
{
    const char *part = argc > 1 ? argv[1] : "";

    if (strcmp(part, "custom") == 0) {
        custom();
    } else if (strcmp(part, "async") == 0) {
        async();
    } else if (strcmp(part, "app") == 0) {
        app();
    } else {
        give_up("usage", "dist_custom_job custom, async or app");
    }
    barrier();
    kvw_close(kv);
    printf("conforms\n");
    return EXIT_SUCCESS;
}
