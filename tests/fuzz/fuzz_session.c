/* Sessions of three ranks with one shard and dense values. */
#include "tests/fuzz/fuzz_job.h"

/* --- What a rank says ---------------------------------------------------- */

static void say_open(struct job *j, uint32_t rank, struct fuzz_input *in)
{
    struct message m = {.kind = MESSAGE_OPEN};
    uint32_t large = (uint32_t)fuzz_take(in, 1);

    m.open.key_id = (uint32_t)fuzz_take(in, 1);
    m.open.slice = (uint32_t)fuzz_take(in, 1) % 4;
    m.open.slices = 4;
    m.open.dtype = (uint32_t)fuzz_take(in, 1);
    m.open.count = fuzz_take(in, 1) * (large % 4 == 3 ? 4096 : 1);
    say(j, rank, &m,
        large % 2 == 0
            ? 0
            : m.open.count * kv_dtype_size((enum kv_dtype)m.open.dtype) +
                  large / 64,
        in);
}

static void fill_run(struct run *run, struct fuzz_input *in, bool sized)
{
    uint32_t large = (uint32_t)fuzz_take(in, 1);

    run->slot = (uint32_t)fuzz_take(in, 1);
    run->count = 1 + (uint32_t)fuzz_take(in, 1) % 16;
    run->round = fuzz_take(in, large % 8 == 7 ? 8 : 1);
    run->size = (uint32_t)fuzz_take(in, 1) * (large % 2 == 0 ? 4 : 2) *
                (large % 4 == 3 ? 4096 : 1);
    if (!sized) {
        run->size = 0;
    } else if (run->size >= KV_DIRECT_MIN) {
        run->count = 1;
    }
}

static void say_batch(struct job *j, uint32_t rank, enum message_kind kind,
                      struct fuzz_input *in)
{
    struct message m = {.kind = kind};
    struct run runs[4];
    size_t size = 0;

    m.batch.runs = runs;
    m.batch.run_count = 1 + (uint32_t)fuzz_take(in, 1) % 4;
    m.batch.codec = kind == MESSAGE_PUSH ? (uint32_t)fuzz_take(in, 1) % 4 : 0;
    for (uint32_t i = 0; i < m.batch.run_count; i++) {
        fill_run(&runs[i], in, kind == MESSAGE_PUSH);
        size += (size_t)runs[i].count * runs[i].size;
    }
    say(j, rank, &m, size, in);
}

static void say_optimizer(struct job *j, uint32_t rank, struct fuzz_input *in)
{
    static const char *const names[] = {"sgd", "adam", "lamb", "none"};
    static const char *const names_of_params[] = {
        "lr", "momentum", "wd", "beta1", "clip_gradient", "epsilon"};
    struct message m = {.kind = MESSAGE_OPTIMIZER};
    unsigned what = (unsigned)fuzz_take(in, 1);
    double value = (double)fuzz_take(in, 1) / 16 - 1;
    const char *param = names_of_params[what / 8 % 6];
    char params[64];

    if (what % 2 == 0) {
        m.kind = MESSAGE_HYPER;
        m.hyper.param = param;
        m.hyper.value = value;
    } else {
        m.optimizer.name = names[what / 2 % 4];
        snprintf(params, sizeof params, "%s=%g", param, value);
        m.optimizer.params = params;
    }
    say(j, rank, &m, 0, in);
}

/* What a rank says the norms of a whole key are. */
static void say_totals(struct job *j, uint32_t rank, struct fuzz_input *in)
{
    struct message m = {.kind = MESSAGE_TOTALS};
    uint32_t what = (uint32_t)fuzz_take(in, 1);

    m.norms.slot = what % 32;
    m.norms.pass = what / 32 % 4;
    m.norms.round = fuzz_take(in, 1);
    for (int i = 0; i < KV_NORMS_MAX; i++) {
        m.norms.sum[i] = (double)fuzz_take(in, 1);
    }
    say(j, rank, &m, 0, in);
}

static void step(struct job *j, struct fuzz_input *in)
{
    unsigned what = (unsigned)fuzz_take(in, 1);
    uint32_t rank = what / 16 % RANKS;

    switch (what % 16) {
    case 0:
    case 1:
    case 2:
        say_open(j, rank, in);
        break;
    case 3:
    case 4:
    case 5:
    case 6:
        say_batch(j, rank, MESSAGE_PUSH, in);
        break;
    case 7:
    case 8:
        say_batch(j, rank, MESSAGE_PULL, in);
        break;
    case 9:
    case 10:
        say_optimizer(j, rank, in);
        break;
    case 11:
        say_anything(j, rank, in);
        break;
    case 12:
        reconnect(j, rank);
        break;
    case 13:
        stall(j, in);
        break;
    case 14:
        say_totals(j, rank, in);
        break;
    default:
        let_go(j);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct job job;
    struct fuzz_input in = {data, size};

    memset(&job, 0, sizeof job);
    begin(&job, fuzz_take(&in, 1) % 2 == 0 ? KV_POLICY_SYNC : KV_POLICY_ASYNC);
    for (unsigned steps = 0; in.left > 0 && steps < STEPS_MAX; steps++) {
        step(&job, &in);
    }
    end(&job);
    return 0;
}
