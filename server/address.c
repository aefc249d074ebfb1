#include "server/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/dial.h"

static const struct sockaddr_in *as_v4(const struct sockaddr_storage *a)
{
    return (const struct sockaddr_in *)(const void *)a;
}

static const struct sockaddr_in6 *as_v6(const struct sockaddr_storage *a)
{
    return (const struct sockaddr_in6 *)(const void *)a;
}

/* As dial_split(), but port 0 is allowed: listening, it means any. */
static bool split(const char *text, char *host, size_t host_size, char *port,
                  size_t port_size)
{
    char copy[KV_ADDRESS_MAX + 1];
    size_t size = strlen(text);
    bool any = size > 2 && strcmp(text + size - 2, ":0") == 0;

    if (size >= sizeof copy) {
        return false;
    }
    memcpy(copy, text, size + 1);
    if (any) {
        copy[size - 1] = '1';
    }
    if (dial_split(copy, host, host_size, port, port_size) != KV_OK) {
        return false;
    }
    if (any) {
        port[0] = '0';
    }
    return true;
}

enum kv_status address_resolve(const char *text, struct sockaddr_storage *out,
                               char *error, size_t error_size)
{
    char host[KV_ADDRESS_MAX + 1], port[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    int rc;

    if (!split(text, host, sizeof host, port, sizeof port)) {
        snprintf(error, error_size, "%s is not HOST:PORT", text);
        return KV_EINVAL;
    }
    rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0) {
        snprintf(error, error_size, "%s: %s", text, gai_strerror(rc));
        return KV_EINVAL;
    }
    memset(out, 0, sizeof *out);
    memcpy(out, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return KV_OK;
}

void address_format(const struct sockaddr_storage *a, char *out, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "";

    if (a->ss_family == AF_INET) {
        inet_ntop(AF_INET, &as_v4(a)->sin_addr, host, sizeof host);
        snprintf(out, size, "%s:%u", host, ntohs(as_v4(a)->sin_port));
    } else if (a->ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &as_v6(a)->sin6_addr, host, sizeof host);
        snprintf(out, size, "[%s]:%u", host, ntohs(as_v6(a)->sin6_port));
    } else {
        snprintf(out, size, "an unknown address");
    }
}

void address_of_socket(int fd, struct sockaddr_storage *out)
{
    socklen_t size = sizeof *out;

    memset(out, 0, sizeof *out);
    if (getsockname(fd, (struct sockaddr *)out, &size) != 0) {
        out->ss_family = AF_UNSPEC;
    }
}

void address_of_peer(int fd, struct sockaddr_storage *out)
{
    socklen_t size = sizeof *out;

    memset(out, 0, sizeof *out);
    if (getpeername(fd, (struct sockaddr *)out, &size) != 0) {
        out->ss_family = AF_UNSPEC;
    }
}

enum kv_status address_bind(const struct sockaddr_storage *a, int *fd,
                            char *error, size_t error_size)
{
    bool v6 = a->ss_family == AF_INET6;
    socklen_t size =
        v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    int s = socket(a->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    char text[ADDRESS_TEXT_MAX];
    enum kv_status status;

    address_format(a, text, sizeof text);
    if (s >= 0 &&
        setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        bind(s, (const struct sockaddr *)a, size) == 0) {
        *fd = s;
        return KV_OK;
    }
    status = errno == EADDRINUSE ? KV_EBUSY : KV_EINVAL;
    snprintf(error, error_size, "cannot listen on %s: %s", text,
             strerror(errno));
    if (s >= 0) {
        close(s);
    }
    return status;
}

bool address_is_loopback(const struct sockaddr_storage *a)
{
    if (a->ss_family == AF_INET) {
        return ntohl(as_v4(a)->sin_addr.s_addr) >> 24 == 127;
    }
    return a->ss_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&as_v6(a)->sin6_addr);
}

bool address_is_wildcard(const struct sockaddr_storage *a)
{
    if (a->ss_family == AF_INET) {
        return as_v4(a)->sin_addr.s_addr == htonl(INADDR_ANY);
    }
    return a->ss_family == AF_INET6 &&
           IN6_IS_ADDR_UNSPECIFIED(&as_v6(a)->sin6_addr);
}

bool address_same_host(const struct sockaddr_storage *a,
                       const struct sockaddr_storage *b)
{
    if (a->ss_family != b->ss_family) {
        return false;
    }
    if (a->ss_family == AF_INET) {
        return as_v4(a)->sin_addr.s_addr == as_v4(b)->sin_addr.s_addr;
    }
    return a->ss_family != AF_INET6 ||
           memcmp(&as_v6(a)->sin6_addr, &as_v6(b)->sin6_addr,
                  sizeof as_v6(a)->sin6_addr) == 0;
}
