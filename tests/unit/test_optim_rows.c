#include "tests/unit/optim_key_fixture.h"

#define COUNT_MAX 6000

struct fixture {
    uint64_t chance;
    struct key a, b, before;
    float weight[COUNT_MAX], gradient[COUNT_MAX];
    double w[COUNT_MAX], h[COUNT_MAX];
};

static struct fixture fixture;

static int set_up(void **state)
{
    fixture.chance = chance_seed();
    *state = &fixture;
    return 0;
}

/* --- Steps ---------------------------------------------------------------- */

static void start_both(struct fixture *f, const char *name, const char *params,
                       size_t rows, size_t row_length)
{
    key_fill(&f->chance, f->weight, rows * row_length);
    key_start(&f->a, name, params, rows * row_length, f->weight);
    f->a.row_length = row_length;
    f->b = f->a;
}

static void expect_same_bits(const struct fixture *f)
{
    for (unsigned s = 0; s < KV_OPTIM_SLOTS_MAX; s++) {
        assert_memory_equal(key_slot(&f->a, s), key_slot(&f->b, s),
                            f->a.count * sizeof(float));
    }
    assert_memory_equal(key_weight(&f->a), key_weight(&f->b),
                        f->a.count * sizeof(float));
}

static double param(const struct key *k, const char *name)
{
    return k->spec.params[kv_optim_param_index(k->spec.optim, name)];
}

static double clipped(const struct key *k, float gradient)
{
    double g = param(k, "rescale_grad") * (double)gradient;
    double limit = param(k, "clip_gradient");

    return limit <= 0 ? g : fmin(fmax(g, -limit), limit);
}

static void reference(struct fixture *f, const struct key *k)
{
    for (size_t first = 0; first < k->count; first += k->row_length) {
        size_t row = first / k->row_length;
        double sum = 0;

        for (size_t i = first; i < first + k->row_length; i++) {
            sum += pow(clipped(k, f->gradient[i]), 2);
        }
        f->h[row] += sum / (double)k->row_length;
        for (size_t i = first; i < first + k->row_length; i++) {
            f->w[i] -= param(k, "lr") * clipped(k, f->gradient[i]) /
                       sqrt(f->h[row] + param(k, "eps"));
        }
    }
}

/* --- Tests: groupadagrad -------------------------------------------------- */

static void test_groupadagrad_has_a_sum_of_mean_squares_a_row(void **state)
{
    static const size_t lengths[] = {1, 3, 16, 64, 100, 200};
    static const char *const params[] = {
        "lr=0.1", "lr=0.1,rescale_grad=0.14,clip_gradient=0.1"};
    struct fixture *f = *state;

    for (size_t i = 0; i < 6 * 2; i++) {
        start_both(f, "groupadagrad", params[i % 2], 7, lengths[i / 2]);
        memset(f->h, 0, sizeof f->h);
        for (size_t j = 0; j < f->a.count; j++) {
            f->w[j] = (double)f->weight[j];
        }
        for (int t = 0; t < 5; t++) {
            key_fill(&f->chance, f->gradient, f->a.count);
            key_update(&f->a, f->gradient);
            reference(f, &f->a);
        }
        key_expect(key_weight(&f->a), f->w, f->a.count, 2e-6, "weight");
        key_expect(key_slot(&f->a, 0), f->h, 7, 2e-6, "state");
        assert_true(key_slot(&f->a, 0)[7] == 0);
    }
}

static void test_groupadagrads_blocks_are_whole_rows_of_any_number(void **state)
{
    struct fixture *f = *state;

    for (size_t rows = 1; rows <= 8; rows++) {
        start_both(f, "groupadagrad", "lr=0.1", 29, 200);
        f->b.block = rows * 200;
        f->b.stream = true;
        for (int t = 0; t < 3; t++) {
            key_fill(&f->chance, f->gradient, f->a.count);
            key_update(&f->a, f->gradient);
            key_update(&f->b, f->gradient);
        }
        expect_same_bits(f);
    }
}

static void test_groupadagrad_has_no_weight_decay(void **state)
{
    char error[KV_OPTIM_ERROR_MAX];
    struct kv_optim_spec spec;

    (void)state;
    assert_int_equal(
        kv_optim_parse("groupadagrad", "wd=0.1", &spec, error, sizeof error),
        KV_EINVAL);
    assert_string_equal(error, "groupadagrad's wd must be 0, not 0.1");
    assert_int_equal(kv_optim_parse("groupadagrad", "lazy_update=0", &spec,
                                    error, sizeof error),
                     KV_EINVAL);
    assert_string_equal(error, "groupadagrad's lazy_update must be 1, not 0");
    assert_true(key_spec("groupadagrad", "wd=0").lazy_update == 1);
    assert_int_equal(
        kv_optim_parse("lamb", "lazy_update=1", &spec, error, sizeof error),
        KV_EINVAL);
    assert_string_equal(error, "lamb's lazy_update must be 0, not 1");
}

static void test_a_row_of_zeros_moves_nothing(void **state)
{
    static const float zero[32];
    struct fixture *f = *state;

    start_both(f, "groupadagrad", "lr=1,eps=1e-30", 2, 16);
    key_update(&f->a, zero);
    expect_same_bits(f);
}

/* --- Tests: some rows ----------------------------------------------------- */

static const char *const recipes[][2] = {
    {"sgd", "lr=0.1,wd=0.1"},
    {"sgd", "lr=0.1,wd=0.1,momentum=0.9"},
    {"adam", "lr=0.1,wd=0.1"},
    {"groupadagrad", "lr=0.1"},
};

#define RECIPES (sizeof recipes / sizeof *recipes)

/* Not in order. */
static const int64_t some[] = {0, 29, 1, 15, 3, 4, 5, 28, 6, 7, 26, 8};

enum { SOME = sizeof some / sizeof *some, ROWS = 30 };

static void update_some(struct fixture *f, struct key *k)
{
    unsigned char step[KV_OPTIM_STEP_MAX];
    struct kv_optim_args args;

    kv_optim_prepare(&k->spec, KV_F32, &k->scale, ++k->t, step);
    args = key_args(k, 0, k->count, f->gradient, step);
    kv_optim_update_rows(k->spec.optim, &args, some, SOME);
}

/* A dense update of everything; its result counts in the rows of `some`. */
static bool is_some(size_t row)
{
    for (size_t i = 0; i < SOME; i++) {
        if ((size_t)some[i] == row) {
            return true;
        }
    }
    return false;
}

static void spread(const struct fixture *f, float *dense, size_t length)
{
    memset(dense, 0, ROWS * length * sizeof *dense);
    for (size_t i = 0; i < SOME; i++) {
        memcpy(dense + (size_t)some[i] * length, f->gradient + i * length,
               length * sizeof *dense);
    }
}

static void expect_rows(const float *got, const float *updated,
                        const float *untouched, size_t length)
{
    for (size_t row = 0; row < ROWS; row++) {
        const float *right = is_some(row) ? updated : untouched;

        assert_memory_equal(got + row * length, right + row * length,
                            length * sizeof *got);
    }
}

static void test_rows_with_a_gradient_move_and_the_others_stay(void **state)
{
    static const size_t lengths[] = {1, 5, 16, 64, 150};
    static float dense[COUNT_MAX];
    struct fixture *f = *state;

    for (size_t i = 0; i < RECIPES * 5; i++) {
        const char *const *recipe = recipes[i / 5];
        size_t length = lengths[i % 5];
        bool rows;

        start_both(f, recipe[0], recipe[1], ROWS, length);
        rows = f->a.spec.optim->rows;
        f->a.in_place = f->b.in_place = true;
        for (int t = 0; t < 3; t++) {
            key_fill(&f->chance, f->gradient, SOME * length);
            spread(f, dense, length);
            f->before = f->a;
            f->b = f->a;
            key_update(&f->b, dense);
            update_some(f, &f->a);
            expect_rows(key_weight(&f->a), key_weight(&f->b),
                        key_weight(&f->before), length);
            for (unsigned s = 0; s < KV_OPTIM_SLOTS_MAX; s++) {
                expect_rows(key_slot(&f->a, s), key_slot(&f->b, s),
                            key_slot(&f->before, s), rows ? 1 : length);
            }
        }
    }
}

/* More than are fetched together, just as many, one less; in a list that ends
 * where they do. */
static void test_many_rows_move_alike(void **state)
{
    enum { TABLE = 200, LENGTH = 8, STEP = 77 }; /* No common divisor. */
    static const size_t counts[] = {63, 64, 65, 128, 129, TABLE};
    unsigned char step[KV_OPTIM_STEP_MAX];
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        int64_t *rows = test_calloc(counts[i], sizeof *rows);
        struct kv_optim_args args;

        start_both(f, "sgd", "lr=1,momentum=0.5", TABLE, LENGTH);
        f->a.in_place = true;
        memset(f->a.weight[0], 0, sizeof f->a.weight[0]);
        for (size_t n = 0; n < counts[i]; n++) {
            rows[n] = (int64_t)(n * STEP % TABLE);
            for (size_t at = 0; at < LENGTH; at++) {
                f->gradient[n * LENGTH + at] = (float)(rows[n] + 1);
            }
        }
        kv_optim_prepare(&f->a.spec, KV_F32, &f->a.scale, 1, step);
        args = key_args(&f->a, 0, f->a.count, f->gradient, step);
        kv_optim_update_rows(f->a.spec.optim, &args, rows, counts[i]);
        for (size_t n = 0; n < TABLE; n++) {
            size_t row = n * STEP % TABLE;
            float right = n < counts[i] ? -(float)(row + 1) : 0;

            assert_true(key_weight(&f->a)[row * LENGTH] == right);
            assert_true(key_weight(&f->a)[row * LENGTH + LENGTH - 1] == right);
        }
        test_free(rows);
    }
}

static void test_rows_may_be_written_elsewhere(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < RECIPES; i++) {
        start_both(f, recipes[i][0], recipes[i][1], ROWS, 16);
        key_fill(&f->chance, f->gradient, SOME * 16);
        memset(f->a.weight[1], 0x77, sizeof f->a.weight[1]);
        f->before = f->a;
        f->b.in_place = true;
        update_some(f, &f->a);
        update_some(f, &f->b);
        assert_memory_equal(f->a.weight[0], f->before.weight[0],
                            sizeof f->a.weight[0]);
        expect_rows(f->a.weight[1], f->b.weight[0], f->before.weight[1], 16);
    }
}

static void test_in_place_gives_the_bits_of_out_of_place(void **state)
{
    static const char *const all[][2] = {
        {"sgd", "lr=0.1,wd=0.1,momentum=0.9"},
        {"adam", "lr=0.1,wd=0.1"},
        {"lamb", "lr=0.1,wd=0.1"},
        {"groupadagrad", "lr=0.1"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < 4 * 2; i++) {
        start_both(f, all[i / 2][0], all[i / 2][1], 37, 128);
        f->b.in_place = true;
        f->b.stream = i % 2 == 0;
        for (int t = 0; t < 3; t++) {
            key_fill(&f->chance, f->gradient, f->a.count);
            key_update(&f->a, f->gradient);
            key_update(&f->b, f->gradient);
        }
        expect_same_bits(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groupadagrad_has_a_sum_of_mean_squares_a_row),
        cmocka_unit_test(
            test_groupadagrads_blocks_are_whole_rows_of_any_number),
        cmocka_unit_test(test_groupadagrad_has_no_weight_decay),
        cmocka_unit_test(test_a_row_of_zeros_moves_nothing),
        cmocka_unit_test(test_rows_with_a_gradient_move_and_the_others_stay),
        cmocka_unit_test(test_many_rows_move_alike),
        cmocka_unit_test(test_rows_may_be_written_elsewhere),
        cmocka_unit_test(test_in_place_gives_the_bits_of_out_of_place),
    };

    return cmocka_run_group_tests_name("optim_rows", tests, set_up, NULL);
}
