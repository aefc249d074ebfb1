#include "server/process.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "common/base/check.h"

static const int crashes[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};

/* Written by main only, read by the handler on any thread. */
static volatile uint64_t *suspects[PROCESS_SUSPECTS_MAX];
static volatile sig_atomic_t suspect_count;

void process_prepare(void)
{
    struct rlimit files;

    umask(077);
    KV_CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
}

/* Where that is not allowed, it goes without. */
void process_protect(const void *secret, size_t size)
{
    (void)prctl(PR_SET_DUMPABLE, 0);
    (void)mlock(secret, size);
}

void process_suspect(volatile uint64_t *word)
{
    KV_CHECK(suspect_count < PROCESS_SUSPECTS_MAX);
    suspects[suspect_count] = word;
    suspect_count++;
}

/* Plain stores only; then the signal does what it always does. */
static void on_crash(int number)
{
    for (int i = 0; i < suspect_count; i++) {
        *suspects[i] = (uint64_t)number;
    }
    raise(number); /* SA_RESETHAND has put the default back. */
}

static void set_handlers(void (*handler)(int))
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = (int)(SA_RESETHAND | SA_NODEFER);
    for (size_t i = 0; i < sizeof crashes / sizeof crashes[0]; i++) {
        KV_CHECK(sigaction(crashes[i], &action, NULL) == 0);
    }
}

void process_catch_crashes(void)
{
    set_handlers(on_crash);
}

void process_forget(void)
{
    set_handlers(SIG_DFL);
    suspect_count = 0;
}
