/* The yardstick: the same bytes over plain blocking TCP between two processes,
 * with nothing done to them. */
#include "tests/bench/bench.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/link.h"

enum { CHUNK = 1 << 20 };

static void send_all(int fd, const char *buffer, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += CHUNK) {
        bench_write(fd, buffer + at, bytes - at < CHUNK ? bytes - at : CHUNK);
    }
}

static void receive_all(int fd, char *buffer, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += CHUNK) {
        bench_read(fd, buffer + at, bytes - at < CHUNK ? bytes - at : CHUNK);
    }
}

struct direction {
    int fd;
    char *buffer;
    size_t bytes;
    unsigned rounds;
};

static void *send_rounds(void *arg)
{
    struct direction *d = arg;

    for (unsigned i = 0; i < d->rounds; i++) {
        send_all(d->fd, d->buffer, d->bytes);
    }
    return NULL;
}

/* The other process: `c` is rounds, with the sign for duplex. */
static void serve(int fd, int reverse, size_t bytes)
{
    char *buffer = calloc(2, bytes);
    int32_t rounds;

    for (;;) {
        bench_read(fd, &rounds, sizeof rounds);
        if (rounds == 0) {
            _exit(0);
        }
        if (rounds > 0) {
            for (int32_t i = 0; i < rounds; i++) {
                receive_all(fd, buffer, bytes);
                send_all(fd, buffer, bytes);
            }
            continue;
        }
        struct direction d = {reverse, buffer + bytes, bytes,
                              (unsigned)-rounds};
        pthread_t sender;

        pthread_create(&sender, NULL, send_rounds, &d);
        for (int32_t i = 0; i < -rounds; i++) {
            receive_all(fd, buffer, bytes);
        }
        pthread_join(sender, NULL);
    }
}

static int listen_loopback(struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof *address;

    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (struct sockaddr *)address, size) != 0 ||
        listen(fd, 4) != 0 ||
        getsockname(fd, (struct sockaddr *)address, &size) != 0) {
        bench_die("cannot listen on loopback");
    }
    return fd;
}

static int dial_loopback(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 ||
        connect(fd, (const struct sockaddr *)address, sizeof *address) != 0) {
        bench_die("cannot connect on loopback");
    }
    link_tune_socket(fd, NULL);
    return fd;
}

static int accept_loopback(int listener)
{
    int fd = accept(listener, NULL, NULL);

    if (fd < 0) {
        bench_die("accept failed");
    }
    link_tune_socket(fd, NULL);
    return fd;
}

void bench_raw_start(struct bench_raw *r, size_t bytes)
{
    struct sockaddr_in address;
    int listener = listen_loopback(&address);

    r->bytes = bytes;
    r->buffer = calloc(2, bytes);
    r->pid = bench_fork();
    if (r->pid == 0) {
        int fd = accept_loopback(listener);
        int reverse = accept_loopback(listener);

        serve(fd, reverse, bytes);
    }
    r->fd = dial_loopback(&address);
    r->reverse = dial_loopback(&address);
    close(listener);
}

void bench_raw_stop(struct bench_raw *r)
{
    bench_end(r->pid, SIGKILL); /* It takes an end of the link for a fault. */
    close(r->fd);
    close(r->reverse);
    free(r->buffer);
}

double bench_raw_rounds(struct bench_raw *r, unsigned rounds, bool duplex)
{
    int32_t order = duplex ? -(int32_t)rounds : (int32_t)rounds;
    uint64_t start = bench_now_ns();

    bench_write(r->fd, &order, sizeof order);
    if (duplex) {
        struct direction d = {r->fd, r->buffer, r->bytes, rounds};
        pthread_t sender;

        pthread_create(&sender, NULL, send_rounds, &d);
        for (unsigned i = 0; i < rounds; i++) {
            receive_all(r->reverse, r->buffer + r->bytes, r->bytes);
        }
        pthread_join(sender, NULL);
    } else {
        for (unsigned i = 0; i < rounds; i++) {
            send_all(r->fd, r->buffer, r->bytes);
            receive_all(r->fd, r->buffer, r->bytes);
        }
    }
    return (double)(bench_now_ns() - start) * 1e-9;
}
