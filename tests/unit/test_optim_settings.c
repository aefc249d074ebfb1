#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/optim/optim.h"

/* --- Steps ---------------------------------------------------------------- */

static struct kv_optim_spec parsed(const char *name, const char *params)
{
    char error[KV_OPTIM_ERROR_MAX] = "";
    struct kv_optim_spec spec = {0};

    if (kv_optim_parse(name, params, &spec, error, sizeof error) != KV_OK) {
        fail_msg("%s", error);
    }
    return spec;
}

static unsigned slots_of(const struct kv_optim_spec *spec)
{
    return spec->optim->slots(spec->params);
}

static double param(const struct kv_optim_spec *spec, const char *name)
{
    return spec->params[kv_optim_param_index(spec->optim, name)];
}

/* --- Tests: names and numbers
 * -------------------------------------------------- */

static void refuses(const char *name, const char *params, const char *sentence)
{
    char error[KV_OPTIM_ERROR_MAX] = "";
    struct kv_optim_spec spec, before;

    memset(&spec, 0x5a, sizeof spec);
    before = spec;
    assert_int_equal(kv_optim_parse(name, params, &spec, error, sizeof error),
                     KV_EINVAL);
    assert_string_equal(error, sentence);
    assert_memory_equal(&spec, &before, sizeof spec);
}

/* --- Tests ---------------------------------------------------------------- */

#define ADAM_BETAS "beta1=0.9,beta2=0.999,"
#define GRADIENT "wd=0,rescale_grad=1,clip_gradient=-1"

static const char *const defaults[][2] = {
    {"adabelief", "learning_rate=0.001," ADAM_BETAS
                  "epsilon=1e-06,correct_bias=1," GRADIENT},
    {"adadelta", "rho=0.9,epsilon=1e-05," GRADIENT},
    {"adagrad", "learning_rate=0.01,eps=1e-07," GRADIENT},
    {"adam", "learning_rate=0.001," ADAM_BETAS "epsilon=1e-08," GRADIENT},
    {"adamax", "learning_rate=0.002," ADAM_BETAS GRADIENT},
    {"adamw", "learning_rate=0.001," ADAM_BETAS
              "epsilon=1e-06,correct_bias=1," GRADIENT},
    {"dcasgd", "learning_rate=0.01,momentum=0,lamda=0.04," GRADIENT},
    {"ftml",
     "learning_rate=0.01,beta1=0.6,beta2=0.999,epsilon=1e-08," GRADIENT},
    {"ftrl", "learning_rate=0.1,lamda1=0.01,beta=1," GRADIENT},
    {"lion", "learning_rate=0.0001,beta1=0.9,beta2=0.99," GRADIENT},
    {"nadam", "learning_rate=0.001," ADAM_BETAS
              "epsilon=1e-08,schedule_decay=0.004," GRADIENT},
    {"nag", "learning_rate=0.01,momentum=0," GRADIENT},
    {"rmsprop", "learning_rate=0.001,gamma1=0.9,gamma2=0.9,epsilon=1e-08,"
                "centered=0,clip_weights=-1," GRADIENT},
    {"sgd", "learning_rate=0.01,momentum=0," GRADIENT},
    {"signsgd", "learning_rate=0.01,momentum=0,wd_lh=0," GRADIENT},
    {"signum", "learning_rate=0.01,momentum=0.9,wd_lh=0," GRADIENT},
    {"test", "rescale_grad=1"},
};

static void test_defaults_are_mxnets(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) {
        struct kv_optim_spec spec = parsed(defaults[i][0], "");
        const struct kv_optim_param *p = spec.optim->params;
        char got[KV_OPTIM_ERROR_MAX];
        size_t used = 0;

        for (; p->name != NULL; p++) {
            used += (size_t)snprintf(got + used, sizeof got - used, "%s%s=%g",
                                     used > 0 ? "," : "", p->name,
                                     param(&spec, p->name));
        }
        assert_string_equal(got, defaults[i][1]);
    }
}

static void test_parameters_decide_how_much_state_there_is(void **state)
{
    static const struct {
        const char *name, *params;
        unsigned slots;
    } right[] = {
        {"sgd", "lr=0.1", 0},
        {"sgd", "lr=0.1,momentum=0.5", 1},
        {"adam", "", 2},
        {"signum", "", 1},
        {"signum", "momentum=0", 0},
        {"dcasgd", "", 1},
        {"rmsprop", "", 1},
        {"dcasgd", "momentum=0.5", 2},
        {"ftml", "", 3},
        {"rmsprop", "centered=1", 3},
    };

    (void)state;
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        struct kv_optim_spec spec = parsed(right[i].name, right[i].params);

        assert_int_equal(slots_of(&spec), right[i].slots);
    }
}

static void test_parameters_answer_to_their_aliases(void **state)
{
    struct kv_optim_spec spec = parsed("sgd", "lr=0.25");

    (void)state;
    assert_int_equal(kv_optim_param_index(spec.optim, "lr"),
                     kv_optim_param_index(spec.optim, "learning_rate"));
    assert_int_equal(kv_optim_param_index(spec.optim, "rate"), -1);
    assert_true(param(&spec, "learning_rate") == 0.25);
}

static void test_every_optimizer_is_listed_and_found(void **state)
{
    char names[KV_OPTIM_ERROR_MAX], *rest = names;
    size_t size = kv_optim_names(names, sizeof names);
    unsigned found = 0;

    (void)state;
    assert_int_equal(strlen(names), size);
    for (char *name; (name = strtok_r(rest, ", ", &rest)) != NULL; found++) {
        const struct kv_optim *optim = kv_optim_find(name);
        struct kv_optim_spec spec = parsed(name, "");

        assert_ptr_equal(spec.optim, optim);
        assert_string_equal(optim->name, name);
        assert_true(slots_of(&spec) <= KV_OPTIM_SLOTS_MAX);
    }
    assert_true(found >= 2);
    assert_true(kv_optim_names(names, 3) == size && strlen(names) == 2);
}

static void test_letters_may_be_capital(void **state)
{
    (void)state;
    assert_ptr_equal(kv_optim_find("Adam"), kv_optim_find("adam"));
    assert_ptr_equal(kv_optim_find("SGD"), kv_optim_find("sgd"));
    assert_non_null(kv_optim_find("LAMB"));
}

static void test_wrong_names_are_refused_in_a_sentence(void **state)
{
    char right[KV_OPTIM_ERROR_MAX] = "unknown optimizer 'adamm'; known are: ";
    size_t start = strlen(right);

    (void)state;
    assert_true(kv_optim_names(right + start, sizeof right - start) <
                sizeof right - start);
    refuses("adamm", "lr=0.1", right);
    refuses("sgd", "lr=0.1,beta1=0.9",
            "sgd has no parameter 'beta1'; it has: learning_rate, momentum, "
            "wd, rescale_grad, clip_gradient, begin_num_update, "
            "multi_precision, lazy_update, nonfinite, lr_scheduler");
    refuses("sgd", "nonfinite=1",
            "sgd's nonfinite must be skip, error or allow, not '1'");
    refuses("sgd", "lr=0.1,learning_rate=0.1",
            "sgd's learning_rate is given twice");
}

static void test_a_sentence_has_room_for_every_parameter(void **state)
{
    char names[KV_OPTIM_ERROR_MAX], *rest = names;

    (void)state;
    kv_optim_names(names, sizeof names);
    for (char *name; (name = strtok_r(rest, ", ", &rest)) != NULL;) {
        struct kv_optim_spec spec = parsed(name, "");
        const char *last = "lr_scheduler"; /* Of those that all have. */
        char error[KV_OPTIM_ERROR_MAX];

        assert_int_equal(
            kv_optim_choose(&spec, "nothing", 1, error, sizeof error),
            KV_EINVAL);
        assert_string_equal(error + strlen(error) - strlen(last), last);
    }
}

static void test_wrong_numbers_are_refused_in_a_sentence(void **state)
{
    (void)state;
    refuses("sgd", "lr=-1",
            "sgd's learning_rate must be from 0 to 1e+30, "
            "not -1");
    refuses("sgd", "momentum=1.5",
            "sgd's momentum must be from 0 to 1, "
            "not 1.5");
    refuses("adam", "beta1=1",
            "adam's beta1 must be from 0 to 0.9999999, "
            "not 1");
    refuses("adam", "epsilon=0",
            "adam's epsilon must be from 1e-30 to "
            "1e+30, not 0");
    refuses("ftrl", "lr=0",
            "ftrl's learning_rate must be from 1e-30 to "
            "1e+30, not 0");
    refuses("adam", "lr=fast",
            "adam's learning_rate must be a finite number, "
            "not 'fast'");
    refuses("adam", "lr=nan",
            "adam's learning_rate must be a finite number, "
            "not 'nan'");
    refuses("adam", "lr=1e999",
            "adam's learning_rate must be a finite "
            "number, not '1e999'");
    refuses("adam", "lr", "adam: 'lr' is no pair of the form name=value");
}

static void test_numbers_off_the_wire_are_checked_like_text(void **state)
{
    struct kv_optim_spec spec = parsed("sgd", "");
    char error[KV_OPTIM_ERROR_MAX];

    (void)state;
    assert_int_equal(
        kv_optim_choose(&spec, "momentum", 0.9, error, sizeof error), KV_OK);
    assert_true(param(&spec, "momentum") == 0.9);
    assert_int_equal(
        kv_optim_choose(&spec, "lr", (double)NAN, error, sizeof error),
        KV_EINVAL);
    assert_string_equal(error,
                        "sgd's learning_rate must be a finite number, not nan");
    assert_int_equal(
        kv_optim_choose(&spec, "wd", (double)INFINITY, error, sizeof error),
        KV_EINVAL);
    assert_true(param(&spec, "lr") == 0.01 && param(&spec, "wd") == 0);
}

static void test_the_learning_rate_may_change_while_training(void **state)
{
    struct kv_optim_spec spec = parsed("sgd", "lr=0.1,momentum=0.9");
    char error[KV_OPTIM_ERROR_MAX];

    (void)state;
    assert_int_equal(kv_optim_set(&spec, "lr", 0.01, error, sizeof error),
                     KV_OK);
    assert_true(param(&spec, "learning_rate") == 0.01);
    assert_int_equal(kv_optim_set(&spec, "momentum", 0.5, error, sizeof error),
                     KV_OK);
    assert_true(param(&spec, "momentum") == 0.5);
}

static void test_state_cannot_appear_or_vanish_while_training(void **state)
{
    struct kv_optim_spec plain = parsed("sgd", "");
    struct kv_optim_spec heavy = parsed("sgd", "momentum=0.9");
    char error[KV_OPTIM_ERROR_MAX];

    (void)state;
    assert_int_equal(kv_optim_set(&plain, "momentum", 0.9, error, sizeof error),
                     KV_EINVAL);
    assert_string_equal(error,
                        "sgd's momentum cannot become 0.9 while training: it "
                        "would need 1 values of state a weight instead of 0");
    assert_int_equal(kv_optim_set(&heavy, "momentum", 0, error, sizeof error),
                     KV_EINVAL);
    assert_true(param(&plain, "momentum") == 0);
    assert_true(param(&heavy, "momentum") == 0.9);
}

static void test_a_short_buffer_cuts_the_sentence(void **state)
{
    char error[12] = "xxxxxxxxxxx";
    struct kv_optim_spec spec;

    (void)state;
    assert_int_equal(kv_optim_parse("no", "", &spec, error, sizeof error - 1),
                     KV_EINVAL);
    assert_string_equal(error, "unknown op");
    assert_int_equal(kv_optim_parse("no", "", &spec, NULL, 0), KV_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_mxnets),
        cmocka_unit_test(test_parameters_decide_how_much_state_there_is),
        cmocka_unit_test(test_parameters_answer_to_their_aliases),
        cmocka_unit_test(test_every_optimizer_is_listed_and_found),
        cmocka_unit_test(test_letters_may_be_capital),
        cmocka_unit_test(test_wrong_names_are_refused_in_a_sentence),
        cmocka_unit_test(test_a_sentence_has_room_for_every_parameter),
        cmocka_unit_test(test_wrong_numbers_are_refused_in_a_sentence),
        cmocka_unit_test(test_numbers_off_the_wire_are_checked_like_text),
        cmocka_unit_test(test_the_learning_rate_may_change_while_training),
        cmocka_unit_test(test_state_cannot_appear_or_vanish_while_training),
        cmocka_unit_test(test_a_short_buffer_cuts_the_sentence),
    };

    return cmocka_run_group_tests_name("optim_settings", tests, NULL, NULL);
}
