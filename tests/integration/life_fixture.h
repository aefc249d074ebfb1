/**
 * life_fixture - a rank as a process of its own, to be killed or stopped.
 *
 * The test's program is started again, with arguments, the last of which says
 * what it does: its main() calls what that process is. The two talk in bytes,
 * over pipes.
 */
#ifndef KV_TESTS_INTEGRATION_LIFE_FIXTURE_H
#define KV_TESTS_INTEGRATION_LIFE_FIXTURE_H

#include "tests/integration/worker_fixture.h"

static inline void tell(int fd)
{
    KV_CHECK(write(fd, "", 1) == 1);
}

static inline void hear(int fd)
{
    char byte;

    KV_CHECK(read(fd, &byte, 1) == 1);
}

struct life {
    pid_t pid;
    int in, out;
};

static inline struct life start_life(unsigned rank, const char *kind,
                                     const char *what)
{
    char name[16], port[16], number[16], does[16];
    char *argv[] = {"worker", name, port, number, does, NULL};
    int in[2], out[2];
    struct life life;

    snprintf(name, sizeof name, "%s", kind);
    snprintf(port, sizeof port, "%d", c.port[0]);
    snprintf(number, sizeof number, "%u", rank);
    snprintf(does, sizeof does, "%s", what);
    KV_CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
    life.pid = fork();
    if (life.pid == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        execv("/proc/self/exe", argv);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    life.in = in[1];
    life.out = out[0];
    return life;
}

/* In that process: the store of its rank. */
static inline unsigned open_life(char **argv)
{
    unsigned rank = (unsigned)atoi(argv[3]);

    c.port[0] = atoi(argv[2]);
    cluster_open(&c, rank, argv[1]);
    return rank;
}

static inline void end(const struct life *life)
{
    kill(life->pid, SIGKILL);
    waitpid(life->pid, NULL, 0);
    close(life->in);
    close(life->out);
}

#endif
