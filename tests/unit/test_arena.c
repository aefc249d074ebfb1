#include "tests/unit/arena_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

static int set_up(void **state)
{
    struct home *h = calloc(1, sizeof *h);

    KV_CHECK(h != NULL);
    home_make(h);
    home_open(h);
    *state = h;
    return 0;
}

static int tear_down(void **state)
{
    home_remove(*state);
    free(*state);
    return 0;
}

/* --- Steps ---------------------------------------------------------------- */

static void reopen(struct home *h)
{
    home_drop(h);
    home_open(h);
}

static void expect_refused(struct home *h, enum kv_status status,
                           const char *why)
{
    assert_string_equal(kv_strstatus(home_try(h)), kv_strstatus(status));
    if (strstr(h->error, why) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", h->error, why);
    }
    h->arena = NULL;
}

static void *keep_number(struct home *h, uint64_t number, uint32_t kind)
{
    uint64_t *block = arena_alloc(h->arena, sizeof *block);

    assert_non_null(block);
    *block = number;
    arena_keep(h->arena, block, kind);
    return block;
}

/* --- The file ------------------------------------------------------------- */

static void test_a_fresh_arena_is_empty_and_in_its_first_life(void **state)
{
    struct home *h = *state;
    uint32_t kind;

    assert_int_equal(arena_life(h->arena), 1);
    assert_int_not_equal(arena_id(h->arena), 0);
    assert_null(arena_next(h->arena, NULL, &kind));
    for (int i = 0; i < ARENA_WORDS; i++) {
        assert_int_equal(arena_words(h->arena)[i], 0);
    }
}

static void test_words_and_id_survive_and_lives_are_counted(void **state)
{
    struct home *h = *state;
    uint64_t id = arena_id(h->arena);

    arena_store(&arena_words(h->arena)[3], 12345);
    reopen(h);
    assert_int_equal(arena_id(h->arena), id);
    assert_int_equal(arena_life(h->arena), 2);
    assert_int_equal(arena_words(h->arena)[3], 12345);
}

static void test_only_its_owner_can_read_the_file(void **state)
{
    struct home *h = *state;
    struct stat st;

    assert_int_equal(stat(h->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_a_missing_directory_is_made_for_the_owner_only(void **state)
{
    struct home *h = *state;
    struct stat st;
    char dir[96], path[128];

    home_drop(h);
    snprintf(dir, sizeof dir, "%s/sub", h->dir);
    snprintf(path, sizeof path, "%s/" ARENA_NAME, dir);
    h->config.dir = dir;
    home_open(h);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    home_drop(h);
    unlink(path);
    rmdir(dir);
}

static void test_a_second_process_is_refused(void **state)
{
    struct home *h = *state;
    struct arena *first = h->arena;

    expect_refused(h, KV_EBUSY, "another process uses");
    h->arena = first;
}

static void test_a_file_of_another_job_is_refused(void **state)
{
    struct home *h = *state;

    home_drop(h);
    h->config.identity.job[15] = 1;
    expect_refused(h, KV_ESTALE, "another job");
}

static void test_a_new_job_replaces_it_if_told_so(void **state)
{
    struct home *h = *state;
    uint64_t id = arena_id(h->arena);
    uint32_t kind;

    keep_number(h, 1, 1);
    home_drop(h);
    h->config.identity.job[15] = 1;
    h->config.new_job = true;
    home_open(h);
    assert_int_not_equal(arena_id(h->arena), id);
    assert_null(arena_next(h->arena, NULL, &kind));
}

static void test_new_job_leaves_the_same_job_alone(void **state)
{
    struct home *h = *state;
    uint64_t id = arena_id(h->arena);

    h->config.new_job = true;
    reopen(h);
    assert_int_equal(arena_id(h->arena), id);
}

static void test_other_numbers_of_workers_or_shards_are_refused(void **state)
{
    struct home *h = *state;

    home_drop(h);
    h->config.identity.workers = 3;
    expect_refused(h, KV_EMISMATCH, "workers 2, this server has 3");
    h->config.identity.workers = 2;
    h->config.identity.shards = 4;
    expect_refused(h, KV_EMISMATCH, "shards 1, this server has 4");
}

static void test_after_a_crash_by_itself_it_is_refused(void **state)
{
    struct home *h = *state;

    *arena_suspect(h->arena) = 11;
    home_drop(h);
    expect_refused(h, KV_EDATALOSS, "signal 11");
    h->config.trust_suspect = true;
    home_open(h);
    h->config.trust_suspect = false;
    reopen(h); /* Once accepted, it is accepted. */
}

static void test_a_file_whose_making_was_cut_short_is_made_anew(void **state)
{
    struct home *h = *state;
    uint64_t zero = 0;
    int fd;

    home_drop(h);
    fd = open(h->path, O_WRONLY);
    assert_int_equal(pwrite(fd, &zero, sizeof zero, 0), sizeof zero);
    close(fd);
    home_open(h);
    assert_int_equal(arena_life(h->arena), 1);
}

static void test_a_file_that_is_no_arena_is_left_alone(void **state)
{
    struct home *h = *state;
    char text[16] = "";
    int fd;

    home_drop(h);
    fd = open(h->path, O_RDWR | O_TRUNC);
    assert_int_equal(write(fd, "my thesis", 9), 9);
    expect_refused(h, KV_EMISMATCH, "is no arena");
    assert_int_equal(ftruncate(fd, 65536), 0);
    expect_refused(h, KV_EMISMATCH, "is no arena");
    assert_int_equal(pread(fd, text, 9, 0), 9);
    assert_string_equal(text, "my thesis");
    close(fd);
}

static void test_links_and_files_open_to_others_are_refused(void **state)
{
    struct home *h = *state;
    char target[128];

    home_drop(h);
    assert_int_equal(chmod(h->path, 0644), 0);
    expect_refused(h, KV_EINVAL, "mode 644");
    snprintf(target, sizeof target, "%s/target", h->dir);
    assert_int_equal(rename(h->path, target), 0);
    assert_int_equal(symlink(target, h->path), 0);
    expect_refused(h, KV_EINVAL, "cannot open");
    unlink(target);
}

static void test_a_directory_open_to_others_is_refused(void **state)
{
    struct home *h = *state;

    home_drop(h);
    assert_int_equal(chmod(h->dir, 0777), 0);
    expect_refused(h, KV_EINVAL, "others may write");
}

static void test_no_room_is_said_at_start(void **state)
{
    struct home *h = *state;
    struct rlimit old, small;

    home_drop(h);
    unlink(h->path);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 1 << 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    h->config.size_initial = 2 << 20;
    expect_refused(h, KV_ENOSPC, "--shm-size");
    assert_non_null(strstr(h->error, "2097152 bytes wanted"));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    home_open(h);
}

/* Bytes of the mapping at `address` that huge pages map. */
static size_t huge_bytes(const void *address)
{
    FILE *maps = fopen("/proc/self/smaps", "r");
    size_t kib = 0, in_it = 0;
    char line[256];
    uintptr_t first, end;

    KV_CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &first, &end) == 2) {
            in_it = (uintptr_t)address >= first && (uintptr_t)address < end;
        } else if (in_it && sscanf(line, "ShmemPmdMapped: %zu", &kib) == 1) {
            break;
        }
    }
    fclose(maps);
    return kib << 10;
}

/* Can this kernel, and is there such memory? */
static bool has_huge_pages(int fd)
{
    const size_t page = 2 << 20;
    char *wide =
        mmap(NULL, 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *at = wide + (page - (uintptr_t)wide % page) % page;
    bool can;

    KV_CHECK(wide != MAP_FAILED && ftruncate(fd, (off_t)page) == 0);
    KV_CHECK(posix_fallocate(fd, 0, 4096) == 0);
    KV_CHECK(mmap(at, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
                  0) == at);
    can = madvise(at, page, 25 /* MADV_COLLAPSE */) == 0;
    munmap(wide, 2 * page);
    return can;
}

static void test_large_values_are_in_huge_pages(void **state)
{
    char dir[] = "/dev/shm/kv-test-XXXXXX", path[64];
    struct home *h = *state;
    char *block;
    int fd;

    home_drop(h);
    KV_CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/probe", dir);
    fd = open(path, O_RDWR | O_CREAT, 0600);
    KV_CHECK(fd >= 0 && unlink(path) == 0);
    h->config.dir = dir;
    snprintf(path, sizeof path, "%s/" ARENA_NAME, dir);
    if (has_huge_pages(fd)) {
        home_open(h);
        block = arena_alloc(h->arena, 16 << 20);
        memset(block, 1, 16 << 20);
        assert_true(huge_bytes(block) >= 14 << 20);
        home_drop(h);
    } else {
        print_message("not tested: no huge pages on tmpfs: %s\n",
                      strerror(errno));
    }
    close(fd);
    unlink(path);
    rmdir(dir);
}

static void test_a_damaged_file_is_refused(void **state)
{
    struct home *h = *state;
    uint64_t *block = keep_number(h, 1, 1);

    block[-8] = 3; /* The size in the block's header. */
    home_drop(h);
    expect_refused(h, KV_EDATALOSS, "damaged");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_fresh_arena_is_empty_and_in_its_first_life),
        TEST(test_words_and_id_survive_and_lives_are_counted),
        TEST(test_only_its_owner_can_read_the_file),
        TEST(test_a_missing_directory_is_made_for_the_owner_only),
        TEST(test_a_second_process_is_refused),
        TEST(test_a_file_of_another_job_is_refused),
        TEST(test_a_new_job_replaces_it_if_told_so),
        TEST(test_new_job_leaves_the_same_job_alone),
        TEST(test_other_numbers_of_workers_or_shards_are_refused),
        TEST(test_after_a_crash_by_itself_it_is_refused),
        TEST(test_a_file_whose_making_was_cut_short_is_made_anew),
        TEST(test_a_file_that_is_no_arena_is_left_alone),
        TEST(test_links_and_files_open_to_others_are_refused),
        TEST(test_a_directory_open_to_others_is_refused),
        TEST(test_no_room_is_said_at_start),
        TEST(test_large_values_are_in_huge_pages),
        TEST(test_a_damaged_file_is_refused),
    };

    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
