/* team: every piece once, whoever takes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/team.h"

enum { PIECES_MAX = 1000 };

static atomic_int taken[PIECES_MAX];

static void take(const void *arg, size_t piece)
{
    atomic_fetch_add(&taken[piece], *(const int *)arg);
}

static void expect_once(unsigned threads, size_t pieces, int task)
{
    for (size_t i = 0; i < PIECES_MAX; i++) {
        int got = atomic_exchange(&taken[i], 0);

        if (got != (i < pieces ? task : 0)) {
            fail_msg("piece %zu of %zu, %u threads: %d", i, pieces, threads,
                     got);
        }
    }
}

static void test_each_piece_of_each_task_is_done_once(void **state)
{
    static const size_t pieces[] = {0, 1, 2, 3, 7, 100, PIECES_MAX};

    (void)state;
    for (unsigned threads = 1; threads <= 4; threads++) {
        struct team *t;

        assert_int_equal(team_new(&t, threads), KV_OK);
        for (int task = 1; task <= 100; task++) {
            size_t count = pieces[(size_t)task % 7];

            team_run(t, take, &task, count);
            expect_once(threads, count, task);
        }
        team_free(t);
    }
}

static void test_there_is_a_processor(void **state)
{
    (void)state;
    assert_in_range(team_processors(), 1, 1 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_piece_of_each_task_is_done_once),
        cmocka_unit_test(test_there_is_a_processor),
    };

    return cmocka_run_group_tests_name("team", tests, NULL, NULL);
}
