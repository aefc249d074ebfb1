/* Workers that end while a server is away. */
#include <pthread.h>
#include <time.h>

#include "tests/integration/worker_fixture.h"

static void *close_rank_0(void *unused)
{
    (void)unused;
    cluster_close(&c, 0);
    return NULL;
}

static void sleep_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    (void)nanosleep(&t, NULL);
}

/* From the loss of server 1 on, a worker asks the root once a second where that
 * is. Closed after half a second, it gives the shards 2 s, and then says so to
 * the root, which stops in time to find that and the next question together
 * when it goes on. */
static void test_who_has_left_does_not_come_back(void **state)
{
    pthread_t thread;
    pid_t ended = 0;
    int status;

    (void)state;
    init_all(kvw_str("w"), BIG, 0);
    for (unsigned rank = 0; rank < 2; rank++) {
        push(rank, kvw_str("w"), g[rank], BIG);
    }
    wait_all();
    cluster_kill(&c, 1);
    sleep_ms(500);
    KV_CHECK(pthread_create(&thread, NULL, close_rank_0, NULL) == 0);
    sleep_ms(1900);
    cluster_pause(&c, 0);
    sleep_ms(1600);
    KV_CHECK(kill(c.pid[0], SIGCONT) == 0);
    KV_CHECK(pthread_join(thread, NULL) == 0);
    cluster_close(&c, 1);
    for (int i = 0; i < PATIENCE / 100 && ended == 0; i++) {
        sleep_ms(100);
        ended = waitpid(c.pid[0], &status, WNOHANG);
    }
    assert_int_equal(ended, c.pid[0]);
    c.pid[0] = 0;
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int set_up_servers(void **state)
{
    (void)state;
    c.extra = "--exit-when-done";
    return set_up_with(2, 2, "dist_sync");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_who_has_left_does_not_come_back, set_up_servers),
    };

    return cmocka_run_group_tests_name("worker leaving", tests, NULL, NULL);
}
