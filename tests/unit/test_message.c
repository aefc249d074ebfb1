#include "tests/unit/message_fixture.h"

/* --- Round trips --------------------------------------------------------- */

static void test_every_kind_survives_the_wire(void **state)
{
    struct fixture *f = *state;

    for (int kind = MESSAGE_WELCOME; kind < MESSAGE_KINDS; kind++) {
        fill(f, (enum message_kind)kind);
        expect_taken(f);
        expect_same(f);
    }
    assert_string_equal(message_kind_name((enum message_kind)99), "unknown");
}

static void test_every_field_arrives(void **state)
{
    struct fixture *f = *state;

    fill(f, MESSAGE_PUSH);
    expect_taken(f);
    assert_int_equal(f->got.batch.run_count, 4);
    assert_int_equal(f->got.batch.codec, 3);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(f->got.batch.runs[i].slot, f->runs[i].slot);
        assert_int_equal(f->got.batch.runs[i].count, f->runs[i].count);
        assert_int_equal(f->got.batch.runs[i].round, f->runs[i].round);
        assert_int_equal(f->got.batch.runs[i].size, f->runs[i].size);
    }
    fill(f, MESSAGE_STALLED);
    expect_taken(f);
    assert_int_equal(f->got.stalled.listed, 2);
    assert_int_equal(f->got.stalled.missing[1], KV_RANKS_MAX - 1);
    assert_false(f->got.stalled.connected[0]);
    assert_true(f->got.stalled.connected[1]);
    assert_int_equal(f->got.stalled.missing_count, 900);
    assert_int_equal(f->got.stalled.left, 3);
    fill(f, MESSAGE_MEMBER);
    expect_taken(f);
    assert_true(f->got.member.in);
    fill(f, MESSAGE_ROUNDS);
    expect_taken(f);
    assert_int_equal(f->got.batch.run_count, 4);
    assert_int_equal(f->got.batch.runs[3].round, f->runs[3].round);
    fill(f, MESSAGE_OPTIMIZER);
    expect_taken(f);
    assert_string_equal(f->got.optimizer.name, "sgd");
    assert_string_equal(f->got.optimizer.params, "lr=0.1,momentum=0");
    assert_true(f->got.optimizer.check);
    fill(f, MESSAGE_ERROR);
    expect_taken(f);
    assert_int_equal(f->got.error.status, KV_EMISMATCH);
    assert_true(f->got.error.about_slot && f->got.error.pull);
    fill(f, MESSAGE_KEY);
    expect_taken(f);
    assert_string_equal(f->got.key.name, "layer1.weight");
    assert_int_equal(f->got.key.dims, 3);
    f->message.key.name = NULL;
    expect_taken(f);
    assert_null(f->got.key.name);
    assert_int_equal(f->got.key.number, -5);
}

static void test_every_key_of_a_list_arrives(void **state)
{
    struct fixture *f = *state;
    const struct message_listing *got;

    fill(f, MESSAGE_LISTED);
    expect_taken(f);
    got = f->got.listed.keys;
    assert_int_equal(f->got.listed.count, 3);
    assert_int_equal(f->got.listed.next, 10);
    assert_string_equal(got[0].name, "layer1.weight");
    assert_null(got[1].name);
    assert_int_equal(got[1].number, -7);
    assert_int_equal(got[2].id, 9);
    assert_int_equal(got[2].slices, 70000);
    assert_int_equal(got[2].storage, KV_ROW_SPARSE);
    assert_int_equal(got[2].dims, 2);
    assert_int_equal(got[2].shape[0], UINT64_C(1) << 36);
}

static void test_the_longest_list_fits(void **state)
{
    struct fixture *f = *state;
    char name[KV_KEY_NAME_MAX + 1];

    memset(name, 'n', KV_KEY_NAME_MAX);
    name[KV_KEY_NAME_MAX] = '\0';
    fill(f, MESSAGE_LISTED);
    f->message.listed.count = KV_LISTED_MAX;
    f->message.listed.next = UINT64_C(1) << 32;
    for (uint32_t i = 0; i < KV_LISTED_MAX; i++) {
        f->listings[i] = (struct message_listing){
            UINT32_MAX, UINT32_MAX, name, INT64_MIN, 12, 8, KV_ROW_SPARSE, {0}};
        for (int n = 0; n < 8; n++) {
            f->listings[i].shape[n] = n == 7 ? KV_COUNT_MAX : 1;
        }
    }
    expect_taken(f);
    expect_same(f);
}

static void test_the_largest_messages_fit(void **state)
{
    struct fixture *f = *state;

    f->message.kind = MESSAGE_ANSWER;
    fill_batch(f, KV_BATCH_RUNS_MAX, 1);
    f->payload_size = 0;
    for (uint32_t i = 0; i < KV_BATCH_RUNS_MAX; i++) {
        f->runs[i] = (struct run){KV_SLOTS_MAX - 32, 32, UINT64_MAX, 2};
        f->payload_size += 64;
    }
    expect_taken(f);
    assert_in_range(f->meta_size, 1, MESSAGE_BATCH_META_MAX);

    fill(f, MESSAGE_JOINED);
    fill_servers(f, KV_SERVERS_MAX);
    for (int i = 0; i < KV_SERVERS_MAX; i++) {
        f->address[i] = "255.255.255.255:65535"; /* Of IPv4 the longest. */
    }
    expect_taken(f);
    assert_int_equal(f->got.joined.server_count, KV_SERVERS_MAX);
    assert_in_range(f->meta_size, 1, KV_META_MAX);
}

static void test_packing_never_exceeds_its_room(void **state)
{
    struct fixture *f = *state;

    for (int kind = MESSAGE_WELCOME; kind < MESSAGE_KINDS; kind++) {
        size_t needed, size = 0;

        if (!exists(kind)) {
            continue;
        }
        fill(f, (enum message_kind)kind);
        pack(f);
        needed = f->meta_size;
        for (size_t room = 0; room < needed; room++) {
            unsigned char *out = malloc(room + 1);

            assert_int_equal(message_pack(&f->message, out, room, &size),
                             KV_ETOOBIG);
            free(out);
        }
    }
}

/* --- Batches ------------------------------------------------------------- */

static void test_adding_extends_the_last_run(void **state)
{
    struct fixture *f = *state;
    struct message_batch b = {.runs = f->runs};

    assert_true(message_add(&b, 5, 1, 100));
    assert_true(message_add(&b, 6, 1, 100));
    assert_int_equal(b.run_count, 1);
    assert_int_equal(b.runs[0].count, 2);
    assert_true(message_add(&b, 7, 2, 100));
    assert_true(message_add(&b, 8, 2, 101));
    assert_true(message_add(&b, 10, 2, 101));
    assert_true(message_add(&b, 9, 2, 101));
    assert_int_equal(b.run_count, 5);

    b.run_count = 0;
    for (uint32_t i = 0; i < KV_BATCH_RUNS_MAX; i++) {
        assert_true(message_add(&b, 2 * i, 1, 4));
    }
    assert_false(message_add(&b, 0, 1, 4));
    assert_true(message_add(&b, 2 * KV_BATCH_RUNS_MAX - 1, 1, 4));

    b.run_count = 0;
    for (uint32_t i = 0; i < KV_BATCH_ENTRIES_MAX; i++) {
        assert_true(message_add(&b, i, 1, 4));
    }
    assert_false(message_add(&b, KV_BATCH_ENTRIES_MAX, 1, 4));
}

static void test_only_a_single_large_slice_is_direct(void **state)
{
    struct fixture *f = *state;

    f->message.kind = MESSAGE_PUSH;
    fill_batch(f, 1, KV_DIRECT_MIN);
    assert_ptr_equal(message_direct(&f->message), f->runs);
    f->message.kind = MESSAGE_ANSWER;
    assert_non_null(message_direct(&f->message));
    f->runs[0].size--;
    assert_null(message_direct(&f->message));
    fill_batch(f, 2, KV_DIRECT_MIN);
    assert_null(message_direct(&f->message));
    fill_batch(f, 1, KV_DIRECT_MIN);
    f->runs[0].count = 2;
    assert_null(message_direct(&f->message));
    fill(f, MESSAGE_OPEN);
    assert_null(message_direct(&f->message));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_every_kind_survives_the_wire),
        TEST(test_every_field_arrives),
        TEST(test_every_key_of_a_list_arrives),
        TEST(test_the_longest_list_fits),
        TEST(test_the_largest_messages_fit),
        TEST(test_packing_never_exceeds_its_room),
        TEST(test_adding_extends_the_last_run),
        TEST(test_only_a_single_large_slice_is_direct),
    };

    return cmocka_run_group_tests_name("message", tests, NULL, NULL);
}
