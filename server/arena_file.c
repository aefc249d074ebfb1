#include "server/arena_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Younger than the C library's headers. */
#endif

#define OPEN_TRIES 16

static enum kv_status failed(const struct arena_report *r,
                             enum kv_status status, const char *what, int error)
{
    snprintf(r->text, r->size, "cannot %s %s/%s: %s", what, r->dir, r->name,
             strerror(error));
    return status;
}

/* --- Memory --------------------------------------------------------------- */

static size_t round_up(size_t size, size_t unit)
{
    return (size + unit - 1) / unit * unit;
}

/* Address space, once and for all, so that pointers stay good. */
static void *map_all(size_t size, int fd)
{
    int flags =
        fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
    unsigned char *wide, *base;
    void *map;

    wide = mmap(NULL, size + HUGE_PAGE, PROT_NONE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (wide == MAP_FAILED) {
        return NULL;
    }
    base = wide + (HUGE_PAGE - (uintptr_t)wide % HUGE_PAGE) % HUGE_PAGE;
    map = mmap(base, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0);
    if (map == MAP_FAILED) {
        munmap(wide, size + HUGE_PAGE);
        return NULL;
    }
    if (base != wide) {
        munmap(wide, (size_t)(base - wide));
    }
    munmap(base + size, (size_t)(wide + HUGE_PAGE - base));
    /* A wish: tmpfs and old kernels may know no huge pages. */
    (void)madvise(base, size, MADV_HUGEPAGE);
    return base;
}

size_t arena_file_room(const struct arena *a)
{
    struct statvfs fs;

    if (a->fd < 0 || fstatvfs(a->fd, &fs) != 0 || fs.f_blocks == 0) {
        return a->size_max; /* No limit of its own. */
    }
    return (size_t)fs.f_bavail * fs.f_frsize;
}

static int allocate(const struct arena *a, size_t first, size_t size)
{
    int error;

    do {
        error = posix_fallocate(a->fd, (off_t)first, (off_t)size);
    } while (error == EINTR);
    return error;
}

/* Rows lie anywhere in a table, and to look up where a page of 4 KiB is costs
 * more than to read a row: what is to become whole pages of 2 MiB becomes huge
 * ones, before there is anything to copy. On tmpfs this works since Linux 6.1,
 * whatever it was mounted with, for pages that are not all hole. A wish:
 * without, the arena is the same, but slower. */
static void want_huge(const struct arena *a, size_t size)
{
    size_t first = a->file_bytes - a->file_bytes % HUGE_PAGE;
    size_t end = size - size % HUGE_PAGE;

    if (first >= end || ftruncate(a->fd, (off_t)size) != 0) {
        return;
    }
    for (size_t at = first; at < end; at += HUGE_PAGE) {
        if (allocate(a, at, ARENA_HEAD_SIZE) != 0) {
            return;
        }
    }
    (void)madvise(a->base + first, end - first, MADV_COLLAPSE);
}

/* What growing has taken so far. */
static void give_back(const struct arena *a)
{
    if (ftruncate(a->fd, (off_t)a->file_bytes) != 0) {
        return; /* It stays taken; the next start looks for holes. */
    }
}

enum kv_status arena_file_grow(struct arena *a, size_t size)
{
    if (a->fd >= 0) {
        want_huge(a, size);
        if (allocate(a, a->file_bytes, size - a->file_bytes) != 0) {
            give_back(a);
            return KV_ENOSPC;
        }
    }
    a->file_bytes = size;
    return KV_OK;
}

static enum kv_status no_room(const struct arena *a,
                              const struct arena_report *r, size_t size)
{
    snprintf(r->text, r->size,
             "no room in %s: %zu bytes wanted for %s, %zu free; make it larger "
             "(docker: --shm-size) or choose another with --arena-dir",
             r->dir, size, r->name, arena_file_room(a));
    return KV_ENOSPC;
}

/* --- Opening the file ----------------------------------------------------- */

static enum kv_status open_dir(const struct arena_report *r, int *out)
{
    struct stat st;
    int fd;

    if (mkdir(r->dir, 0700) != 0 && errno != EEXIST) {
        return failed(r, KV_EINVAL, "make the directory of", errno);
    }
    fd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        int error = errno;

        if (fd >= 0) {
            close(fd);
        }
        return failed(r, KV_EINVAL, "open the directory of", error);
    }
    if ((st.st_mode & 022) != 0 && (st.st_mode & S_ISVTX) == 0) {
        close(fd);
        snprintf(r->text, r->size,
                 "others may write to %s (mode %03o): choose another "
                 "--arena-dir, or chmod go-w",
                 r->dir, (unsigned)st.st_mode & 0777);
        return KV_EINVAL;
    }
    *out = fd;
    return KV_OK;
}

static enum kv_status check_owner(const struct arena_report *r,
                                  const struct stat *st)
{
    if (!S_ISREG(st->st_mode)) {
        snprintf(r->text, r->size, "%s/%s is not a regular file", r->dir,
                 r->name);
        return KV_EINVAL;
    }
    if (st->st_uid != geteuid() || (st->st_mode & 077) != 0) {
        snprintf(r->text, r->size,
                 "%s/%s has owner %u and mode %03o: an arena belongs to who "
                 "runs the server (%u), mode 600",
                 r->dir, r->name, (unsigned)st->st_uid,
                 (unsigned)st->st_mode & 0777, (unsigned)geteuid());
        return KV_EINVAL;
    }
    return KV_OK;
}

/* A process that was just killed lets go of its lock a moment after its parent
 * has heard of its end. */
static bool lock(int fd)
{
    const struct timespec pause = {0, 5000000};

    for (int i = 0; i < 100; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            return true;
        }
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return false;
        }
        nanosleep(&pause, NULL);
    }
    errno = EWOULDBLOCK;
    return false;
}

/* KV_EAGAIN: the file was removed between open and lock. */
static enum kv_status open_locked(const struct arena_report *r, int dir,
                                  int *out, size_t *size)
{
    enum kv_status status = KV_OK;
    struct stat st;
    int fd =
        openat(dir, r->name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0) {
        return failed(r, KV_EINVAL, "open", errno);
    }
    if (!lock(fd)) {
        status = failed(r, KV_EBUSY, "lock", errno);
        if (errno == EWOULDBLOCK) {
            snprintf(r->text, r->size, "another process uses %s/%s", r->dir,
                     r->name);
        }
    } else if (fstat(fd, &st) != 0) {
        status = failed(r, KV_EINVAL, "look at", errno);
    } else if (st.st_nlink == 0) {
        status = KV_EAGAIN;
    } else {
        status = check_owner(r, &st);
    }
    if (status != KV_OK) {
        close(fd);
        return status;
    }
    *out = fd;
    *size = (size_t)st.st_size;
    return KV_OK;
}

static enum kv_status open_file(const struct arena_report *r, int *fd,
                                size_t *size)
{
    enum kv_status status;
    int dir = -1;

    status = open_dir(r, &dir);
    if (status != KV_OK) {
        return status;
    }
    status = KV_EAGAIN;
    for (int i = 0; status == KV_EAGAIN && i < OPEN_TRIES; i++) {
        status = open_locked(r, dir, fd, size);
    }
    close(dir);
    return status == KV_EAGAIN ? failed(r, KV_EBUSY, "lock", EAGAIN) : status;
}

/* --- New or old ----------------------------------------------------------- */

static enum kv_status make(struct arena *a, const struct arena_report *r,
                           const struct arena_config *config)
{
    size_t size = round_up(config->size_initial, ARENA_HEAD_SIZE);

    size = size < 2 * ARENA_HEAD_SIZE ? 2 * ARENA_HEAD_SIZE : size;
    if (size > a->size_max) {
        size = a->size_max;
    }
    if (a->fd >= 0 && ftruncate(a->fd, 0) != 0) {
        return failed(r, KV_EINVAL, "empty", errno);
    }
    if (arena_file_grow(a, size) != KV_OK) {
        return no_room(a, r, size);
    }
    arena_head_fill(a->head, &config->identity);
    return KV_OK;
}

static bool no_holes(int fd, size_t size)
{
    struct stat st;

    return fstat(fd, &st) == 0 && (size_t)st.st_blocks * 512 >= size;
}

/* A magic of zero: the making of the file was cut short. */
static enum kv_status make_or_check(struct arena *a,
                                    const struct arena_report *r,
                                    const struct arena_config *config,
                                    size_t size)
{
    enum kv_status status;

    if (size > 0 && size < ARENA_HEAD_SIZE) {
        return arena_head_none(r);
    }
    if (size == 0 || a->head->magic == 0) {
        return make(a, r, config);
    }
    status = arena_head_check(r, config, a->head);
    if (status == KV_ESTALE && config->new_job) {
        return make(a, r, config);
    }
    if (status != KV_OK) {
        return status;
    }
    if (size % ARENA_HEAD_SIZE != 0 || size > a->size_max) {
        snprintf(r->text, r->size,
                 "%s/%s has %zu bytes, more than the %zu that are allowed",
                 r->dir, r->name, size, a->size_max);
        return KV_ENOSPC;
    }
    /* A page that cannot be had is an error now, not a SIGBUS later. */
    if (no_holes(a->fd, size)) {
        a->file_bytes = size;
        return KV_OK;
    }
    return arena_file_grow(a, size) == KV_OK ? KV_OK : no_room(a, r, size);
}

enum kv_status arena_file_open(struct arena *a,
                               const struct arena_config *config, char *error,
                               size_t error_size)
{
    struct arena_report r = {error, error_size, config->dir, config->name};
    enum kv_status status;
    size_t size = 0;

    a->fd = -1;
    a->size_max = round_up(config->size_max, HUGE_PAGE);
    if (config->dir != NULL) {
        status = open_file(&r, &a->fd, &size);
        if (status != KV_OK) {
            return status;
        }
    }
    a->base = map_all(a->size_max, a->fd);
    if (a->base == NULL) {
        snprintf(error, error_size,
                 "cannot reserve %zu bytes of address space: %s", a->size_max,
                 strerror(errno));
        status = KV_ENOMEM;
        goto err_file;
    }
    a->head = (struct arena_head *)(void *)a->base;
    status = make_or_check(a, &r, config, size);
    if (status != KV_OK) {
        goto err_map;
    }
    arena_store(&a->head->life, a->head->life + 1);
    return KV_OK;

err_map:
    munmap(a->base, a->size_max);
err_file:
    if (a->fd >= 0) {
        close(a->fd);
    }
    return status;
}

void arena_file_close(struct arena *a)
{
    munmap(a->base, a->size_max);
    if (a->fd >= 0) {
        close(a->fd);
    }
}
