/**
 * address - "host:port" and what it stands for.
 *
 * Thread:  any. address_resolve() may block on DNS: at start only.
 * Memory:  borrows all.
 */
#ifndef KV_SERVER_ADDRESS_H
#define KV_SERVER_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "common/base/status.h"

#define ADDRESS_TEXT_MAX 64 /* "[v6]:port" with its 0. */

/* The first address of a "host:port". KV_EINVAL with a sentence. */
KV_MUST_CHECK enum kv_status address_resolve(const char *text,
                                             struct sockaddr_storage *out,
                                             char *error, size_t error_size);

/* "1.2.3.4:5" or "[::1]:5"; "an unknown address" for any other family. */
void address_format(const struct sockaddr_storage *a, char *out, size_t size);

/* A bound TCP socket. KV_EBUSY when the address is in use; the sentence says
 * what is wrong. */
KV_MUST_CHECK enum kv_status address_bind(const struct sockaddr_storage *a,
                                          int *fd, char *error,
                                          size_t error_size);

/* Of a socket: its own address, and its peer's. */
void address_of_socket(int fd, struct sockaddr_storage *out);
void address_of_peer(int fd, struct sockaddr_storage *out);

bool address_is_loopback(const struct sockaddr_storage *a);
bool address_is_wildcard(const struct sockaddr_storage *a);

/* Ports do not count. */
bool address_same_host(const struct sockaddr_storage *a,
                       const struct sockaddr_storage *b);

#endif
