/* Pushes that changed nothing, because the sum of their round is not finite. */
#include <inttypes.h>
#include <stdio.h>

#include "common/base/log.h"
#include "worker/engine_core.h"

/* Which elements of a key that has more; "" for all. */
static const char *part_text(const struct key *key, const struct slice *slice,
                             char out[80])
{
    uint64_t first = (uint64_t)(slice - key->slices) * key->slice_step;

    out[0] = '\0';
    if (key->slice_count > 1) {
        snprintf(out, 80, " in elements %" PRIu64 " to %" PRIu64, first,
                 first + slice->count - 1);
    }
    return out;
}

static void skip_text(const struct slice *slice, const struct message *m,
                      char *out, size_t size)
{
    const struct key *key = slice->owner;
    char name[KEYS_TEXT_MAX], part[80], who[48] = "the sum of its pushes";

    if (m->skipped.blames) {
        snprintf(who, sizeof who, "what rank %" PRIu32 " pushed",
                 m->skipped.rank);
    }
    snprintf(out, size,
             "%s round %" PRIu64 " changes nothing%s: %s is not finite",
             keys_text(&key->spec, name), message_rounds(m->skipped.round),
             part_text(key, slice, part), who);
}

void engine_skipped(struct route *r, struct part *part,
                    const struct slice *slice, const struct message *m)
{
    struct engine *e = r->data;
    char text[OP_TEXT_MAX];

    e->skipped++;
    skip_text(slice, m, text, sizeof text);
    if (m->skipped.fails) {
        op_fail(part->owner, KV_ENONFINITE, "rank %" PRIu32 ": %s", e->job.rank,
                text);
    } else if (log_allow(&e->skip_lines, uv_now(&e->lane.loop))) {
        log_warn("%s (nonfinite=skip)", text);
    }
}
