/* A worker that has pulled much and does not read: its answers wait where they
 * need no memory, and the others do not wait for it. */
#include "tests/integration/life_fixture.h"

#define ROWS (1 << 20)
#define WIDTH 16 /* 64 MiB in all. */

#define LIMIT_KB (24 << 10)

/* Sanitizers keep books of all memory, in more memory. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEMORY_TELLS false
#else
#define MEMORY_TELLS true
#endif

static const struct kvw_key table = {"table", 0}, mark = {"mark", 0};

static float *values;

static void init_keys(unsigned rank)
{
    struct kvw_tensor t = kvw_f32_rows(values, NULL, ROWS, ROWS, WIDTH);
    struct kvw_item i = item(table, &t);

    fill(values, (size_t)ROWS * WIDTH, 1);
    expect_ok(c.kv[rank], kvw_init(c.kv[rank], &i, 1));
    fill(w[rank], BIG, 0);
    init(rank, mark, w[rank], BIG);
}

static void push_a_row(unsigned rank, int64_t row)
{
    struct kvw_tensor t = kvw_f32_rows(g[rank], &row, 1, ROWS, WIDTH);
    struct kvw_item i = item(table, &t);
    struct kvw_call copy = {.flags = KVW_COPY};

    fill(g[rank], WIDTH, 1);
    expect_ok(c.kv[rank], kvw_push(c.kv[rank], &i, 1, &copy, NULL));
}

/* --- Rank 1 ----------------------------------------------------------------
 */

static void pull_all(struct kvw_op **op)
{
    struct kvw_tensor t = kvw_f32_rows(values, NULL, ROWS, ROWS, WIDTH);
    struct kvw_item i = item(table, &t);

    expect_ok(c.kv[1], kvw_pull(c.kv[1], &i, 1, NULL, op));
}

/* What is asked for behind the table is answered: the server knows of it all.
 */
static void until_the_server_knows(void)
{
    struct kvw_tensor t = kvw_f32(w[1], BIG);
    struct kvw_item i = item(mark, &t);
    struct kvw_op *op;

    expect_ok(c.kv[1], kvw_pull(c.kv[1], &i, 1, NULL, &op));
    expect_ok(c.kv[1], kvw_wait(c.kv[1], op, PATIENCE));
}

static int be_rank_1(char **argv)
{
    struct kvw_op *op;

    (void)open_life(argv);
    init_keys(1);
    push_a_row(1, 5);
    pull_all(&op);
    until_the_server_knows();
    tell(STDOUT_FILENO);
    hear(STDIN_FILENO);
    expect_ok(c.kv[1], kvw_wait(c.kv[1], op, PATIENCE));
    for (int64_t row = 0; row < ROWS; row++) {
        expect_all(values + row * WIDTH, WIDTH,
                   row == 5 || row == ROWS - 1 ? 2 : 1);
    }
    cluster_close(&c, 1);
    return 0;
}

/* --- The test -------------------------------------------------------------
 */

/* Of its memory, what no file stands behind. */
static long server_kb(void)
{
    char path[64], line[256];
    long kb = -1;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/status", (int)c.pid[0]);
    f = fopen(path, "r");
    KV_CHECK(f != NULL);
    while (fgets(line, sizeof line, f) != NULL) {
        (void)sscanf(line, "RssAnon: %ld", &kb);
    }
    fclose(f);
    KV_CHECK(kb >= 0);
    return kb;
}

static void expect_end(const struct life *life)
{
    int status;

    assert_int_equal(waitpid(life->pid, &status, 0), life->pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(life->in);
    close(life->out);
}

static void test_what_it_has_asked_for_takes_no_memory(void **state)
{
    struct life life;
    long before;

    (void)state;
    cluster_open(&c, 0, "dist_sync");
    life = start_life(1, "dist_sync", "pulls");
    init_keys(0);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "accumulate", ""));
    hear(life.out);
    before = server_kb();
    kill(life.pid, SIGSTOP);
    push_a_row(0, ROWS - 1);
    expect_ok(c.kv[0], kvw_wait_all(c.kv[0], PATIENCE));
    if (!MEMORY_TELLS) {
        print_message("memory is not looked at: a sanitizer has most of it\n");
    } else if (server_kb() - before > LIMIT_KB) {
        fail_msg("%ld KiB, after %ld", server_kb(), before);
    }
    kill(life.pid, SIGCONT);
    tell(life.in);
    expect_end(&life);
}

static int set_up_server(void **state)
{
    (void)state;
    cluster_no_environment();
    cluster_start(&c, 1, 2);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_it_has_asked_for_takes_no_memory, set_up_server),
    };

    values = malloc((size_t)ROWS * WIDTH * sizeof *values);
    KV_CHECK(values != NULL);
    if (argc > 1) {
        return be_rank_1(argv);
    }
    return cmocka_run_group_tests_name("worker slow", tests, NULL, NULL);
}
