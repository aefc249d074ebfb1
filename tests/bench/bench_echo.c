/* The yardstick for latency: a libuv client and a libuv server, 64 bytes there
 * and back, nothing else. */
#include "tests/bench/bench.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <uv.h>

enum { SIZE = 64 };

struct end {
    uv_loop_t loop;
    uv_tcp_t tcp;
    char buffer[SIZE];
    size_t got;
    unsigned left; /* Client: round trips still to make. */
    bool client;
};

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct end *e = handle->data;

    (void)suggested;
    *buf = uv_buf_init(e->buffer + e->got, (unsigned)(SIZE - e->got));
}

static void send_message(struct end *e)
{
    uv_buf_t buf = uv_buf_init(e->buffer, SIZE);

    if (uv_try_write((uv_stream_t *)&e->tcp, &buf, 1) != SIZE) {
        bench_die("the echo's socket is full");
    }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct end *e = stream->data;

    (void)buf;
    if (n < 0) {
        uv_stop(&e->loop);
        return;
    }
    e->got += (size_t)n;
    if (e->got < SIZE) {
        return;
    }
    e->got = 0;
    if (e->client && --e->left == 0) {
        uv_stop(&e->loop);
        return;
    }
    send_message(e);
}

static void open_end(struct end *e, int fd)
{
    int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (uv_loop_init(&e->loop) != 0 || uv_tcp_init(&e->loop, &e->tcp) != 0 ||
        uv_tcp_open(&e->tcp, fd) != 0) {
        bench_die("cannot open the echo");
    }
    e->tcp.data = e;
    uv_read_start((uv_stream_t *)&e->tcp, on_alloc, on_read);
}

void bench_echo_start(struct bench_echo *e)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, size) != 0 ||
        listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0) {
        bench_die("cannot listen on loopback");
    }
    e->pid = bench_fork();
    if (e->pid == 0) {
        struct end server = {.client = false};

        bench_pin(1);
        open_end(&server, accept(listener, NULL, NULL));
        uv_run(&server.loop, UV_RUN_DEFAULT);
        _exit(0);
    }
    e->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(e->fd, (struct sockaddr *)&address, size) != 0) {
        bench_die("cannot connect to the echo");
    }
    close(listener);
}

void bench_echo_stop(struct bench_echo *e)
{
    close(e->fd);
    bench_end(e->pid, SIGKILL);
}

double bench_echo_ping(struct bench_echo *e, unsigned count)
{
    struct end client = {.client = true, .left = count};
    uint64_t start;

    open_end(&client, dup(e->fd));
    start = bench_now_ns();
    send_message(&client);
    uv_run(&client.loop, UV_RUN_DEFAULT);
    start = bench_now_ns() - start;
    uv_close((uv_handle_t *)&client.tcp, NULL);
    uv_run(&client.loop, UV_RUN_DEFAULT);
    uv_loop_close(&client.loop);
    return (double)start * 1e-3 / count;
}
