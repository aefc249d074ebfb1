/* Norms of a whole key: what its slices have measured is added up here, since
 * a worker has links to all of them, and the totals go back to each. Every
 * rank that pushed does the same, and comes to the same bits: the sums are
 * added in the slices' order. Sums of a push are kept until all of its slices
 * are committed, for a slice whose server died may ask again; it has other sums
 * then, if a rank has joined the round since. A slice whose push is over
 * without having told, since it was refused or came before the optimizer did,
 * will never tell: the others go on without it. */
#include <inttypes.h>
#include <string.h>

#include "common/base/mem.h"
#include "worker/engine_core.h"

struct key_norms {
    struct key_norms *next; /* Of the op. */
    struct key *key;
    bool partial;                 /* It was said that a slice has none. */
    uint32_t have[KV_PASSES_MAX]; /* Slices that have told. */
    double total[KV_PASSES_MAX][KV_NORMS_MAX];
    struct slice_norms {
        bool told[KV_PASSES_MAX];
        double sum[KV_PASSES_MAX][KV_NORMS_MAX];
    } slices[];
};

static struct key_norms *find(const struct kvw_op *op, const struct key *key)
{
    struct key_norms *n = op->norms;

    while (n != NULL && n->key != key) {
        n = n->next;
    }
    return n;
}

static void log_partial(const struct engine *e, struct key_norms *n)
{
    char name[KEYS_TEXT_MAX];

    if (!n->partial) {
        n->partial = true;
        log_warn("%s on rank %" PRIu32
                 ": a slice has had its round without norms (it was refused, "
                 "or the optimizer came in between); the others go on without "
                 "its part",
                 keys_text(&n->key->spec, name), e->job.rank);
    }
}

/* That slice will not tell: what it has not told counts as zero. */
static void close_slice(const struct engine *e, struct key_norms *n,
                        uint32_t index, uint32_t pass)
{
    if (pass == 0) {
        log_partial(e, n);
    }
    n->slices[index].told[pass] = true;
    n->have[pass]++;
}

static struct key_norms *norms_of(const struct engine *e, struct kvw_op *op,
                                  struct key *key, const struct part *asking)
{
    struct key_norms *n = find(op, key);

    if (n != NULL) {
        return n;
    }
    n = mem_zalloc(1, sizeof *n + key->slice_count * sizeof n->slices[0]);
    if (n == NULL) {
        return NULL;
    }
    n->key = key;
    n->next = op->norms;
    op->norms = n;
    for (uint32_t i = 0; i < key->slice_count; i++) {
        for (uint32_t pass = 0; pass < KV_PASSES_MAX; pass++) {
            if (engine_push_is_over(asking, i)) {
                close_slice(e, n, i, pass);
            }
        }
    }
    return n;
}

void engine_norms_free(struct kvw_op *op)
{
    while (op->norms != NULL) {
        struct key_norms *n = op->norms;

        op->norms = n->next;
        mem_free(n);
    }
}

static void add_up(struct key_norms *n, uint32_t pass)
{
    memset(n->total[pass], 0, sizeof n->total[pass]);
    for (uint32_t i = 0; i < n->key->slice_count; i++) {
        for (unsigned j = 0; j < KV_NORMS_MAX; j++) {
            n->total[pass][j] += n->slices[i].sum[pass][j];
        }
    }
}

/* To all that wait, if all have told. */
static void send_totals(struct key_norms *n, const struct kvw_op *op,
                        uint32_t pass)
{
    if (n->have[pass] < n->key->slice_count) {
        return;
    }
    add_up(n, pass);
    for (uint32_t i = 0; i < n->key->slice_count; i++) {
        const struct part *push = courier_sent_push(&n->key->slices[i]);

        if (push != NULL && push->owner == op) {
            courier_totals(&n->key->slices[i], pass, n->total[pass]);
        }
    }
}

void engine_norms(struct route *r, const struct slice *slice,
                  const struct message *m)
{
    struct engine *e = r->data;
    struct key *key = slice->owner;
    const struct part *push = courier_sent_push(slice);
    struct kvw_op *op = push->owner;
    struct key_norms *n = norms_of(e, op, key, push);
    struct slice_norms *s;
    uint32_t pass = m->norms.pass;

    if (n == NULL) {
        log_error("rank %u: out of memory for norms: the connection starts "
                  "anew, and the server asks again",
                  e->job.rank);
        route_restart(r);
        return;
    }
    s = &n->slices[slice - key->slices];
    if (s->told[pass]) {
        /* It was restarted, and has not heard the total. */
        memcpy(s->sum[pass], m->norms.sum, sizeof s->sum[pass]);
        if (n->have[pass] == key->slice_count) {
            add_up(n, pass);
            courier_totals(slice, pass, n->total[pass]);
        }
        return;
    }
    s->told[pass] = true;
    memcpy(s->sum[pass], m->norms.sum, sizeof s->sum[pass]);
    n->have[pass]++;
    send_totals(n, op, pass);
}

void engine_norms_over(const struct engine *e, const struct kvw_op *op,
                       const struct slice *slice)
{
    struct key *key = slice->owner;
    struct key_norms *n = find(op, key);
    uint32_t index = (uint32_t)(slice - key->slices);

    for (uint32_t pass = 0; n != NULL && pass < KV_PASSES_MAX; pass++) {
        if (!n->slices[index].told[pass]) {
            close_slice(e, n, index, pass);
            send_totals(n, op, pass);
        }
    }
}
