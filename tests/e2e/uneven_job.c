/**
 * uneven_job - epochs in which every rank has another number of batches.
 *
 *     uneven_job EPOCHS
 *
 * Rank r has 3 + 4 * ((r + epoch) % workers) batches. Who is done leaves the
 * rounds until all are. At the end of the last epoch the ranks close as they
 * are done, and the last one prints the hash of what it pulls: a gradient
 * depends on the weights, so one round with another set of ranks changes it.
 */
#include <kvworker.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define SMALL 1000
#define BIG 300000 /* Three slices, on several shards. */
#define COUNT (SMALL + BIG)

static float weights[COUNT], gradient[COUNT];
static struct kvw_tensor w[2], g[2];

static int batch(struct kvw *kv, unsigned number)
{
    struct kvw_item in[2] = {{kvw_str("small"), &g[0], 1},
                             {kvw_str("big"), &g[1], 1}};
    struct kvw_item out[2] = {{kvw_str("small"), &w[0], 1},
                              {kvw_str("big"), &w[1], 1}};
    unsigned salt = number * 31 + (unsigned)kvw_rank(kv) * 7;

    for (unsigned i = 0; i < COUNT; i++) {
        gradient[i] =
            weights[i] * 0.25f + (float)((i * 13 + salt) % 17) * 0.1f - 0.8f;
    }
    kvw_pushpull(kv, in, out, 2, NULL, NULL);
    return kvw_wait_all(kv, KVW_FOREVER);
}

static int end_of_epoch(struct kvw *kv)
{
    int status = kvw_leave(kv);

    status = status == KVW_OK ? kvw_barrier(kv, KVW_FOREVER) : status;
    status = status == KVW_OK ? kvw_join(kv) : status;
    return status == KVW_OK ? kvw_barrier(kv, KVW_FOREVER) : status;
}

static int begin(struct kvw *kv)
{
    struct kvw_item out[2] = {{kvw_str("small"), &w[0], 1},
                              {kvw_str("big"), &w[1], 1}};
    int status;

    for (int i = 0; i < 2; i++) {
        w[i] = kvw_f32(weights + i * SMALL, i == 0 ? SMALL : BIG);
        g[i] = kvw_f32(gradient + i * SMALL, i == 0 ? SMALL : BIG);
    }
    status = kvw_broadcast(kv, out, NULL, 2);
    if (status == KVW_OK) {
        status = kvw_set_optimizer(kv, "sgd", "lr=0.05,momentum=0.9");
    }
    return status == KVW_OK ? kvw_barrier(kv, KVW_FOREVER) : status;
}

static unsigned batches_of(const struct kvw *kv, unsigned epoch)
{
    unsigned workers = (unsigned)kvw_num_workers(kv);

    return 3 + 4 * (((unsigned)kvw_rank(kv) + epoch) % workers);
}

static int train(struct kvw *kv, unsigned epochs)
{
    int status = begin(kv);

    for (unsigned epoch = 0; epoch < epochs && status == KVW_OK; epoch++) {
        unsigned count = batches_of(kv, epoch);

        for (unsigned i = 0; i < count && status == KVW_OK; i++) {
            status = batch(kv, epoch * 100 + i);
        }
        if (status == KVW_OK && epoch + 1 < epochs) {
            status = end_of_epoch(kv);
        }
    }
    return status;
}

static void print_hash(void)
{
    const unsigned char *bytes = (const unsigned char *)weights;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < sizeof weights; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    printf("hash %016llx\n", (unsigned long long)hash);
}

int main(int argc, char **argv)
{
    unsigned epochs = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1;
    unsigned last;
    struct kvw *kv;
    int status;

    if (epochs == 0 || kvw_open(&kv, "dist_sync", NULL) != KVW_OK) {
        fprintf(stderr, "uneven_job: %s\n", kvw_error(NULL));
        return 1;
    }
    status = train(kv, epochs);
    last = 3 + 4 * ((unsigned)kvw_num_workers(kv) - 1);
    if (status != KVW_OK) {
        fprintf(stderr, "uneven_job: %s\n", kvw_error(kv));
    } else if (batches_of(kv, epochs - 1) == last) {
        print_hash();
    }
    kvw_close(kv);
    return status != KVW_OK;
}
