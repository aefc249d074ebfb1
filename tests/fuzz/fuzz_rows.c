/* Sessions of three ranks with one shard and row_sparse values: rows pushed and
 * pulled, in order or not, of this table or another, by optimizers that leave
 * other rows alone, move them all, or measure them first. */
#include "common/base/bytes.h"
#include "tests/fuzz/fuzz_job.h"

#define ROWS_MAX 40
#define LENGTH_MAX 5
#define SLICES 4
#define SLOTS 16
#define PAYLOAD_MAX 65536

static unsigned char prepared[PAYLOAD_MAX];

/* What an honest rank would know, by slot. */
static struct {
    uint32_t length; /* Bytes of a row. */
    uint64_t next;   /* Round. */
} known[SLOTS];

/* --- What a rank says ---------------------------------------------------- */

/* Tables of a few forms, dense slices among them; a first value from rank 0. */
static void say_open(struct job *j, uint32_t rank, struct fuzz_input *in)
{
    struct message m = {.kind = MESSAGE_OPEN};
    uint32_t what = (uint32_t)fuzz_take(in, 1);
    uint64_t rows = fuzz_take(in, 1) % ROWS_MAX;
    uint32_t unit = what / 16 % 2 == 0 ? 4 : 2;

    m.open.key_id = what % 4;
    m.open.slice = what / 4 % SLICES;
    m.open.slices = SLICES;
    m.open.dtype = unit == 4 ? KV_F32 : KV_F16;
    m.open.row_length = 1 + what / 32 % LENGTH_MAX;
    m.open.count = (1 + rows) * m.open.row_length;
    if (what >= 240) {
        m.open.row_length = 0;
    }
    say(j, rank, &m, rank == 0 && what % 8 < 7 ? m.open.count * unit : 0, in);
    known[j->opened % SLOTS].length = (uint32_t)m.open.row_length * unit;
}

/* As each rank of an honest job does. */
static void all_open(struct job *j, struct fuzz_input *in)
{
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        struct fuzz_input same = *in;

        say_open(j, rank, rank + 1 < RANKS ? &same : in);
    }
}

/* Ascending, unless a step of the input is 0 or leads too far. */
static size_t put_rows(unsigned char *at, uint32_t count, struct fuzz_input *in)
{
    uint32_t row = (uint32_t)fuzz_take(in, 1) % ROWS_MAX;

    for (uint32_t i = 0; i < count; i++) {
        bytes_put_u32(at + (size_t)i * 4, row);
        row += (uint32_t)fuzz_take(in, 1) % 4;
    }
    return (size_t)count * 4;
}

/* One slot's: how many, which, and their values. A large `what` lies about the
 * number, the rows' length, or the size. */
static size_t put_push(unsigned char *at, uint32_t slot, uint32_t what,
                       struct fuzz_input *in)
{
    uint32_t count = what % 8, bytes = known[slot].length;
    size_t size = 4;

    if (what >= 200) {
        bytes = (1 + what / 8 % LENGTH_MAX) * 4;
    }
    bytes_put_u32(at, what >= 250 ? UINT32_MAX - count : count);
    size += put_rows(at + size, count, in);
    memset(at + size, (int)fuzz_take(in, 1), (size_t)count * bytes);
    fuzz_copy(in, at + size, count > 0 && bytes >= 4 ? 4 : 0);
    size += (size_t)count * bytes;
    return what % 100 == 99 ? size + 1 : size;
}

/* The next round, or near it. */
static uint64_t round_near(uint32_t slot, struct fuzz_input *in)
{
    uint64_t what = fuzz_take(in, 1);

    return what < 200 ? known[slot].next : known[slot].next + what % 5 - 2;
}

static void say_batch(struct job *j, uint32_t rank, enum message_kind kind,
                      struct fuzz_input *in)
{
    struct message m = {.kind = kind};
    struct run runs[4];
    size_t size = 0;

    m.batch.runs = runs;
    m.batch.rows = true;
    m.batch.run_count = 1 + (uint32_t)fuzz_take(in, 1) % 4;
    m.batch.codec =
        kind == MESSAGE_PUSH ? (uint32_t)fuzz_take(in, 1) % 8 / 6 : 0;
    for (uint32_t i = 0; i < m.batch.run_count; i++) {
        uint32_t what = (uint32_t)fuzz_take(in, 1);

        runs[i].slot = (uint32_t)fuzz_take(in, 1) % SLOTS;
        runs[i].count = 1;
        runs[i].round = round_near(runs[i].slot, in);
        runs[i].size =
            (uint32_t)(kind == MESSAGE_PUSH
                           ? put_push(prepared + size, runs[i].slot, what, in)
                           : put_rows(prepared + size, what % 8, in));
        size += runs[i].size;
    }
    j->prepared = prepared;
    say(j, rank, &m, size, in);
    j->prepared = NULL;
}

/* A round of one slot: each rank's rows. */
static void all_push(struct job *j, struct fuzz_input *in)
{
    uint32_t slot = (uint32_t)fuzz_take(in, 1) % SLOTS;
    struct run run = {.slot = slot, .count = 1, .round = known[slot].next};
    struct message m = {.kind = MESSAGE_PUSH};

    m.batch.runs = &run;
    m.batch.run_count = 1;
    m.batch.rows = true;
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        uint32_t what = (uint32_t)fuzz_take(in, 1);

        run.size = (uint32_t)put_push(prepared, slot, what, in);
        j->prepared = prepared;
        say(j, rank, &m, run.size, in);
        j->prepared = NULL;
    }
    known[slot].next++;
}

/* A dense gradient of a table, or a pull of all of it. */
static void say_whole(struct job *j, uint32_t rank, struct fuzz_input *in)
{
    uint32_t what = (uint32_t)fuzz_take(in, 1);
    struct run run = {.slot = what % SLOTS, .count = 1};
    struct message m = {.kind = what < 128 ? MESSAGE_PUSH : MESSAGE_PULL};

    run.round = round_near(run.slot, in);
    m.batch.runs = &run;
    m.batch.run_count = 1;
    if (m.kind == MESSAGE_PUSH) {
        run.size = ((uint32_t)fuzz_take(in, 1) % ROWS_MAX + 1) *
                   (1 + what / 16 % LENGTH_MAX) * 4;
    }
    say(j, rank, &m, run.size, in);
}

static void say_optimizer(struct job *j, uint32_t rank, struct fuzz_input *in)
{
    static const char *const all[][2] = {
        {"sgd", "lr=0.5"},
        {"sgd", "momentum=0.9,wd=0.1"},
        {"sgd", "momentum=0.9,lazy_update=0"},
        {"adam", ""},
        {"adam", "lazy_update=0"},
        {"adagrad", ""},
        {"ftml", "clip_gradient=1"},
        {"lamb", ""},
        {"lars", "momentum=0.9"},
        {"accumulate", ""},
    };
    struct message m = {.kind = MESSAGE_OPTIMIZER};
    size_t which = fuzz_take(in, 1) % (sizeof all / sizeof *all);

    m.optimizer.name = all[which][0];
    m.optimizer.params = all[which][1];
    say(j, rank, &m, 0, in);
}

static void say_norms(struct job *j, uint32_t rank, struct fuzz_input *in)
{
    struct message m = {.kind = MESSAGE_TOTALS};
    uint32_t what = (uint32_t)fuzz_take(in, 1);

    m.norms.slot = what % SLOTS;
    m.norms.pass = what / 16 % 4;
    m.norms.round = round_near(m.norms.slot, in);
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
        say_open(j, rank, in);
        break;
    case 1:
        all_open(j, in);
        break;
    case 2:
    case 3:
    case 4:
        all_push(j, in);
        break;
    case 5:
    case 6:
        say_batch(j, rank, MESSAGE_PUSH, in);
        break;
    case 7:
    case 8:
        say_batch(j, rank, MESSAGE_PULL, in);
        break;
    case 9:
        say_whole(j, rank, in);
        break;
    case 10:
        say_optimizer(j, rank, in);
        break;
    case 11:
        say_norms(j, rank, in);
        break;
    case 12:
        reconnect(j, rank);
        break;
    case 13:
        stall(j, in);
        break;
    case 14:
        say_anything(j, rank, in);
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
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        known[slot].length = 4;
        known[slot].next = 1;
    }
    begin(&job, fuzz_take(&in, 1) % 2 == 0 ? KV_POLICY_SYNC : KV_POLICY_ASYNC);
    for (unsigned steps = 0; in.left > 0 && steps < STEPS_MAX; steps++) {
        step(&job, &in);
    }
    end(&job);
    return 0;
}
