#include <inttypes.h>
#include <stdio.h>

#include "common/base/log.h"
#include "worker/route.h"

/* When to say that a server is not there, or does not answer. */
#define TELL_AFTER_MS 2000
#define TELL_AGAIN_MS 5000
#define QUIET_MS 10000
#define QUIET_MAX_MS 60000

static uint64_t now_ms(const struct route *r)
{
    return uv_now(r->hub->loop);
}

/* --- Texts ---------------------------------------------------------------- */

const char *route_name(const struct route *r, char out[ROUTE_NAME_MAX])
{
    snprintf(out, ROUTE_NAME_MAX, "server %" PRIu32 " (%s)", r->peer->index,
             r->peer->address);
    return out;
}

const char *route_trouble(const struct route *r, char out[ROUTE_TEXT_MAX])
{
    char name[ROUTE_NAME_MAX];
    uint64_t seconds = (now_ms(r) - r->down_ms) / 1000;

    route_name(r, name);
    if (r->fsm.state == ROUTE_FAILED) {
        snprintf(out, ROUTE_TEXT_MAX, "%s: %s", name, r->text);
    } else if (r->fsm.state == ROUTE_JOINING) {
        snprintf(out, ROUTE_TEXT_MAX, "%s waits for %s since %" PRIu64 " s",
                 name, r->text[0] == '\0' ? "the other servers" : r->text,
                 seconds);
    } else {
        snprintf(out, ROUTE_TEXT_MAX,
                 "%s is not reachable since %" PRIu64 " s%s%s", name, seconds,
                 r->text[0] == '\0' ? "" : ": ", r->text);
    }
    return out;
}

/* --- Watching ------------------------------------------------------------- */

void route_tell_back(struct route *r)
{
    char name[ROUTE_NAME_MAX];

    if (r->peer->missed) {
        r->peer->missed = false;
        log_warn("%s is back after %" PRIu64 " s", route_name(r, name),
                 (now_ms(r) - r->down_ms) / 1000);
    }
}

static void watch_missing(struct route *r)
{
    uint64_t now = now_ms(r);
    char text[ROUTE_TEXT_MAX];

    if (now - r->down_ms < TELL_AFTER_MS ||
        (r->peer->missed && now - r->peer->told_ms < TELL_AGAIN_MS)) {
        return;
    }
    r->peer->missed = true;
    r->peer->told_ms = now;
    log_warn("%s", route_trouble(r, text));
}

/* A server that waits for other ranks says so, and is heard. Longer and longer
 * between lines, since a rank may simply be slow. */
static void watch_quiet(struct route *r)
{
    uint64_t now = now_ms(r);
    char name[ROUTE_NAME_MAX];

    if (r->quiet_ms == 0 || r->link.heard_ms > r->quiet_ms) {
        r->quiet_ms = r->quiet_ms == 0 ? now : r->link.heard_ms;
        r->patience_ms = QUIET_MS;
    }
    if (now - r->quiet_ms < r->patience_ms) {
        return;
    }
    r->patience_ms +=
        r->patience_ms < QUIET_MAX_MS ? r->patience_ms : QUIET_MAX_MS;
    log_warn("%s has not answered for %" PRIu64 " s", route_name(r, name),
             (now - r->quiet_ms) / 1000);
}

bool route_watch(struct route *r)
{
    if (r->fsm.state >= ROUTE_FAILED) {
        return false;
    }
    if (r->fsm.state != ROUTE_UP) {
        watch_missing(r);
        return true;
    }
    if (courier_pending(r->courier) == 0) {
        r->quiet_ms = 0;
        return false;
    }
    watch_quiet(r);
    r->events->ready(r); /* Memory may have come back. */
    return true;
}
