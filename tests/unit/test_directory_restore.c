/* Places follow from the keys before, and are remembered: keys may go. */
#include "tests/unit/directory_fixture.h"

static void test_the_same_keys_get_the_same_places(void **state)
{
    struct fixture *f = *state;
    struct directory again;
    char name[16], error[256];

    assert_int_equal(directory_init(&again, SHARDS, SLICE_BYTES), KV_OK);
    for (uint32_t i = 0; i < 300; i++) {
        struct key_desc k = vector(name, KV_F32, 1 + i * 7919 % 10007);
        struct directory_key *one, *other = NULL;

        snprintf(name, sizeof name, "key%u", i);
        one = add(f, k);
        assert_int_equal(directory_add(&again, &k, &other, error, sizeof error),
                         KV_OK);
        assert_int_equal(one->slices, other->slices);
        assert_memory_equal(one->placement, other->placement,
                            (size_t)one->slices * DIRECTORY_ENTRY_SIZE);
    }
    directory_fini(&again);
}

/* As a root that starts again: from what it remembers of each key. */
static void restore_all(struct fixture *f, struct directory *again)
{
    const struct directory_key *key;
    struct directory_key *copy;
    uint64_t at = 0;

    while ((key = directory_walk(&f->d, &at)) != NULL) {
        assert_int_equal(
            directory_restore(again, key, &copy, f->error, sizeof f->error),
            KV_OK);
        assert_int_equal(copy->id, key->id);
    }
    again->by_id.next = f->d.by_id.next;
}

static void test_restored_without_what_is_gone_it_goes_on_the_same(void **state)
{
    struct fixture *f = *state;
    struct directory again;
    char name[16], error[256];
    uint64_t random = 7;

    for (uint32_t i = 0; i < 300; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        snprintf(name, sizeof name, "key%u", i);
        add(f, vector(name, KV_F32, 1 + (random >> 40) % 20000));
        if (random >> 62 != 0) {
            struct key_desc gone = vector(name, KV_F32, 1);

            snprintf(name, sizeof name, "key%u",
                     (uint32_t)(random >> 33) % (i + 1));
            if (directory_find(&f->d, &gone) != NULL) {
                directory_remove(&f->d, directory_find(&f->d, &gone));
            }
        }
    }
    assert_int_equal(directory_init(&again, SHARDS, SLICE_BYTES), KV_OK);
    restore_all(f, &again);
    assert_int_equal(again.count, f->d.count);
    for (uint32_t i = 300; i < 400; i++) {
        struct key_desc k = vector(name, KV_F32, 1 + i * 7919 % 10007);
        struct directory_key *one, *other = NULL;

        snprintf(name, sizeof name, "key%u", i);
        one = add(f, k);
        assert_int_equal(directory_add(&again, &k, &other, error, sizeof error),
                         KV_OK);
        assert_int_equal(one->id, other->id);
        assert_memory_equal(one->placement, other->placement,
                            (size_t)one->slices * DIRECTORY_ENTRY_SIZE);
    }
    directory_fini(&again);
}

static void
test_what_is_removed_makes_room_and_its_id_is_not_seen_again(void **state)
{
    struct fixture *f = *state;
    struct key_desc k = vector("big", KV_F32, 1024 * SHARDS);

    add(f, vector("a", KV_F32, 10));
    add(f, k);
    directory_remove(&f->d, directory_find(&f->d, &k));
    assert_null(directory_find(&f->d, &k));
    assert_int_equal(f->d.count, 1);
    assert_int_equal(shard_of(add(f, vector("b", KV_F32, 10)), 0), 1);
    k.dtype = KV_F16;
    assert_int_equal(add(f, k)->id, 3);
    assert_int_equal(directory_find(&f->d, &k)->desc.dtype, KV_F16);
}

static void test_a_walk_meets_the_keys_by_id(void **state)
{
    struct fixture *f = *state;
    uint64_t at = 0;

    add(f, vector("c", KV_F32, 1));
    directory_remove(&f->d, add(f, vector("b", KV_F32, 1)));
    add(f, vector("a", KV_F32, 1));
    assert_string_equal(directory_walk(&f->d, &at)->desc.name, "c");
    assert_string_equal(directory_walk(&f->d, &at)->desc.name, "a");
    assert_int_equal(at, 3);
    assert_null(directory_walk(&f->d, &at));
}

static void test_nonsense_is_not_restored(void **state)
{
    struct fixture *f = *state;
    unsigned char places[8] = {SHARDS};
    struct directory_key was = {
        .desc = vector("w", KV_F32, 1), .slices = 1, .placement = places};
    struct directory_key *key;

    assert_int_equal(
        directory_restore(&f->d, &was, &key, f->error, sizeof f->error),
        KV_EDATALOSS);
    assert_non_null(strstr(f->error, "key 'w' makes no sense"));
    places[0] = 0;
    was.id = 1;
    was.slices = 2;
    assert_int_equal(
        directory_restore(&f->d, &was, &key, f->error, sizeof f->error),
        KV_EDATALOSS);
    assert_int_equal(f->d.count, 0);
    assert_null(directory_find(&f->d, &was.desc));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_same_keys_get_the_same_places),
        TEST(test_restored_without_what_is_gone_it_goes_on_the_same),
        TEST(test_what_is_removed_makes_room_and_its_id_is_not_seen_again),
        TEST(test_a_walk_meets_the_keys_by_id),
        TEST(test_nonsense_is_not_restored),
    };

    return cmocka_run_group_tests_name("directory restored", tests, NULL, NULL);
}
