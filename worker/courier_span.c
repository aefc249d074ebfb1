#include "common/base/check.h"
#include "worker/courier_core.h"

/* Slots may be others' by now, who know whose they were. A part that is done is
 * of slices in place, as far as anybody cares. */
struct slice *courier_slice_of(const struct part *p, uint32_t i)
{
    struct slice *top, *s;

    if (i == 0) {
        return p->slice;
    }
    top = courier_slice(p->slice->courier, p->slice->slot + i);
    for (s = top; s != NULL; s = s->older) {
        if ((p->pull ? s->pull : s->push) == p) {
            return s;
        }
    }
    return top;
}

/* --- Making one ----------------------------------------------------------- */

static bool idle(const struct slice *s)
{
    return s->push == NULL && s->pull == NULL && list_empty(&s->waiting);
}

/* A pull may also go behind a push that is a span of the same slices. */
static bool may_join(const struct part *p, const struct slice *first,
                     const struct slice *s)
{
    if (first->pushed != s->pushed) {
        return false;
    }
    if (!p->pull || first->push == NULL) {
        return idle(first) && idle(s);
    }
    return first->push == s->push && first->push->slice == first &&
           first->push->behind == NULL && first->pull == NULL &&
           s->pull == NULL && list_empty(&first->waiting) &&
           list_empty(&s->waiting);
}

/* Nothing has its slot after it. */
static bool in_place(const struct slice *s)
{
    return courier_slice(s->courier, s->slot) == s;
}

static bool lie_side_by_side(const struct part *p, uint32_t i)
{
    const char *before = p->pull ? p->outs[i - 1] : p->inputs[i - 1];
    const char *at = p->pull ? p->outs[i] : p->inputs[i];

    return at == before + p->slice->size;
}

bool courier_extend(struct part *p, struct slice *s)
{
    const struct slice *first = p->slice;
    uint32_t span = p->span == 0 ? 1 : p->span;

    if (span == SPAN_MAX || first->size >= KV_DIRECT_MIN ||
        (span + 1) * first->size > KV_BATCH_PAYLOAD_MAX ||
        s->courier != first->courier || s->slot != first->slot + span ||
        s->size != first->size || s->dtype != first->dtype || p->rows != NULL ||
        p->reset || !may_join(p, first, s) || !in_place(first) ||
        !in_place(s)) {
        return false;
    }
    p->adjacent = (span == 1 || p->adjacent) && lie_side_by_side(p, span);
    p->span = span + 1;
    return true;
}

void courier_occupy(struct courier *c, struct part *p)
{
    struct part *before = p->pull ? p->slice->push : NULL;

    for (uint32_t i = 0; i < p->span; i++) {
        struct slice *s = courier_slice(c, p->slice->slot + i);

        if (p->pull) {
            s->pull = p;
        } else {
            s->push = p;
        }
    }
    if (before != NULL && before->state != PART_SENT) {
        before->behind = p;
    } else {
        courier_ready(c, p);
    }
}

/* --- Some of it ----------------------------------------------------------- */

/* The next run of ones in `bits`: where, and how long. */
static uint32_t next_run(uint64_t bits, uint32_t *count)
{
    uint32_t first = (uint32_t)__builtin_ctzll(bits);
    uint64_t rest = ~(bits >> first);

    *count = rest == 0 ? SPAN_MAX : (uint32_t)__builtin_ctzll(rest);
    return first;
}

bool courier_add_unsent(struct message_batch *batch, const struct part *p,
                        uint64_t round, uint32_t size)
{
    uint64_t starts = p->unsent & ~(p->unsent << 1);

    if ((starts & (starts - 1)) != 0 && batch->run_count > 0) {
        return false; /* Rare; into an empty batch they fit for sure. */
    }
    for (uint64_t bits = p->unsent; bits != 0;) {
        uint32_t count, first = next_run(bits, &count);

        if (!message_add_run(batch, p->slice->slot + first, count, round,
                             size)) {
            KV_CHECK(bits == p->unsent);
            return false;
        }
        bits &= ~(courier_bits(count) << first);
    }
    return true;
}

struct slice *courier_unanswered(const struct part *p, unsigned skip)
{
    uint64_t bits = p->unanswered;

    while (skip > 0 && bits != 0) {
        bits &= bits - 1;
        skip--;
    }
    return bits == 0 ? NULL
                     : courier_slice_of(p, (uint32_t)__builtin_ctzll(bits));
}

/* --- The end of one slice ------------------------------------------------- */

void courier_refuse(struct courier *c, struct part *p, struct slice *s,
                    enum kv_status status, const char *text)
{
    uint64_t bit = UINT64_C(1) << (s->slot - p->slice->slot);

    KV_CHECK(p->state != PART_WAITING);

    if ((p->unanswered & bit) == 0) {
        return;
    }
    p->unsent &= ~bit;
    p->unanswered &= ~bit;
    c->io.slice_refused(c->io.ctx, p, s, status, text);
    if (p->unanswered != 0) {
        return;
    }
    if (p->state == PART_READY) {
        courier_queue_remove(p->pull ? &c->pulls : &c->pushes, p);
        list_push(&c->sent, &p->node); /* Nothing of it is unsent. */
    }
    courier_finish(c, p, KV_OK, "", p->round);
}
