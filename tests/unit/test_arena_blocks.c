/* The blocks of an arena: which are used, which are free, and a kill at any
 * moment. */
#include "tests/unit/arena_fixture.h"
#include "tests/unit/chance.h"

static int set_up(void **state)
{
    struct home *h = calloc(1, sizeof *h);

    KV_CHECK(h != NULL);
    home_make(h);
    home_open(h);
    *state = h;
    return 0;
}

static int tear_down(void **state)
{
    home_remove(*state);
    free(*state);
    return 0;
}

/* --- Steps ---------------------------------------------------------------- */

static void reopen(struct home *h)
{
    home_drop(h);
    home_open(h);
}

static void *keep_number(struct home *h, uint64_t number, uint32_t kind)
{
    uint64_t *block = arena_alloc(h->arena, sizeof *block);

    assert_non_null(block);
    *block = number;
    arena_keep(h->arena, block, kind);
    return block;
}

static struct arena_usage usage(const struct home *h)
{
    struct arena_usage u;

    arena_usage(h->arena, &u);
    return u;
}

/* --- Blocks --------------------------------------------------------------- */

static void test_blocks_are_aligned_and_the_last_freed_comes_first(void **state)
{
    struct home *h = *state;
    char *a = arena_alloc(h->arena, 100), *b = arena_alloc(h->arena, 100);

    assert_int_equal((uintptr_t)a % 64, 0);
    assert_true(b >= a + 100 || a >= b + 100);
    arena_release(h->arena, a);
    arena_release(h->arena, b);
    assert_ptr_equal(arena_alloc(h->arena, 128), b);
    assert_ptr_equal(arena_alloc(h->arena, 65), a);
}

static void test_the_last_holder_frees_a_block(void **state)
{
    struct home *h = *state;
    void *a = arena_alloc(h->arena, 5000), *b;

    arena_hold(h->arena, a);
    arena_release(h->arena, a);
    b = arena_alloc(h->arena, 5000);
    assert_ptr_not_equal(a, b);
    arena_release(h->arena, a);
    assert_ptr_equal(arena_alloc(h->arena, 5000), a);
}

static void test_a_block_a_quarter_larger_will_do(void **state)
{
    struct home *h = *state;
    void *a = arena_alloc(h->arena, 1280);

    arena_release(h->arena, a);
    assert_ptr_not_equal(arena_alloc(h->arena, 960), a);
    assert_ptr_equal(arena_alloc(h->arena, 1024), a);
}

static void test_kept_blocks_are_walked_in_their_order(void **state)
{
    struct home *h = *state;
    void *gap = arena_alloc(h->arena, 64), *block = NULL;
    uint32_t kind;

    keep_number(h, 100, 0);
    arena_release(h->arena, gap); /* The next one lies before the first. */
    for (uint64_t i = 1; i < 50; i++) {
        keep_number(h, 100 + i, (uint32_t)i);
    }
    reopen(h);
    for (uint64_t i = 0; i < 50; i++) {
        block = arena_next(h->arena, block, &kind);
        assert_non_null(block);
        assert_int_equal(*(uint64_t *)block, 100 + i);
        assert_int_equal(kind, i);
    }
    assert_null(arena_next(h->arena, block, &kind));
}

static void expect_kept(struct home *h, const uint64_t *numbers, size_t count)
{
    void *block = NULL;
    uint32_t kind;

    for (size_t i = 0; i < count; i++) {
        block = arena_next(h->arena, block, &kind);
        assert_non_null(block);
        assert_int_equal(*(uint64_t *)block, numbers[i]);
    }
    assert_null(arena_next(h->arena, block, &kind));
}

static void test_a_kept_block_can_go_wherever_it_stands(void **state)
{
    struct home *h = *state;
    uint64_t *block[6];

    for (uint64_t i = 0; i < 6; i++) {
        block[i] = keep_number(h, i, 1);
    }
    arena_unkeep(h->arena, block[0]);
    arena_unkeep(h->arena, block[3]);
    arena_unkeep(h->arena, block[5]);
    expect_kept(h, (uint64_t[]){1, 2, 4}, 3);
    arena_release(h->arena, block[3]);
    assert_ptr_equal(arena_alloc(h->arena, 64), block[3]);
    keep_number(h, 6, 1);
    reopen(h);
    expect_kept(h, (uint64_t[]){1, 2, 4, 6}, 4);
    arena_unkeep(h->arena, block[1]);
    arena_unkeep(h->arena, block[4]);
    expect_kept(h, (uint64_t[]){2, 6}, 2);
    arena_recovered(h->arena);
    reopen(h);
    expect_kept(h, (uint64_t[]){2, 6}, 2);
}

static void test_what_nobody_claims_is_free_and_joined(void **state)
{
    struct home *h = *state;
    uint64_t *claimed = NULL, offset, size;

    for (int i = 0; i < 20; i++) {
        uint64_t *block = arena_alloc(h->arena, 3000);

        claimed = i == 0 ? block : claimed;
    }
    *claimed = 42;
    offset = arena_offset(h->arena, claimed);
    size = usage(h).used_bytes;
    reopen(h);
    assert_int_equal(arena_claim(h->arena, offset), KV_OK);
    arena_recovered(h->arena);
    assert_int_equal(*(uint64_t *)arena_at(h->arena, offset), 42);
    assert_int_equal(usage(h).blocks, 2);
    assert_non_null(arena_alloc(h->arena, 56 << 10)); /* No room at the end. */
    assert_int_equal(usage(h).used_bytes, size);
    assert_int_equal(*(uint64_t *)arena_at(h->arena, offset), 42);
}

static void test_a_block_is_held_once_by_each_claim(void **state)
{
    struct home *h = *state;
    void *block = arena_alloc(h->arena, 64);
    uint64_t offset = arena_offset(h->arena, block);

    reopen(h);
    assert_int_equal(arena_claim(h->arena, offset), KV_OK);
    assert_int_equal(arena_claim(h->arena, offset), KV_OK);
    arena_recovered(h->arena);
    arena_release(h->arena, arena_at(h->arena, offset));
    assert_int_equal(usage(h).free_bytes, 0);
    arena_release(h->arena, arena_at(h->arena, offset));
    assert_int_equal(usage(h).free_bytes, 64);
}

static void test_nonsense_cannot_be_claimed(void **state)
{
    struct home *h = *state;
    void *kept = keep_number(h, 1, 1);
    void *block = arena_alloc(h->arena, 4096);

    memset(block, 0, 4096);
    reopen(h);
    const uint64_t nonsense[] = {
        0,
        64,
        4096,
        UINT64_MAX - 63,
        (uint64_t)1 << 40,
        arena_offset(h->arena, kept) + 1,
        arena_offset(h->arena, kept) + 192,
    };
    for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++) {
        assert_int_equal(arena_claim(h->arena, nonsense[i]), KV_EDATALOSS);
    }
}

static void test_a_full_arena_says_so_and_stays_good(void **state)
{
    struct home *h = *state;
    void *last = NULL, *block;
    int count = 0;

    while ((block = arena_alloc(h->arena, 1 << 20)) != NULL) {
        memset(block, count++, 1 << 20);
        last = block;
    }
    assert_true(count >= 60 && count < 64);
    KV_CHECK(last != NULL);
    assert_int_equal(*(unsigned char *)last, count - 1);
    assert_null(arena_alloc(h->arena, 1 << 20));
    arena_release(h->arena, last);
    assert_ptr_equal(arena_alloc(h->arena, 1 << 20), last);
}

static void test_the_file_is_not_much_larger_than_what_is_in_it(void **state)
{
    struct home *h = *state;

    for (size_t n = 1; n <= 40; n++) {
        assert_non_null(arena_alloc(h->arena, 1 << 20));
        assert_true(usage(h).file_bytes < ((n * 5 / 4 + 6) << 20));
    }
}

static void test_small_free_blocks_make_room_for_a_large_one(void **state)
{
    struct home *h = *state;
    void *blocks[48];

    for (int i = 0; i < 48; i++) {
        blocks[i] = arena_alloc(h->arena, 1 << 20);
    }
    for (int i = 0; i < 48; i++) {
        arena_release(h->arena, blocks[i]);
    }
    assert_non_null(arena_alloc(h->arena, 40 << 20));
    assert_non_null(arena_alloc(h->arena, 1 << 20));
}

static void test_anonymous_memory_works_alike(void **state)
{
    struct home *h = *state;
    void *block;

    home_drop(h);
    h->config.dir = NULL;
    home_open(h);
    block = keep_number(h, 9, 2);
    assert_ptr_equal(arena_at(h->arena, arena_offset(h->arena, block)), block);
    assert_non_null(arena_alloc(h->arena, 10 << 20));
    assert_int_equal(arena_life(h->arena), 1);
}

/* --- Chance --------------------------------------------------------------- */

struct guess {
    unsigned char *data;
    size_t size;
    unsigned char fill;
};

static void check_guess(const struct guess *g)
{
    for (size_t i = 0; i < g->size; i += 61) {
        assert_int_equal(g->data[i], g->fill);
    }
    assert_int_equal(g->data[g->size - 1], g->fill);
}

/* After a reopen: the same blocks at new addresses. */
static void reclaim(struct home *h, struct guess *g, size_t count,
                    const uint64_t *offsets)
{
    reopen(h);
    for (size_t i = 0; i < count; i++) {
        if (offsets[i] != 0) {
            assert_int_equal(arena_claim(h->arena, offsets[i]), KV_OK);
            g[i].data = arena_at(h->arena, offsets[i]);
        }
    }
    arena_recovered(h->arena);
}

static void test_random_blocks_never_overlap_or_get_lost(void **state)
{
    struct home *h = *state;
    struct guess g[64] = {{0}};
    uint64_t x = chance_seed();

    for (int step = 0; step < 20000; step++) {
        struct guess *it = &g[chance(&x, 64)];

        if (it->data != NULL) {
            check_guess(it);
            arena_release(h->arena, it->data);
            it->data = NULL;
        } else {
            it->size = 1 + chance(&x, step % 7 == 0 ? 200000 : 3000);
            it->fill = (unsigned char)step;
            it->data = arena_alloc(h->arena, it->size);
            assert_non_null(it->data);
            memset(it->data, it->fill, it->size);
        }
        if (step % 2000 == 1999) {
            uint64_t offsets[64];

            for (int i = 0; i < 64; i++) {
                offsets[i] =
                    g[i].data == NULL ? 0 : arena_offset(h->arena, g[i].data);
            }
            reclaim(h, g, 64, offsets);
        }
    }
    assert_true(usage(h).file_bytes < (size_t)24 << 20);
}

/* The child keeps numbers, each stored before, and lets the oldest go. */
static void come_and_go_for_ever(void *arg, int ready)
{
    struct home *h = arg;
    uint64_t last;

    home_open(h);
    arena_recovered(h->arena);
    last = arena_words(h->arena)[0];
    chance_ready(ready);
    for (;;) {
        uint64_t *block = arena_alloc(h->arena, 64);
        uint32_t kind;

        arena_store(&arena_words(h->arena)[0], ++last);
        *block = last;
        arena_keep(h->arena, block, 1);
        block = arena_next(h->arena, NULL, &kind);
        while (*block + 3 <= last) {
            arena_unkeep(h->arena, block);
            arena_release(h->arena, block);
            block = arena_next(h->arena, NULL, &kind);
        }
    }
}

static void test_a_kill_leaves_a_block_kept_or_gone(void **state)
{
    struct home *h = *state;
    uint64_t x = chance_seed();

    for (int kill_count = 0; kill_count < 100; kill_count++) {
        uint64_t stored, *block = NULL, last = 0;
        uint32_t kind;

        home_drop(h);
        chance_kill(&x, 2000, come_and_go_for_ever, h);
        home_open(h);
        stored = arena_words(h->arena)[0];
        while ((block = arena_next(h->arena, block, &kind)) != NULL) {
            assert_true(*block > last && *block + 4 > stored);
            last = *block;
        }
        assert_true(stored == 0 || last == stored || last + 1 == stored);
    }
}

/* The child keeps numbers 1, 2, 3... and stores the last one. */
static void keep_for_ever(void *arg, int ready)
{
    struct home *h = arg;
    uint64_t last;

    home_open(h);
    arena_recovered(h->arena);
    last = arena_words(h->arena)[0];
    chance_ready(ready);
    for (;;) {
        uint64_t *scrap = arena_alloc(h->arena, 64 + last % 9 * 700);
        uint64_t *block = arena_alloc(h->arena, 64);

        while (block == NULL || scrap == NULL) {
            pause(); /* Full: wait to be killed. */
        }
        *block = last + 1;
        arena_keep(h->arena, block, 1);
        arena_store(&arena_words(h->arena)[0], ++last);
        arena_release(h->arena, scrap);
    }
}

static uint64_t count_kept(struct home *h)
{
    void *block = NULL;
    uint64_t n = 0;
    uint32_t kind;

    while ((block = arena_next(h->arena, block, &kind)) != NULL) {
        assert_int_equal(*(uint64_t *)block, ++n);
    }
    return n;
}

static void test_a_kill_at_any_moment_loses_nothing_stored(void **state)
{
    struct home *h = *state;
    uint64_t x = chance_seed(), before = 0;

    for (int kill_count = 0; kill_count < 100; kill_count++) {
        uint64_t kept, stored;

        home_drop(h);
        chance_kill(&x, 2000, keep_for_ever, h);
        home_open(h);
        stored = arena_words(h->arena)[0];
        kept = count_kept(h);
        assert_true(kept == stored || kept == stored + 1);
        assert_true(stored >= before);
        /* What was kept and not stored counts as stored from now on. */
        arena_store(&arena_words(h->arena)[0], kept);
        before = kept;
    }
    assert_true(before > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_blocks_are_aligned_and_the_last_freed_comes_first),
        TEST(test_the_last_holder_frees_a_block),
        TEST(test_a_block_a_quarter_larger_will_do),
        TEST(test_kept_blocks_are_walked_in_their_order),
        TEST(test_a_kept_block_can_go_wherever_it_stands),
        TEST(test_what_nobody_claims_is_free_and_joined),
        TEST(test_a_block_is_held_once_by_each_claim),
        TEST(test_nonsense_cannot_be_claimed),
        TEST(test_a_full_arena_says_so_and_stays_good),
        TEST(test_the_file_is_not_much_larger_than_what_is_in_it),
        TEST(test_small_free_blocks_make_room_for_a_large_one),
        TEST(test_anonymous_memory_works_alike),
        TEST(test_random_blocks_never_overlap_or_get_lost),
        TEST(test_a_kill_leaves_a_block_kept_or_gone),
        TEST(test_a_kill_at_any_moment_loses_nothing_stored),
    };

    return cmocka_run_group_tests_name("arena_blocks", tests, NULL, NULL);
}
