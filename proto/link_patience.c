/* With a user timeout the kernel gives up a peer whose window has been closed
 * for as long, although it answers every probe: a server that waits for a slow
 * rank would lose all the others. So the timeout is switched off while the
 * window is closed, and what it is for is looked after here. */
#include "proto/link.h"

#include <netinet/tcp.h>
#include <sys/socket.h>

#define SILENT_TICKS_MAX 2

static int descriptor(const struct link *l)
{
    uv_os_fd_t fd = -1;

    KV_CHECK(uv_fileno((const uv_handle_t *)&l->tcp, &fd) == 0);
    return fd;
}

static bool ask(const struct link *l, struct tcp_info *info)
{
    socklen_t size = sizeof *info;

    return getsockopt(descriptor(l), IPPROTO_TCP, TCP_INFO, info, &size) == 0;
}

static void set_timeout(const struct link *l, unsigned ms)
{
    (void)!setsockopt(descriptor(l), IPPROTO_TCP, TCP_USER_TIMEOUT, &ms,
                      sizeof ms);
}

/* The socket is full and nothing is in flight: the window is closed. */
static void be_patient(struct link *l, const struct tcp_info *info)
{
    unsigned ms = 0;
    socklen_t size = sizeof ms;

    if (info->tcpi_unacked == 0 &&
        getsockopt(descriptor(l), IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, &size) ==
            0 &&
        ms > 0) {
        l->spared_ms = ms;
        l->silent_ticks = 0;
        set_timeout(l, 0);
    }
}

void link_peer_reads(struct link *l)
{
    if (l->spared_ms > 0) {
        set_timeout(l, l->spared_ms);
        l->spared_ms = 0;
    }
}

bool link_peer_lives(struct link *l)
{
    struct tcp_info info;

    if (!ask(l, &info)) {
        return true;
    }
    if (l->spared_ms == 0) {
        be_patient(l, &info);
        return true;
    }
    if (info.tcpi_unacked > 0) {
        link_peer_reads(l);
        return true;
    }
    l->silent_ticks = info.tcpi_probes > 0 ? l->silent_ticks + 1 : 0;
    return l->silent_ticks <= SILENT_TICKS_MAX;
}
