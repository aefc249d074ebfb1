#include "tests/unit/message_fixture.h"

#include <time.h>

static uint64_t random_state;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void seed_from(uint64_t seed)
{
    print_message("seed %llu\n", (unsigned long long)seed);
    random_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

/* --- Hostile bytes ------------------------------------------------------- */

static void test_truncation_does_no_harm(void **state)
{
    struct fixture *f = *state;

    for (int kind = MESSAGE_WELCOME; kind < MESSAGE_KINDS; kind++) {
        fill(f, (enum message_kind)kind);
        pack(f);
        while (f->meta_size > 0) {
            unsigned char *exact = malloc(f->meta_size);

            f->meta_size--;
            memcpy(exact, f->meta, f->meta_size);
            scratch_reset(&f->scratch);
            assert_int_equal(message_unpack(&f->scratch, exact, f->meta_size,
                                            f->payload_size, &f->got, NULL),
                             KV_EPROTO);
            free(exact);
        }
    }
}

static void test_random_bytes_do_no_harm(void **state)
{
    struct fixture *f = *state;

    seed_from((uint64_t)time(NULL));
    for (int i = 0; i < 200000; i++) {
        fill(f, (enum message_kind)(1 + random_next() % (MESSAGE_KINDS - 1)));
        pack(f);
        if (random_next() % 8 == 0) {
            f->meta_size = random_next() % 200;
            for (size_t b = 0; b < f->meta_size; b++) {
                f->meta[b] = (unsigned char)random_next();
            }
        }
        for (uint64_t n = random_next() % 4; n > 0 && f->meta_size > 0; n--) {
            f->meta[random_next() % f->meta_size] =
                (unsigned char)random_next();
        }
        if (unpack(f) == KV_OK) {
            unsigned char again[KV_META_MAX];
            size_t size;

            assert_int_equal(message_pack(&f->got, again, sizeof again, &size),
                             KV_OK);
        }
    }
}

static void test_every_scratch_too_small_is_refused(void **state)
{
    struct fixture *f = *state;

    for (int kind = MESSAGE_WELCOME; kind < MESSAGE_KINDS; kind++) {
        size_t size = 0;
        enum kv_status status = KV_EPROTO;

        fill(f, (enum message_kind)kind);
        pack(f);
        for (; status != KV_OK; size++) {
            scratch_init(&f->scratch, f->block, size);
            assert_in_range(size, 0, MESSAGE_SCRATCH_SIZE);
            status = unpack(f);
        }
        for (size_t more = size; more < size + 64; more++) {
            scratch_init(&f->scratch, f->block, more);
            assert_int_equal(unpack(f), KV_OK);
        }
    }
}

/* Unknown fields are skipped, at a cost that the scratch bounds. */
static void test_unknown_fields_cost_no_more_than_the_scratch(void **state)
{
    struct fixture *f = *state;

    f->meta[0] = 0x1a; /* Ok, empty, and then field 60 over and over. */
    f->meta[1] = 0;
    for (f->meta_size = 2; f->meta_size + 3 <= KV_META_MAX;) {
        f->meta[f->meta_size++] = 0xe0;
        f->meta[f->meta_size++] = 0x03;
        f->meta[f->meta_size++] = 0x00;
    }
    assert_int_equal(unpack(f), KV_EPROTO);
    f->meta_size = 2 + 3 * 20;
    assert_int_equal(unpack(f), KV_OK);
    assert_int_equal(f->got.kind, MESSAGE_OK);
}

/* --- Values out of range ------------------------------------------------- */

static void test_payloads_must_agree(void **state)
{
    struct fixture *f = *state;

    for (int kind = MESSAGE_WELCOME; kind < MESSAGE_KINDS; kind++) {
        fill(f, (enum message_kind)kind);
        f->payload_size += 1;
        pack(f);
        if (kind == MESSAGE_OPEN) {
            assert_int_equal(unpack(f), KV_OK); /* Its size: a layer above. */
            f->payload_size = KV_SLICE_BYTES_MAX + 1;
        }
        assert_int_equal(unpack(f), KV_EPROTO);
    }
    fill(f, MESSAGE_PLACED);
    f->payload_size = 0;
    expect_refused(f);
}

static void test_runs_out_of_range_are_refused(void **state)
{
    static const struct {
        struct run run;
        size_t payload_size;
    } wrong[] = {
        {{0, 0, 1, 4}, 0},
        {{KV_SLOTS_MAX, 1, 1, 4}, 4},
        {{KV_SLOTS_MAX - 1, 2, 1, 4}, 8},
        {{UINT32_MAX, 1, 1, 4}, 4},
        {{0, KV_BATCH_ENTRIES_MAX + 1, 1, 1}, KV_BATCH_ENTRIES_MAX + 1},
        {{0, UINT32_MAX, 1, 4}, (size_t)UINT32_MAX * 4},
        {{0, 1, 1, KV_SLICE_BYTES_MAX + 1}, KV_SLICE_BYTES_MAX + 1},
        {{0, 1, 1, UINT32_MAX}, UINT32_MAX},
        {{0, 1, 1, 4}, 8},
        {{0, 1, 1, 0}, 0},           /* A push of nothing. */
        {{0, 1024, 1, 1u << 22}, 0}, /* The sum is 0 in 32 bits. */
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        f->message.kind = MESSAGE_PUSH;
        fill_batch(f, 1, 4);
        f->runs[0] = wrong[i].run;
        f->payload_size = wrong[i].payload_size;
        expect_refused(f);
    }
    f->message.kind = MESSAGE_ROUNDS;
    fill_batch(f, 1, 0);
    f->runs[0].slot = KV_SLOTS_MAX;
    expect_refused(f);
    f->message.kind = MESSAGE_PULL;
    fill_batch(f, 0, 0);
    expect_refused(f);
    fill_batch(f, 2, 0);
    f->runs[0].count = KV_BATCH_ENTRIES_MAX;
    expect_refused(f);
    fill_batch(f, 1, 0);
    f->runs[0].count = KV_BATCH_ENTRIES_MAX;
    expect_taken(f);
}

/* A push whose columns have been given different lengths by hand. */
static void test_uneven_columns_are_refused(void **state)
{
    static const unsigned char uneven[][16] = {
        {0x6a, 9, 0x0a, 1, 0, 0x12, 1, 1, 0x1a, 1, 1},
        {0x6a, 12, 0x0a, 2, 0, 1, 0x12, 1, 1, 0x1a, 1, 1, 0x22, 1, 4},
        {0x6a, 6, 0x0a, 1, 0, 0x12, 1, 1},
        {0x6a, 0},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof uneven / sizeof uneven[0]; i++) {
        memcpy(f->meta, uneven[i], sizeof uneven[i]);
        f->meta_size = 2 + (size_t)uneven[i][1];
        f->payload_size = 4;
        assert_int_equal(unpack(f), KV_EPROTO);
    }
}

static void test_strings_are_checked(void **state)
{
    struct fixture *f = *state;

    memset(f->text, 'x', KV_TEXT_MAX + 1);
    fill(f, MESSAGE_ERROR);
    f->message.error.text = f->text;
    expect_refused(f);
    f->text[KV_TEXT_MAX] = '\0';
    expect_taken(f);
    f->text[3] = '\n';
    expect_refused(f);
    f->text[3] = '\x7f';
    expect_refused(f);
    f->text[3] = '\xc3';
    expect_taken(f);
    fill(f, MESSAGE_KEY);
    f->message.key.name = "a\tb";
    expect_refused(f);
    memset(f->text, 'x', KV_TEXT_MAX);
    f->message.key.name = f->text;
    expect_refused(f);
    f->text[KV_KEY_NAME_MAX] = '\0';
    expect_taken(f);
    fill(f, MESSAGE_ENLIST);
    f->message.enlist.state = 0;
    expect_refused(f);
    fill(f, MESSAGE_ENLIST);
    f->message.enlist.address = "";
    expect_refused(f);
    fill(f, MESSAGE_OPTIMIZER);
    f->message.optimizer.name = "an optimizer with a name of 32 ch";
    expect_refused(f);
    fill(f, MESSAGE_OPTIMIZER);
    f->message.optimizer.params = "lr=0.1\x01";
    expect_refused(f);
}

/* One spoiled field at a time: offset of a 32-bit field, and its value. */
static void test_numbers_out_of_range_are_refused(void **state)
{
#define AT(field) offsetof(struct message, field)
    static const struct {
        enum message_kind kind;
        size_t at;
        uint32_t value;
    } wrong[] = {
        {MESSAGE_WELCOME, AT(welcome.rank), KV_RANKS_MAX},
        {MESSAGE_ERROR, AT(error.status), 0},
        {MESSAGE_ERROR, AT(error.status), 5},
        {MESSAGE_ERROR, AT(error.status), (uint32_t)-999},
        {MESSAGE_ERROR, AT(error.slot), KV_SLOTS_MAX},
        {MESSAGE_JOIN, AT(join.policy), 0},
        {MESSAGE_JOINED, AT(joined.rank), 4},
        {MESSAGE_JOINED, AT(joined.workers), KV_RANKS_MAX + 1},
        {MESSAGE_JOINED, AT(joined.server_count), 0},
        {MESSAGE_JOINED, AT(joined.slice_bytes), 0},
        {MESSAGE_JOINED, AT(joined.slice_bytes), KV_SLICE_BYTES_MAX + 1},
        {MESSAGE_ENLIST, AT(enlist.index), KV_SERVERS_MAX},
        {MESSAGE_ENLIST, AT(enlist.shards), 0},
        {MESSAGE_ENLIST, AT(enlist.shards), KV_SHARDS_MAX + 1},
        {MESSAGE_KEY, AT(key.dtype), 64},
        {MESSAGE_KEY, AT(key.shape[0]), 0},
        {MESSAGE_KEY, AT(key.shape[0]), 2}, /* The product. */
        {MESSAGE_OPEN, AT(open.dtype), 64},
        {MESSAGE_OPEN, AT(open.count), 0},
        {MESSAGE_OPEN, AT(open.count), KV_SLICE_BYTES_MAX + 1},
        {MESSAGE_OPENED, AT(opened.slot), KV_SLOTS_MAX},
        {MESSAGE_STALLED, AT(stalled.slot), KV_SLOTS_MAX},
        {MESSAGE_NORMS, AT(norms.slot), KV_SLOTS_MAX},
        {MESSAGE_TOTALS, AT(norms.pass), KV_PASSES_MAX},
        {MESSAGE_HYPER, AT(hyper.one), 0}, /* And yet a slice. */
        {MESSAGE_OPEN, AT(open.slices), 2},
        {MESSAGE_OPEN, AT(open.width), 4095},
        {MESSAGE_STALLED, AT(stalled.missing[1]), KV_RANKS_MAX},
        {MESSAGE_STALLED, AT(stalled.missing_count), 1},
        {MESSAGE_STALLED, AT(stalled.missing_count), KV_RANKS_MAX + 1},
        {MESSAGE_STALLED, AT(stalled.left), KV_RANKS_MAX + 1},
        {MESSAGE_SKIPPED, AT(skipped.slot), KV_SLOTS_MAX},
        {MESSAGE_SKIPPED, AT(skipped.rank), KV_RANKS_MAX},
        {MESSAGE_DEAD, AT(dead.node), 0},
        {MESSAGE_DEAD, AT(dead.node), KV_NODE_MAX},
        {MESSAGE_DEAD_COUNT, AT(dead_count.count),
         KV_RANKS_MAX + KV_SERVERS_MAX + 1},
    };
#undef AT
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        fill(f, wrong[i].kind);
        memcpy((char *)&f->message + wrong[i].at, &wrong[i].value, 4);
        expect_refused(f);
    }
    fill(f, MESSAGE_JOINED);
    f->shards[1] = KV_SHARDS_MAX + 1;
    expect_refused(f);
    fill(f, MESSAGE_PLACED);
    f->message.placed.slice_count = 0;
    expect_refused(f);
}

static void test_lives_out_of_range_are_refused(void **state)
{
    struct fixture *f = *state;

    fill(f, MESSAGE_DELETE);
    f->message.delete.step = KV_DELETE_END + 1;
    expect_refused(f);
    fill(f, MESSAGE_LISTED);
    f->message.listed.next = 1; /* Not behind its keys. */
    expect_refused(f);
    fill(f, MESSAGE_DROP);
    f->message.drop.deletion = 0;
    expect_refused(f);
    fill(f, MESSAGE_DROP);
    f->message.drop.deletion = KV_DELETIONS_MAX + 1;
    expect_refused(f);
}

static void test_lists_are_checked_key_by_key(void **state)
{
    struct fixture *f = *state;

    for (int wrong = 0; wrong < 6; wrong++) {
        struct message_listing *last = &f->listings[2];

        fill(f, MESSAGE_LISTED);
        switch (wrong) {
        case 0:
            last->dtype = 64;
            break;
        case 1:
            last->shape[0] = 0;
            break;
        case 2:
            last->shape[0] = KV_COUNT_MAX + 1;
            break;
        case 3:
            last->storage = (enum kv_storage)2;
            break;
        case 4:
            last->name = "a\nb";
            break;
        default:
            last->dims = 0;
            last->storage = KV_ROW_SPARSE;
        }
        expect_refused(f);
    }
}

/* More than KV_LISTED_MAX keys, which nothing of ours would pack. */
static void test_a_list_too_long_is_refused(void **state)
{
    struct fixture *f = *state;

    for (uint32_t count = KV_LISTED_MAX; count <= KV_LISTED_MAX + 1; count++) {
        unsigned char *at = f->meta;

        *at++ = 0xba; /* Listed, of `count` empty keys. */
        *at++ = 0x01;
        *at++ = (unsigned char)(2 * count);
        for (uint32_t i = 0; i < count; i++) {
            *at++ = 0x0a;
            *at++ = 0x00;
        }
        f->meta_size = (size_t)(at - f->meta);
        f->payload_size = 0;
        assert_int_equal(unpack(f), count == KV_LISTED_MAX ? KV_OK : KV_EPROTO);
    }
}

/* Only what a slice begins anew from may be nothing at all. */
static void test_a_push_of_nothing_is_a_reset(void **state)
{
    struct fixture *f = *state;

    fill(f, MESSAGE_PUSH);
    fill_batch(f, 2, 0);
    expect_refused(f);
    f->message.batch.reset = true;
    expect_taken(f);
    assert_true(f->got.batch.reset);
    f->message.batch.rows = true;
    expect_refused(f);
}

static void test_numbers_must_be_finite(void **state)
{
    static const double wrong[] = {__builtin_inf(), -__builtin_inf(),
                                   __builtin_nan("")};
    struct fixture *f = *state;

    for (int i = 0; i < 3; i++) {
        fill(f, MESSAGE_HYPER);
        f->message.hyper.value = wrong[i];
        expect_refused(f);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_truncation_does_no_harm),
        TEST(test_random_bytes_do_no_harm),
        TEST(test_every_scratch_too_small_is_refused),
        TEST(test_unknown_fields_cost_no_more_than_the_scratch),
        TEST(test_payloads_must_agree),
        TEST(test_runs_out_of_range_are_refused),
        TEST(test_uneven_columns_are_refused),
        TEST(test_strings_are_checked),
        TEST(test_numbers_out_of_range_are_refused),
        TEST(test_lives_out_of_range_are_refused),
        TEST(test_numbers_must_be_finite),
        TEST(test_lists_are_checked_key_by_key),
        TEST(test_a_list_too_long_is_refused),
        TEST(test_a_push_of_nothing_is_a_reset),
    };

    return cmocka_run_group_tests_name("message_hostile", tests, NULL, NULL);
}
