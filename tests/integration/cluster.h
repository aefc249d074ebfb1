/**
 * cluster - real kvstored processes for a test, and workers inside the test.
 *
 * Two stores of one process are two ranks of a job. Servers listen on ports of
 * the kernel's choice, keep their arenas in a directory of the test's own, and
 * die with it.
 *
 *     static struct cluster c;
 *     cluster_start(&c, 2, 2);             // servers, workers
 *     cluster_open(&c, 0, "dist_sync");    // c.kv[0] is rank 0
 *     cluster_kill(&c, 1);                 // kill -9
 *     cluster_restart(&c, 1);              // same arena, same port
 *     cluster_stop(&c);
 */
#ifndef KV_TESTS_INTEGRATION_CLUSTER_H
#define KV_TESTS_INTEGRATION_CLUSTER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "worker/kvworker.h"

enum { CLUSTER_SERVERS_MAX = 3, CLUSTER_WORKERS_MAX = 4 };

struct cluster {
    char dir[32];
    const char *extra; /* One more argument of each server, or NULL. */
    unsigned servers, workers;
    pid_t pid[CLUSTER_SERVERS_MAX];
    int port[CLUSTER_SERVERS_MAX];
    int lifeline[2]; /* A pipe: servers end when we do. */
    struct kvw *kv[CLUSTER_WORKERS_MAX];
};

/* The thread sanitizer does not see how libuv closes a descriptor, and takes
 * the next use of its number, in another thread, for a race. */
__attribute__((visibility("default"))) const char *
__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:epoll_ctl\nrace:cluster_cut\n";
}

/* --- Servers -------------------------------------------------------------- */

static inline const char *cluster_program(void)
{
    static char path[512];
    const char *build = getenv("BUILD");
    ssize_t size;

    if (build != NULL) {
        snprintf(path, sizeof path, "%s/kvstored", build);
        return path;
    }
    size = readlink("/proc/self/exe", path, sizeof path - 1);
    KV_CHECK(size > 0);
    path[size] = '\0';
    for (int i = 0; i < 3; i++) { /* BUILD/tests/integration/test_X */
        *strrchr(path, '/') = '\0';
    }
    strcat(path, "/kvstored");
    return path;
}

/* Everything that needs memory comes before the fork: other threads may hold
 * the allocator's lock. */
static inline pid_t cluster_spawn(const struct cluster *c, unsigned index,
                                  int ready)
{
    const char *program = cluster_program();
    char listen[32], root[32], dir[48], log_path[48];
    char fd[16], life[16], servers[16], workers[16], own[16];
    const char *argv[24] = {"kvstored", "--listen",      listen,  "--ready-fd",
                            fd,         "--arena-dir",   dir,     "--servers",
                            servers,    "--workers",     workers, "--index",
                            own,        "--shards",      "2",     "--log-level",
                            "error",    "--lifeline-fd", life};
    int argc = 19, log_fd;
    pid_t pid;

    snprintf(listen, sizeof listen, "127.0.0.1:%d", c->port[index]);
    snprintf(root, sizeof root, "127.0.0.1:%d", c->port[0]);
    snprintf(fd, sizeof fd, "%d", ready);
    snprintf(dir, sizeof dir, "%s/%u", c->dir, index);
    snprintf(log_path, sizeof log_path, "%s/%u.log", c->dir, index);
    snprintf(life, sizeof life, "%d", c->lifeline[0]);
    snprintf(servers, sizeof servers, "%u", c->servers);
    snprintf(workers, sizeof workers, "%u", c->workers);
    snprintf(own, sizeof own, "%u", index);
    if (index > 0) {
        argv[argc++] = "--root";
        argv[argc++] = root;
    }
    argv[argc++] = c->extra; /* NULL ends it, too. */
    log_fd = open(log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    KV_CHECK(log_fd >= 0);
    pid = fork();
    if (pid == 0) {
        dup2(log_fd, STDOUT_FILENO); /* Who reads ours waits for nobody else. */
        dup2(log_fd, STDERR_FILENO);
        fcntl(ready, F_SETFD, 0);
        fcntl(c->lifeline[0], F_SETFD, 0);
        execv(program, (char *const *)argv);
        _exit(127);
    }
    KV_CHECK(pid > 0);
    close(log_fd);
    return pid;
}

/* False if it ended before it was ready. */
static inline bool cluster_try_start(struct cluster *c, unsigned index)
{
    char line[64] = "";
    int ends[2];
    ssize_t n;

    KV_CHECK(pipe2(ends, O_CLOEXEC) == 0);
    c->pid[index] = cluster_spawn(c, index, ends[1]);
    close(ends[1]);
    n = read(ends[0], line, sizeof line - 1);
    close(ends[0]);
    if (n <= 0) {
        waitpid(c->pid[index], NULL, 0);
        c->pid[index] = 0;
        return false;
    }
    c->port[index] = atoi(strrchr(line, ':') + 1);
    return true;
}

/* Start it, on its port if it has one, and wait until it is ready. As a
 * launcher would, try again: the kernel may hold a dead server's lock for a
 * moment. */
static inline void cluster_restart(struct cluster *c, unsigned index)
{
    for (int tries = 0; !cluster_try_start(c, index); tries++) {
        if (tries == 5) {
            fail_msg("%s does not start; see %s/%u.log", cluster_program(),
                     c->dir, index);
        }
    }
}

static inline void cluster_kill(struct cluster *c, unsigned index)
{
    kill(c->pid[index], SIGKILL);
    waitpid(c->pid[index], NULL, 0);
    c->pid[index] = 0;
}

/* Until SIGCONT. The signal alone is not it: a thread that is running goes on
 * for a while. */
static inline void cluster_pause(struct cluster *c, unsigned index)
{
    int status;

    KV_CHECK(kill(c->pid[index], SIGSTOP) == 0);
    KV_CHECK(waitpid(c->pid[index], &status, WUNTRACED) == c->pid[index]);
    KV_CHECK(WIFSTOPPED(status));
}

static inline void cluster_start(struct cluster *c, unsigned servers,
                                 unsigned workers)
{
    const char *extra = c->extra;

    memset(c, 0, sizeof *c);
    c->extra = extra;
    c->servers = servers;
    c->workers = workers;
    strcpy(c->dir, "/tmp/kv-cluster.XXXXXX");
    KV_CHECK(mkdtemp(c->dir) != NULL);
    KV_CHECK(pipe2(c->lifeline, O_CLOEXEC) == 0);
    for (unsigned i = 0; i < servers; i++) {
        cluster_restart(c, i);
    }
}

/* --- Workers -------------------------------------------------------------- */

static inline int cluster_try_open(struct cluster *c, unsigned rank,
                                   const char *kind, const char *more)
{
    char options[256];

    snprintf(options, sizeof options, "root=127.0.0.1:%d,rank=%u,log=error%s%s",
             c->port[0], rank, more == NULL ? "" : ",",
             more == NULL ? "" : more);
    return kvw_open(&c->kv[rank], kind, options);
}

static inline void cluster_open(struct cluster *c, unsigned rank,
                                const char *kind)
{
    int status = cluster_try_open(c, rank, kind, NULL);

    if (status != KVW_OK) {
        fail_msg("rank %u: %s: %s", rank, kvw_strstatus(status),
                 kvw_error(NULL));
    }
}

static inline void cluster_open_all(struct cluster *c, const char *kind)
{
    for (unsigned i = 0; i < c->workers; i++) {
        cluster_open(c, i, kind);
    }
}

static inline void cluster_close(struct cluster *c, unsigned rank)
{
    kvw_close(c->kv[rank]);
    c->kv[rank] = NULL;
}

static inline void cluster_stop(struct cluster *c)
{
    char command[64];

    for (unsigned i = 0; i < CLUSTER_WORKERS_MAX; i++) {
        cluster_close(c, i);
    }
    for (unsigned i = 0; i < c->servers; i++) {
        if (c->pid[i] > 0) {
            cluster_kill(c, i);
        }
    }
    close(c->lifeline[0]);
    close(c->lifeline[1]);
    snprintf(command, sizeof command, "rm -rf %s", c->dir);
    KV_CHECK(system(command) == 0);
}

/* Cut each connection of this process to the server of that port: the sockets
 * stay open, but carry nothing any more. Returns how many. */
static inline int cluster_cut(int port)
{
    DIR *fds = opendir("/proc/self/fd");
    struct dirent *e;
    int cut = 0;

    KV_CHECK(fds != NULL);
    while ((e = readdir(fds)) != NULL) {
        struct sockaddr_in peer = {0};
        socklen_t size = sizeof peer;
        int fd = atoi(e->d_name);

        if (e->d_name[0] != '.' &&
            getpeername(fd, (struct sockaddr *)&peer, &size) == 0 &&
            peer.sin_family == AF_INET && ntohs(peer.sin_port) == port) {
            cut += shutdown(fd, SHUT_RDWR) == 0;
        }
    }
    closedir(fds);
    return cut;
}

/* --- Steps ---------------------------------------------------------------- */

static inline void cluster_no_environment(void)
{
    extern char **environ;

    for (char **e = environ; *e != NULL;) {
        char name[64];
        size_t size = strcspn(*e, "=");

        if ((strncmp(*e, "KV_", 3) == 0 || strncmp(*e, "DMLC_", 5) == 0 ||
             strncmp(*e, "PS_", 3) == 0) &&
            size < sizeof name) {
            memcpy(name, *e, size);
            name[size] = '\0';
            unsetenv(name);
        } else {
            e++;
        }
    }
}

static inline void expect_ok(struct kvw *kv, int status)
{
    if (status != KVW_OK) {
        fail_msg("%s: %s", kvw_strstatus(status), kvw_error(kv));
    }
}

static inline void expect_text(const char *text, const char *word)
{
    if (strstr(text, word) == NULL) {
        fail_msg("'%s' does not say '%s'", text, word);
    }
}

/* All words stand in the sentence. The last argument is NULL. */
static inline void expect_error(struct kvw *kv, int status, int expected, ...)
{
    va_list words;
    const char *word;

    if (status != expected) {
        fail_msg("%s instead of %s: %s", kvw_strstatus(status),
                 kvw_strstatus(expected), kvw_error(kv));
    }
    va_start(words, expected);
    while ((word = va_arg(words, const char *)) != NULL) {
        expect_text(kvw_error(kv), word);
    }
    va_end(words);
}

static inline void fill(float *to, size_t count, float value)
{
    for (size_t i = 0; i < count; i++) {
        to[i] = value;
    }
}

static inline void expect_all(const float *got, size_t count, float value)
{
    for (size_t i = 0; i < count; i++) {
        if (got[i] != value) {
            fail_msg("element %zu is %g instead of %g", i, (double)got[i],
                     (double)value);
        }
    }
}

#endif
