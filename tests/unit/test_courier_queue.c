#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "worker/courier.h"
#include "worker/courier_queue.h"

#define PARTS 400

static uint64_t random_state;

static unsigned draw(unsigned bound)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695041;
    return (unsigned)(random_state >> 33) % bound;
}

static void take_expecting(struct courier_queue *q, const struct part *p)
{
    assert_ptr_equal(courier_queue_first(q), p);
    assert_ptr_equal(courier_queue_take(q), p);
}

static void test_order_is_by_priority_then_first_come(void **state)
{
    struct courier_queue q;
    struct part p[5] = {{.priority = 0},
                        {.priority = 7},
                        {.priority = 0},
                        {.priority = -3},
                        {.priority = 7}};

    (void)state;
    assert_int_equal(courier_queue_init(&q), KV_OK);
    assert_null(courier_queue_first(&q));
    for (size_t i = 0; i < 5; i++) {
        courier_queue_add(&q, &p[i]);
    }
    take_expecting(&q, &p[1]);
    courier_queue_return(&q, &p[1]);
    take_expecting(&q, &p[1]);
    courier_queue_defer(&q, &p[1]);
    take_expecting(&q, &p[4]);
    take_expecting(&q, &p[0]);
    take_expecting(&q, &p[2]);
    take_expecting(&q, &p[3]);
    take_expecting(&q, &p[1]);
    assert_null(courier_queue_take(&q));
    courier_queue_fini(&q);
}

/* The one that should come next, found the slow way: order[i] counts up for
 * those added and down for those returned; INT64_MIN is not in the queue. */
static size_t next_of(const struct part *parts, const int64_t *order)
{
    size_t best = PARTS;

    for (size_t i = 0; i < PARTS; i++) {
        if (order[i] != INT64_MIN &&
            (best == PARTS || parts[i].priority > parts[best].priority ||
             (parts[i].priority == parts[best].priority &&
              order[i] < order[best]))) {
            best = i;
        }
    }
    return best;
}

static void play(unsigned priorities)
{
    static struct part parts[PARTS];
    static int64_t order[PARTS];
    int64_t newest = 0, oldest = 0;
    struct courier_queue q;

    assert_int_equal(courier_queue_init(&q), KV_OK);
    for (size_t i = 0; i < PARTS; i++) {
        parts[i] = (struct part){.priority = 0};
        order[i] = INT64_MIN;
    }
    for (int step = 0; step < 20000; step++) {
        size_t i = draw(PARTS);

        if (order[i] == INT64_MIN && draw(2) == 0) {
            parts[i].priority = (int)draw(priorities) - (int)priorities / 2;
            order[i] = ++newest;
            courier_queue_add(&q, &parts[i]);
        } else if (order[i] == INT64_MIN) {
            order[i] = --oldest;
            courier_queue_return(&q, &parts[i]);
        } else {
            size_t best = next_of(parts, order);

            take_expecting(&q, &parts[best]);
            order[best] = INT64_MIN;
        }
    }
    while (courier_queue_take(&q) != NULL) {
    }
    courier_queue_fini(&q);
}

static void test_order_holds_with_few_and_many_priorities(void **state)
{
    (void)state;
    play(1);
    play(5);
    play(100);
    play(1000000);
}

static void test_old_priorities_make_room_for_new_ones(void **state)
{
    struct courier_queue q;
    struct part p = {.priority = 0};
    uint64_t before;

    (void)state;
    assert_int_equal(courier_queue_init(&q), KV_OK);
    for (int i = 0; i < 64; i++) {
        p.priority = i;
        courier_queue_add(&q, &p);
        take_expecting(&q, &p);
    }
    before = mem_allocations();
    for (int i = 0; i < 100000; i++) {
        p.priority = i * 7919;
        courier_queue_add(&q, &p);
        take_expecting(&q, &p);
    }
    assert_int_equal(mem_allocations(), before);
    courier_queue_fini(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_is_by_priority_then_first_come),
        cmocka_unit_test(test_order_holds_with_few_and_many_priorities),
        cmocka_unit_test(test_old_priorities_make_room_for_new_ones),
    };

    return cmocka_run_group_tests_name("courier_queue", tests, NULL, NULL);
}
