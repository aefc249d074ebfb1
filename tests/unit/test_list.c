/* list: order, and the mistakes it catches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/list.h"
#include "tests/fakes/death.h"

struct item {
    int id;
    struct list_link link;
};

struct fixture {
    struct list list;
    struct item item[4];
};

static int set_up(void **state)
{
    static struct fixture f;

    f = (struct fixture){0};
    list_init(&f.list);
    for (int i = 0; i < 4; i++) {
        f.item[i].id = i;
    }
    *state = &f;
    return 0;
}

/* The ids on the list, as decimal digits. */
static int digits(const struct list *l)
{
    int all = 0;

    LIST_EACH(l, link, next)
    {
        all = all * 10 + LIST_ENTRY(link, struct item, link)->id;
    }
    return all;
}

static void test_members_come_in_the_order_they_were_added(void **state)
{
    struct fixture *f = *state;

    assert_true(list_empty(&f->list));
    assert_null(list_first(&f->list));
    list_push(&f->list, &f->item[2].link);
    list_push(&f->list, &f->item[3].link);
    list_push_front(&f->list, &f->item[1].link);
    assert_int_equal(digits(&f->list), 123);
    assert_ptr_equal(list_pop(&f->list), &f->item[1].link);
    assert_int_equal(digits(&f->list), 23);
}

static void test_the_current_member_may_go_while_walking(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 4; i++) {
        list_push(&f->list, &f->item[i].link);
    }
    LIST_EACH(&f->list, link, next)
    {
        if (LIST_ENTRY(link, struct item, link)->id % 2 == 0) {
            list_unlink(link);
        }
    }
    assert_int_equal(digits(&f->list), 13);
    assert_false(list_linked(&f->item[0].link));
    assert_true(list_linked(&f->item[1].link));
}

static void test_one_list_can_be_appended_to_another(void **state)
{
    struct fixture *f = *state;
    struct list other;

    list_init(&other);
    list_append(&f->list, &other);
    assert_true(list_empty(&f->list));
    list_push(&f->list, &f->item[1].link);
    list_push(&other, &f->item[2].link);
    list_push(&other, &f->item[3].link);
    list_append(&f->list, &other);
    assert_int_equal(digits(&f->list), 123);
    assert_true(list_empty(&other));
    list_unlink(&f->item[3].link);
    assert_int_equal(digits(&f->list), 12);
}

static void unlink_first(void *data)
{
    list_unlink(&((struct fixture *)data)->item[0].link);
}

static void push_first(void *data)
{
    struct fixture *f = data;

    list_push(&f->list, &f->item[0].link);
}

static void test_mistakes_are_caught(void **state)
{
    struct fixture *f = *state;

    assert_true(death_of(unlink_first, f));
    list_push(&f->list, &f->item[0].link);
    assert_false(death_of(unlink_first, f));
    assert_true(death_of(push_first, f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_members_come_in_the_order_they_were_added,
                               set_up),
        cmocka_unit_test_setup(test_the_current_member_may_go_while_walking,
                               set_up),
        cmocka_unit_test_setup(test_one_list_can_be_appended_to_another,
                               set_up),
        cmocka_unit_test_setup(test_mistakes_are_caught, set_up),
    };

    return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
