/**
 * shard_thread_private - what the files of a shard's thread share.
 *
 *   shard_thread.c   the thread, its mail, its beginning and end
 *   seat.c           a rank's link and session
 *   shard_watch.c    ranks that wait: for whom, and whether they ever can go on
 */
#ifndef KV_SERVER_SHARD_THREAD_PRIVATE_H
#define KV_SERVER_SHARD_THREAD_PRIVATE_H

#include "server/address.h"
#include "server/session.h"
#include "server/shard_thread.h"

/* A rank's link and session. */
struct seat {
    struct list_link among_seats, among_dirty;
    struct shard_thread *thread; /* Borrowed. */
    uint32_t rank;
    bool live; /* `session` is there, and the seat is the rank's. */
    char peer[ADDRESS_TEXT_MAX];
    struct session_io io;
    struct link link;
    struct session session;
};

/* Take over a socket, now on its thread. */
void seat_adopt(struct shard_thread *t, int fd, const struct hello *hello);

/* From here on the link speaks for nobody; nothing more of it is applied. */
void seat_leave(struct seat *seat);

/* The seat of this rank, which is about to get an answer; NULL if it is not
 * connected. */
struct seat *seat_answering(struct shard_thread *t, uint32_t rank);

/* Send what those have got. */
void seats_flush(struct shard_thread *t);

/* For shard_new(). */
void seats_events(struct shard_thread *t, struct shard_events *out);

/* Somebody may wait from now on. */
void shard_watch(struct shard_thread *t);

/* No seat is left: free the shard, close the handles. */
void shard_thread_wind_down(struct shard_thread *t);

#endif
