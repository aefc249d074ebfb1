/* fsm: the table is the law. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/fsm.h"
#include "tests/fakes/death.h"

enum { IDLE, BUSY, DONE };

static const struct fsm_state states[] = {
    [IDLE] = {"idle", FSM_TO(BUSY)},
    [BUSY] = {"busy", FSM_TO(IDLE) | FSM_TO(DONE)},
    [DONE] = {"done", 0},
};

static void finish(void *data)
{
    fsm_move(data, DONE);
}

static void test_only_declared_moves_are_possible(void **state)
{
    struct fsm m;

    (void)state;
    fsm_init(&m, states);
    assert_int_equal(m.state, IDLE);
    assert_true(death_of(finish, &m));
    fsm_move(&m, BUSY);
    assert_false(death_of(finish, &m));
    fsm_move(&m, IDLE);
    fsm_move(&m, BUSY);
    finish(&m);
    assert_true(death_of(finish, &m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_declared_moves_are_possible),
    };

    return cmocka_run_group_tests_name("fsm", tests, NULL, NULL);
}
