#include "common/compute/denormals.h"
#include "tests/unit/optim_key_fixture.h"

/* --- Steps ---------------------------------------------------------------- */

static void refuses(const char *name, const char *params, const char *sentence)
{
    char error[KV_OPTIM_ERROR_MAX] = "";
    struct kv_optim_spec spec;

    assert_int_equal(kv_optim_parse(name, params, &spec, error, sizeof error),
                     KV_EINVAL);
    assert_string_equal(error, sentence);
}

static void cannot_set(struct kv_optim_spec *spec, const char *param,
                       double value, const char *sentence)
{
    char error[KV_OPTIM_ERROR_MAX] = "";
    struct kv_optim_spec before = *spec;

    assert_int_equal(kv_optim_set(spec, param, value, error, sizeof error),
                     KV_EINVAL);
    assert_string_equal(error, sentence);
    assert_memory_equal(spec, &before, sizeof before);
}

static void set(struct kv_optim_spec *spec, const char *param, double value)
{
    char error[KV_OPTIM_ERROR_MAX] = "";

    if (kv_optim_set(spec, param, value, error, sizeof error) != KV_OK) {
        fail_msg("%s", error);
    }
}

/* Gradient 1 on weight 0 with sgd: the weight becomes minus the rate. */
static void expect_moves(struct key *k, double right)
{
    static const float one = 1;
    float before = *key_weight(k);

    key_update(k, &one);
    if (!(fabs((double)(before - *key_weight(k)) - right) <= 1e-6)) {
        fail_msg("update %llu moves %.9g, not %.9g", (unsigned long long)k->t,
                 (double)(before - *key_weight(k)), right);
    }
}

static struct key key;

/* --- Tests: settings ------------------------------------------------------ */

static void test_defaults_are_mxnet_1_9s(void **state)
{
    struct kv_optim_spec sgd = key_spec("sgd", "");

    (void)state;
    assert_true(sgd.begin_num_update == 0 && sgd.multi_precision == 0);
    assert_int_equal(sgd.schedule.kind, KV_SCHEDULE_NONE);
    sgd = key_spec("sgd", "lr_scheduler=factor,step=5");
    assert_true(sgd.schedule.factor == 1);
    assert_true(sgd.schedule.stop_factor_lr == 1e-8);
    assert_true(sgd.schedule.warmup_steps == 0);
    assert_true(sgd.schedule.warmup_begin_lr == 0);
    assert_false(sgd.schedule.constant_warmup);
    sgd = key_spec("sgd", "lr_scheduler=poly,max_update=5");
    assert_true(sgd.schedule.pwr == 2 && sgd.schedule.final_lr == 0);
}

static void test_who_can_be_lazy_is_unless_told(void **state)
{
    (void)state;
    assert_true(key_spec("sgd", "").lazy_update == 1);
    assert_true(key_spec("adam", "").lazy_update == 1);
    assert_true(key_spec("sgd", "lazy_update=0").lazy_update == 0);
}

static void test_parameters_come_in_any_order(void **state)
{
    struct kv_optim_spec a = key_spec(
        "sgd", "step=15;25,factor=0.5,lr_scheduler=multifactor,lr=0.5");
    struct kv_optim_spec b = key_spec(
        "sgd", "lr=0.5,lr_scheduler=multifactor,factor=0.5,step=15;25");

    (void)state;
    assert_memory_equal(&a, &b, sizeof a);
    assert_int_equal(a.schedule.step_count, 2);
    assert_true(a.schedule.step[0] == 15 && a.schedule.step[1] == 25);
}

static void test_a_wrong_schedule_is_refused_in_a_sentence(void **state)
{
    (void)state;
    refuses("sgd", "lr_scheduler=exp",
            "unknown lr_scheduler 'exp'; known are: factor, multifactor, poly, "
            "cosine");
    refuses("sgd", "step=5",
            "step belongs to an lr_scheduler, one of: factor, multifactor, "
            "poly, cosine");
    refuses("sgd", "warmup_mode=linear",
            "warmup_mode belongs to an lr_scheduler, one of: factor, "
            "multifactor, poly, cosine");
    refuses("sgd", "lr_scheduler=factor,step=5,pwr=2",
            "lr_scheduler=factor has no parameter pwr; it has: step, factor, "
            "stop_factor_lr, warmup_steps, warmup_begin_lr, warmup_mode");
    refuses("sgd", "lr_scheduler=cosine,max_update=5,pwr=2",
            "lr_scheduler=cosine has no parameter pwr; it has: max_update, "
            "final_lr, warmup_steps, warmup_begin_lr, warmup_mode");
    refuses("sgd", "lr_scheduler=factor", "lr_scheduler=factor needs step");
    refuses("sgd", "lr_scheduler=poly", "lr_scheduler=poly needs max_update");
    refuses("sgd", "lr_scheduler=factor,step=1;2",
            "lr_scheduler=factor has one step; a list belongs to multifactor");
    refuses("sgd", "lr_scheduler=multifactor,step=9;9",
            "step must rise: 9 follows 9");
    refuses("sgd", "lr_scheduler=poly,max_update=9,warmup_steps=9",
            "max_update must be more than warmup_steps, which is 9, not 9");
    refuses("sgd", "lr=0.1,lr_scheduler=factor,step=1,warmup_begin_lr=0.2",
            "warmup_begin_lr must be at most learning_rate, which is 0.1, not "
            "0.2");
    refuses("sgd", "lr_scheduler=poly,max_update=9,warmup_mode=slow",
            "warmup_mode must be linear or constant, not 'slow'");
}

static void test_wrong_numbers_are_refused_in_a_sentence(void **state)
{
    (void)state;
    refuses("sgd", "begin_num_update=1.5",
            "sgd's begin_num_update must be a whole number from 0 to 1e+12, "
            "not 1.5");
    refuses("sgd", "multi_precision=2",
            "sgd's multi_precision must be a whole number from 0 to 1, not 2");
    refuses("sgd", "lr_scheduler=factor,step=0",
            "sgd's step must be a whole number from 1 to 1e+12, not 0");
    refuses("sgd", "lr_scheduler=factor,step=1,factor=1.5",
            "sgd's factor must be from 0 to 1, not 1.5");
    refuses("sgd", "lr_scheduler=multifactor,step=1;;2",
            "sgd's step must be a finite number, not ''");
    refuses("sgd", "lr_scheduler=multifactor,step=1;x",
            "sgd's step must be a finite number, not 'x'");
    refuses("sgd",
            "lr_scheduler=multifactor,"
            "step=1;2;3;4;5;6;7;8;9;10;11;12;13;14;15;16;17",
            "step has more than 16 numbers");
    refuses("sgd", "lazy_update=0,lazy_update=1",
            "sgd: 'lazy_update' is given twice");
}

/* --- Tests: as text ------------------------------------------------------- */

static void expect_same_from_text(const struct kv_optim_spec *spec)
{
    char text[KV_OPTIM_TEXT_MAX], again[KV_OPTIM_TEXT_MAX];
    size_t size = kv_optim_format(spec, text, sizeof text);
    struct kv_optim_spec back;

    assert_true(size < sizeof text && strlen(text) == size);
    back = key_spec(spec->optim->name, text);
    assert_memory_equal(&back, spec, sizeof back);
    kv_optim_format(&back, again, sizeof again);
    assert_string_equal(again, text);
}

static void test_settings_come_back_from_text_to_the_bit(void **state)
{
    static const char *const params[] = {
        "",
        "lr=0.1,wd=3.3333333333333331e-05,clip_gradient=1.23456789012345e-310",
        "lr=0.30000000000000004,begin_num_update=999999999999",
        "lr=2,lr_scheduler=factor,step=7,factor=0.1,stop_factor_lr=1e-300",
        "lr=2,lr_scheduler=multifactor,step=1;2;999999999999,factor=0.7,"
        "warmup_steps=3,warmup_begin_lr=0.123456789012345678",
        "lr=2,lr_scheduler=poly,max_update=9,pwr=0.9,final_lr=1e-7,"
        "warmup_mode=constant,multi_precision=1",
        "lr=2,lr_scheduler=cosine,max_update=9,lazy_update=0",
        "lr=2,nonfinite=error",
        "lr=2,nonfinite=allow",
    };

    (void)state;
    for (size_t i = 0; i < sizeof params / sizeof *params; i++) {
        struct kv_optim_spec spec = key_spec("sgd", params[i]);

        expect_same_from_text(&spec);
    }
}

static void test_they_do_on_a_thread_that_flushes_denormals(void **state)
{
    kv_flush_denormals();
    test_settings_come_back_from_text_to_the_bit(state);
}

static void test_text_says_all_and_reads_well(void **state)
{
    struct kv_optim_spec spec = key_spec("sgd", "lr=0.1,wd=0.0001");
    char text[KV_OPTIM_TEXT_MAX], cut[8];

    (void)state;
    kv_optim_format(&spec, text, sizeof text);
    assert_string_equal(text, "learning_rate=0.1,momentum=0,wd=0.0001,"
                              "rescale_grad=1,clip_gradient=-1,"
                              "begin_num_update=0,multi_precision=0,"
                              "lazy_update=1,nonfinite=skip");
    assert_int_equal(kv_optim_format(&spec, cut, sizeof cut), strlen(text));
    assert_string_equal(cut, "learnin");
    assert_int_equal(kv_optim_format(&spec, NULL, 0), strlen(text));
}

/* Every optimizer, every number as long as numbers get. */
static void test_the_longest_text_fits(void **state)
{
    char names[KV_OPTIM_ERROR_MAX], *rest = names;

    (void)state;
    kv_optim_names(names, sizeof names);
    for (char *name; (name = strtok_r(rest, ", ", &rest)) != NULL;) {
        struct kv_optim_spec spec = key_spec(name, "");

        for (int i = 0; spec.optim->params[i].name != NULL; i++) {
            spec.params[i] = -1.2345678901234567e-300;
        }
        spec.begin_num_update = KV_SCHEDULE_UPDATES_MAX;
        spec.schedule.kind = KV_SCHEDULE_MULTIFACTOR;
        spec.schedule.constant_warmup = true;
        spec.schedule.step_count = KV_SCHEDULE_STEPS_MAX;
        for (int i = 0; i < KV_SCHEDULE_STEPS_MAX; i++) {
            spec.schedule.step[i] = KV_SCHEDULE_UPDATES_MAX - i;
        }
        spec.schedule.factor = spec.schedule.warmup_begin_lr =
            1.2345678901234567e-300;
        spec.schedule.warmup_steps = KV_SCHEDULE_UPDATES_MAX;
        assert_true(kv_optim_format(&spec, NULL, 0) < KV_OPTIM_TEXT_MAX);
    }
}

/* --- Tests: in training --------------------------------------------------- */

static void test_the_rate_follows_its_schedule(void **state)
{
    (void)state;
    key_start(&key, "sgd", "lr=1,lr_scheduler=multifactor,step=1;3,factor=0.5",
              1, NULL);
    expect_moves(&key, 1);
    expect_moves(&key, 0.5);
    expect_moves(&key, 0.5);
    expect_moves(&key, 0.25);
}

static void test_counting_begins_where_it_is_told(void **state)
{
    static const float one = 1;
    struct key adam;

    (void)state;
    key_start(&key, "sgd",
              "lr=1,lr_scheduler=factor,step=10,factor=0.5,"
              "begin_num_update=9",
              1, NULL);
    expect_moves(&key, 1);
    expect_moves(&key, 0.5);

    key_start(&adam, "adam", "lr=1,beta1=0,beta2=0.75,begin_num_update=1", 1,
              NULL);
    key_update(&adam, &one);
    /* sqrt(1 - 0.75^2) over sqrt(0.25): of update 2, not 1. */
    assert_true(fabs((double)*key_weight(&adam) + sqrt(1 - 0.5625) / 0.5) <
                1e-6);
}

static void test_a_key_has_its_own_rate_and_decay(void **state)
{
    static const float zero = 0, eight = 8;

    (void)state;
    key_start(&key, "sgd", "lr=0.5", 1, NULL);
    key.scale.lr_mult = 0.25;
    expect_moves(&key, 0.125);
    key.scale.lr_mult = 0;
    expect_moves(&key, 0);
    key.scale.lr_mult = 1e300;
    expect_moves(&key, (double)(float)KV_OPTIM_HUGE);

    key_start(&key, "sgd", "lr=0.5,wd=0.5", 1, &eight);
    key.scale.wd_mult = 0;
    key_update(&key, &zero);
    assert_true(*key_weight(&key) == 8);
    key.scale.wd_mult = 0.5;
    key_update(&key, &zero);
    assert_true(*key_weight(&key) == 7);
}

static void test_schedules_change_while_training(void **state)
{
    (void)state;
    key_start(&key, "sgd", "lr=1,lr_scheduler=factor,step=1,factor=0.5", 1,
              NULL);
    expect_moves(&key, 1);
    expect_moves(&key, 0.5);
    set(&key.spec, "lr", 4);
    set(&key.spec, "factor", 0.25);
    expect_moves(&key, 0.25);
    set(&key.spec, "step", 3);
    expect_moves(&key, 1);
    cannot_set(&key.spec, "max_update", 5,
               "lr_scheduler=factor has no parameter max_update; it has: step, "
               "factor, stop_factor_lr, warmup_steps, warmup_begin_lr, "
               "warmup_mode");
    set(&key.spec, "warmup_begin_lr", 2);
    cannot_set(&key.spec, "lr", 1,
               "warmup_begin_lr must be at most learning_rate, which is 1, "
               "not 2");
    cannot_set(&key.spec, "multi_precision", 1,
               "sgd's multi_precision cannot become 1 while training: it "
               "decides what state there is");
    set(&key.spec, "multi_precision", 0);
    set(&key.spec, "lazy_update", 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_mxnet_1_9s),
        cmocka_unit_test(test_who_can_be_lazy_is_unless_told),
        cmocka_unit_test(test_parameters_come_in_any_order),
        cmocka_unit_test(test_a_wrong_schedule_is_refused_in_a_sentence),
        cmocka_unit_test(test_wrong_numbers_are_refused_in_a_sentence),
        cmocka_unit_test(test_settings_come_back_from_text_to_the_bit),
        cmocka_unit_test(test_text_says_all_and_reads_well),
        cmocka_unit_test(test_the_longest_text_fits),
        cmocka_unit_test(test_the_rate_follows_its_schedule),
        cmocka_unit_test(test_counting_begins_where_it_is_told),
        cmocka_unit_test(test_a_key_has_its_own_rate_and_decay),
        cmocka_unit_test(test_schedules_change_while_training),
        cmocka_unit_test(test_they_do_on_a_thread_that_flushes_denormals),
    };

    return cmocka_run_group_tests_name("optim_common", tests, NULL, NULL);
}
