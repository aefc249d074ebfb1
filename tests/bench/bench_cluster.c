/* The servers of a benchmark: kvstored, found beside this program. */
#include "tests/bench/bench.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 40, TEXT = 64 };

static int listen_on_any_port(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0 ||
        listen(fd, 128) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        bench_die("cannot listen on loopback");
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    *port = ntohs(address.sin_port);
    return fd;
}

static void kvstored_path(char *path, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", path, size - 1);
    char *slash;

    path[n > 0 ? n : 0] = '\0';
    slash = strrchr(path, '/');
    if (slash == NULL) {
        bench_die("cannot find kvstored beside kvbench");
    }
    snprintf(slash + 1, size - (size_t)(slash + 1 - path), "kvstored");
}

/* In the child: become kvstored. */
static _Noreturn void run_server(const struct bench_cluster *c, unsigned index,
                                 int ready)
{
    const struct bench_case *b = c->spec;
    char path[4096], key[80], text[7][TEXT];
    const char *args[ARGUMENTS_MAX] = {
        path,    "--listen-fd",
        text[0], "--index",
        text[1], "--servers",
        text[2], "--workers",
        text[3], "--shards",
        text[4], "--ready-fd",
        text[5], "--key-file",
        key,     "--log-level",
        "error", b->in_memory ? "--volatile" : "--arena-dir",
    };
    int n = 18;

    kvstored_path(path, sizeof path);
    snprintf(text[0], TEXT, "%d", c->listeners[index]);
    snprintf(text[1], TEXT, "%u", index);
    snprintf(text[2], TEXT, "%u", b->servers);
    snprintf(text[3], TEXT, "%u", b->workers);
    snprintf(text[4], TEXT, "%u", b->shards);
    snprintf(text[5], TEXT, "%d", ready);
    snprintf(key, sizeof key, "%s/key", c->dir);
    if (!b->in_memory) {
        args[n++] = c->dir;
    }
    if (index > 0) {
        args[n++] = "--root";
        args[n++] = c->root;
    }
    fcntl(c->listeners[index], F_SETFD, 0);
    if (b->apart) {
        bench_pin(1);
    }
    execv(path, (char **)args);
    bench_die("cannot run %s", path);
}

static void start_server(struct bench_cluster *c, unsigned index)
{
    int ready[2];
    char byte;

    if (pipe(ready) != 0) {
        bench_die("pipe failed");
    }
    fcntl(ready[0], F_SETFD, FD_CLOEXEC);
    c->pids[index] = bench_fork();
    if (c->pids[index] == 0) {
        run_server(c, index, ready[1]);
    }
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1) {
        bench_die("kvstored %u did not start", index);
    }
    close(ready[0]);
}

static void write_key(const struct bench_cluster *c)
{
    unsigned char key[32];
    char path[80];
    int fd;

    snprintf(path, sizeof path, "%s/key", c->dir);
    fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    bench_read(fd, key, sizeof key);
    close(fd);
    fd = open(path, O_CREAT | O_WRONLY | O_EXCL | O_CLOEXEC, 0600);
    bench_write(fd, key, sizeof key);
    close(fd);
}

void bench_cluster_start(struct bench_cluster *c, const struct bench_case *spec)
{
    uint16_t port;

    c->spec = spec;
    snprintf(c->dir, sizeof c->dir, "/dev/shm/kvbench-XXXXXX");
    if (mkdtemp(c->dir) == NULL) {
        bench_die("cannot make %s", c->dir);
    }
    write_key(c);
    for (unsigned i = 0; i < spec->servers; i++) {
        c->listeners[i] = listen_on_any_port(&port);
        if (i == 0) {
            snprintf(c->root, sizeof c->root, "127.0.0.1:%u", port);
        }
        start_server(c, i);
    }
}

void bench_cluster_stop(struct bench_cluster *c)
{
    char command[128];

    for (unsigned i = 0; i < c->spec->servers; i++) {
        bench_end(c->pids[i], SIGTERM);
        close(c->listeners[i]);
    }
    snprintf(command, sizeof command, "rm -rf %s", c->dir);
    if (system(command) != 0) {
        bench_die("cannot remove %s", c->dir);
    }
}

uint64_t bench_cluster_kill(struct bench_cluster *c, unsigned server)
{
    uint64_t killed = bench_now_ns();

    bench_end(c->pids[server], SIGKILL);
    start_server(c, server);
    return killed;
}

size_t bench_cluster_memory(const struct bench_cluster *c)
{
    size_t total = 0;

    for (unsigned i = 0; i < c->spec->servers; i++) {
        char path[64], line[256];
        size_t kib;
        FILE *f;

        snprintf(path, sizeof path, "/proc/%d/status", (int)c->pids[i]);
        f = fopen(path, "r");
        while (f != NULL && fgets(line, sizeof line, f) != NULL) {
            if (sscanf(line, "VmRSS: %zu kB", &kib) == 1) {
                total += kib * 1024;
            }
        }
        if (f != NULL) {
            fclose(f);
        }
    }
    return total;
}
