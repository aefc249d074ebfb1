#include "proto/link.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

/* Probes after 5 s of silence, one a second: gone after 10 s. Unacknowledged
 * data is given as long. */
#define KEEPALIVE_IDLE_S 5
#define KEEPALIVE_INTERVAL_S 1
#define KEEPALIVE_COUNT 5
#define USER_TIMEOUT_MS 10000

/* Both ends share the caches: what lies in the kernel between them is written
 * and read again from there, if it is not more than they hold. The kernel would
 * let it grow to 4 MiB a link, and large values are then a fifth slower; a
 * quarter of this costs more in waking up than it saves. Where
 * net.core.wmem_max is its usual 208 KiB the kernel takes that, which is nearly
 * as good. */
#define LOOPBACK_SEND_BYTES (512 << 10)

bool link_on_loopback(int fd)
{
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof peer;
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&peer;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&peer;

    if (getpeername(fd, (struct sockaddr *)&peer, &size) != 0) {
        return false;
    }
    if (peer.ss_family == AF_INET) {
        return ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    if (peer.ss_family != AF_INET6) {
        return false;
    }
    return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
           (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) &&
            v6->sin6_addr.s6_addr[12] == IN_LOOPBACKNET);
}

/* What a kernel refuses is left as it is: a link works without it. */
static void set_option(int fd, int level, int name, int value)
{
    (void)!setsockopt(fd, level, name, &value, sizeof value);
}

static bool set_congestion(int fd, const char *name)
{
    return setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name,
                      (socklen_t)strlen(name)) == 0;
}

/* Not on loopback, where a host cannot vanish: the kernel counts a peer that
 * lives but does not read, for whatever good reason, as timed out as well. */
static void set_timeout(int fd, bool local)
{
    if (!local) {
        set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS);
    }
}

void link_bound_socket(int fd)
{
    if (link_on_loopback(fd)) {
        set_option(fd, SOL_SOCKET, SO_SNDBUF, LOOPBACK_SEND_BYTES);
    }
}

void link_tune_socket(int fd, const char *congestion)
{
    bool local = link_on_loopback(fd);

    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
    set_timeout(fd, local);
    if (congestion != NULL) {
        (void)set_congestion(fd, congestion);
    } else if (local && !set_congestion(fd, "cubic")) {
        (void)set_congestion(fd, "reno");
    }
}
