#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "server/config.h"

#define ARGS_MAX 16

struct fixture {
    struct config c;
    struct settings_error error;
    char path[64];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    for (char **e = environ; *e != NULL;) { /* Those of whoever runs us. */
        char name[64];

        if ((strncmp(*e, "KV_", 3) == 0 || strncmp(*e, "DMLC_", 5) == 0 ||
             strncmp(*e, "PS_", 3) == 0) &&
            sscanf(*e, "%63[^=]", name) == 1 && unsetenv(name) == 0) {
            continue;
        }
        e++;
    }
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    if (f->path[0] != '\0') {
        unlink(f->path);
    }
    free(f);
    return 0;
}

/* --- Steps --------------------------------------------------------------- */

/* `line` is split at spaces. */
static enum kv_status load(struct fixture *f, const char *line)
{
    char copy[512], *argv[ARGS_MAX + 1] = {"kvstored"}, *save = NULL;
    int argc = 1;

    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok_r(copy, " ", &save); word != NULL;
         word = strtok_r(NULL, " ", &save)) {
        KV_CHECK(argc < ARGS_MAX);
        argv[argc++] = word;
    }
    f->error.text[0] = '\0';
    return config_load(&f->c, argc, argv, &f->error);
}

static void accept_line(struct fixture *f, const char *line)
{
    enum kv_status status = load(f, line);

    assert_string_equal(f->error.text, "");
    assert_int_equal(status, KV_OK);
}

static void refuse(struct fixture *f, const char *line, const char *text)
{
    assert_int_equal(load(f, line), KV_EINVAL);
    if (strstr(f->error.text, text) == NULL) {
        assert_string_equal(f->error.text, text); /* Shows both. */
    }
}

static void write_file(struct fixture *f, const void *text, size_t size,
                       mode_t mode)
{
    int fd;

    snprintf(f->path, sizeof f->path, "/tmp/kv-test-XXXXXX");
    fd = mkstemp(f->path);
    KV_CHECK(fd >= 0 && write(fd, text, size) == (ssize_t)size);
    KV_CHECK(fchmod(fd, mode) == 0);
    close(fd);
}

/* --- Tests --------------------------------------------------------------- */

static void test_without_options_it_serves_one_worker_here(void **state)
{
    struct fixture *f = *state;

    accept_line(f, "");
    assert_int_equal(f->c.action, CONFIG_SERVE);
    assert_string_equal(f->c.listen, "127.0.0.1:9091");
    assert_int_equal(f->c.index, 0);
    assert_int_equal(f->c.servers, 1);
    assert_int_equal(f->c.workers, 1);
    assert_true(f->c.shards >= 1 && f->c.shards <= KV_SHARDS_MAX);
    assert_int_equal(f->c.slice_bytes, KV_SLICE_BYTES_DEFAULT);
    assert_true(f->c.arena_max > (1u << 20));
    assert_non_null(strstr(f->c.arena_dir, "/dev/shm/kvstored-"));
    assert_false(f->c.has_key);
    assert_int_equal(f->c.listen_fd, -1);
    assert_int_equal(f->c.ready_fd, -1);
    assert_int_equal(f->c.lifeline_fd, -1);
    assert_int_equal(f->c.log_level, LOG_INFO);
}

static void test_flags_override_environment_overrides_file(void **state)
{
    struct fixture *f = *state;
    static const char text[] = "# a job\nworkers = 7\nservers = 3\nshards=4\n";
    char line[128];

    write_file(f, text, sizeof text - 1, 0600);
    setenv("KV_SERVERS", "5", 1);
    setenv("KV_WORKERS", "8", 1);
    snprintf(line, sizeof line, "--workers 9 --config %s", f->path);
    accept_line(f, line);
    assert_int_equal(f->c.shards, 4);
    assert_int_equal(f->c.servers, 5);
    assert_int_equal(f->c.workers, 9);
    setenv("KV_CONFIG", f->path, 1);
    accept_line(f, "");
    assert_int_equal(f->c.shards, 4);
}

static void test_what_is_printed_can_be_read_again(void **state)
{
    struct fixture *f = *state;
    struct config before;
    char line[128];
    FILE *out;

    accept_line(f, "--workers 3 --servers 2 --slice-bytes 256K --volatile "
                   "--job 00112233445566778899aabbccddeeff --listen [::1]:0");
    before = f->c;
    write_file(f, "", 0, 0600);
    out = fopen(f->path, "w");
    assert_non_null(out);
    config_print(&f->c, out);
    fclose(out);
    snprintf(line, sizeof line, "--config %s", f->path);
    accept_line(f, line);
    assert_int_equal(f->c.workers, 3);
    assert_int_equal(f->c.slice_bytes, 256 << 10);
    assert_true(f->c.in_memory);
    assert_string_equal(f->c.listen, "[::1]:0");
    assert_memory_equal(f->c.job, before.job, sizeof before.job);
    assert_int_equal(f->c.job[15], 0xff);
}

static void test_a_launcher_of_ps_lite_is_understood(void **state)
{
    struct fixture *f = *state;

    setenv("DMLC_ROLE", "server", 1);
    setenv("DMLC_PS_ROOT_URI", "10.0.0.1", 1);
    setenv("DMLC_PS_ROOT_PORT", "9000", 1);
    setenv("DMLC_NUM_WORKER", "4", 1);
    setenv("DMLC_NUM_SERVER", "3", 1);
    setenv("DMLC_NODE_HOST", "10.0.0.7", 1);
    setenv("PS_VERBOSE", "2", 1);
    accept_line(f, "");
    assert_string_equal(f->c.listen, "10.0.0.1:9000");
    assert_string_equal(f->c.root, "");
    assert_int_equal(f->c.servers, 3);
    assert_int_equal(f->c.workers, 4);
    assert_int_equal(f->c.log_level, LOG_DEBUG);

    setenv("DMLC_SERVER_ID", "2", 1);
    accept_line(f, "");
    assert_int_equal(f->c.index, 2);
    assert_string_equal(f->c.root, "10.0.0.1:9000");
    assert_string_equal(f->c.listen, "10.0.0.7:0");
    setenv("DMLC_PORT", "77", 1);
    accept_line(f, "");
    assert_string_equal(f->c.listen, "10.0.0.7:77");

    unsetenv("DMLC_NODE_HOST"); /* Several on one host. */
    unsetenv("DMLC_PORT");
    accept_line(f, "");
    assert_string_equal(f->c.listen, "127.0.0.1:0");
}

static void test_everything_wins_over_dmlc(void **state)
{
    struct fixture *f = *state;

    setenv("DMLC_PS_ROOT_URI", "10.0.0.1", 1);
    setenv("DMLC_PS_ROOT_PORT", "9000", 1);
    setenv("DMLC_NUM_WORKER", "4", 1);
    setenv("DMLC_NUM_SERVER", "3", 1);
    accept_line(f, "--workers 5 --listen 127.0.0.1:9091");
    assert_int_equal(f->c.workers, 5);
    assert_string_equal(f->c.listen, "127.0.0.1:9091");
    accept_line(f, "--index 1 --root b:2");
    assert_string_equal(f->c.root, "b:2");
    assert_string_equal(f->c.listen, "127.0.0.1:0");
    setenv("KV_SERVERS", "2", 1);
    accept_line(f, "");
    assert_int_equal(f->c.servers, 2);
}

static void test_only_a_server_is_started(void **state)
{
    struct fixture *f = *state;

    setenv("DMLC_ROLE", "worker", 1);
    refuse(f, "", "run the training program in its place");
    accept_line(f, "--version");
    setenv("DMLC_ROLE", "scheduler", 1);
    refuse(f, "", "server 0 does its work");
    setenv("DMLC_ROLE", "boss", 1);
    refuse(f, "", "DMLC_ROLE is 'boss'");
    setenv("DMLC_ROLE", "server", 1);
    setenv("DMLC_NUM_WORKER", "some", 1);
    refuse(f, "", "DMLC_NUM_WORKER: 'workers' is 'some'");
}

static void test_actions_are_flags_only(void **state)
{
    struct fixture *f = *state;

    setenv("KV_HELP", "1", 1);
    setenv("KV_VERSION", "1", 1);
    accept_line(f, "");
    assert_int_equal(f->c.action, CONFIG_SERVE);
    accept_line(f, "--help");
    assert_int_equal(f->c.action, CONFIG_HELP);
    accept_line(f, "--workers 2 --version");
    assert_int_equal(f->c.action, CONFIG_VERSION);
    accept_line(f, "--print-config");
    assert_int_equal(f->c.action, CONFIG_PRINT);
    accept_line(f, "--print-limits");
    assert_int_equal(f->c.action, CONFIG_PRINT_LIMITS);
}

static void test_every_bad_value_gets_a_sentence(void **state)
{
    struct fixture *f = *state;

    refuse(f, "--listen here", "--listen here: not HOST:PORT");
    refuse(f, "--listen 127.0.0.1:99999", "not HOST:PORT");
    refuse(f, "--advertise host:0", "--advertise host:0: not HOST:PORT");
    refuse(f, "--root nowhere", "--root nowhere: not HOST:PORT");
    refuse(f, "--servers 2 --index 2 --root a:1",
           "--index 2: the job has servers 0 to 1");
    refuse(f, "--servers 2 --index 1",
           "--root HOST:PORT is needed when --index is not 0");
    refuse(f, "--job 0011", "job");
    refuse(f, "--job zz112233445566778899aabbccddeeff",
           "not 32 hexadecimal digits");
    refuse(f, "--slice-bytes 1000", "must be a multiple of 256");
    refuse(f, "--slice-bytes 8M", "slice-bytes");
    refuse(f, "--shards 4 --arena-max 15M",
           "--arena-max 15728640: at least 4194304 bytes for each of 4 shards");
    refuse(f, "--shards 65", "shards");
    refuse(f, "--workers 0", "workers");
    refuse(f, "--workers 1025", "workers");
    refuse(f, "--workers many", "workers");
    refuse(f, "--log-level loud", "log-level");
    refuse(f, "--ready-fd 250", "--ready-fd 250: no open file descriptor");
    refuse(f, "--ready-fd x", "--ready-fd x: no open file descriptor");
    refuse(f, "--listen-fd 2x", "no open file descriptor");
    refuse(f, "--volatile --new-job", "--volatile keeps no state");
    refuse(f, "--frobnicate 1", "frobnicate");
    refuse(f, "stray", "stray: not an option; see --help");
    refuse(f, "--config /nonexistent/file", "/nonexistent/file");
}

static void test_descriptors_must_be_of_the_right_kind(void **state)
{
    struct fixture *f = *state;
    int fd[2];
    char line[64];

    assert_int_equal(pipe(fd), 0);
    snprintf(line, sizeof line, "--lifeline-fd %d --ready-fd %d", fd[0], fd[1]);
    accept_line(f, line);
    assert_int_equal(f->c.lifeline_fd, fd[0]);
    assert_int_equal(f->c.ready_fd, fd[1]);
    snprintf(line, sizeof line, "--listen-fd %d", fd[0]);
    refuse(f, line, "not a socket");
    close(fd[0]);
    close(fd[1]);
}

static void test_the_key_is_read_only_from_a_file_of_its_owner(void **state)
{
    struct fixture *f = *state;
    unsigned char key[HANDSHAKE_KEY_SIZE];
    char line[128];

    memset(key, 0x5a, sizeof key);
    write_file(f, key, sizeof key, 0600);
    snprintf(line, sizeof line, "--key-file %s", f->path);
    accept_line(f, line);
    assert_true(f->c.has_key);
    assert_memory_equal(f->c.key, key, sizeof key);
    config_wipe(&f->c);
    assert_int_equal(f->c.key[0] | f->c.key[31], 0);
    KV_CHECK(chmod(f->path, 0644) == 0);
    refuse(f, line, f->path);
    KV_CHECK(chmod(f->path, 0600) == 0 && truncate(f->path, 31) == 0);
    refuse(f, line, f->path);
    refuse(f, "--key-file /nonexistent", "/nonexistent");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_without_options_it_serves_one_worker_here),
        TEST(test_flags_override_environment_overrides_file),
        TEST(test_what_is_printed_can_be_read_again),
        TEST(test_a_launcher_of_ps_lite_is_understood),
        TEST(test_everything_wins_over_dmlc),
        TEST(test_only_a_server_is_started),
        TEST(test_actions_are_flags_only),
        TEST(test_every_bad_value_gets_a_sentence),
        TEST(test_descriptors_must_be_of_the_right_kind),
        TEST(test_the_key_is_read_only_from_a_file_of_its_owner),
    };

    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
