#include "tests/fakes/death.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/check.h"

bool death_of(void (*fn)(void *data), void *data)
{
    int status = 0;
    pid_t child = fork();

    KV_CHECK(child >= 0);
    if (child == 0) {
        close(STDERR_FILENO);
        fn(data);
        _exit(0);
    }
    KV_CHECK(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}
