/* Norms of a whole key for the ops that push it: norms.h says how. */
#include <inttypes.h>

#include "common/base/mem.h"
#include "worker/engine_core.h"
#include "worker/norms.h"

struct key_norms {
    struct key_norms *next; /* Of the op. */
    struct key *key;
    struct norms *norms;
    bool partial; /* It was said that a slice has none. */
};

static struct key_norms *find(const struct kvw_op *op, const struct key *key)
{
    struct key_norms *n = op->norms;

    while (n != NULL && n->key != key) {
        n = n->next;
    }
    return n;
}

/* To the slices that wait for them. */
static void send_totals(const struct key_norms *n, const struct kvw_op *op,
                        uint32_t pass)
{
    for (uint32_t i = 0; i < n->key->slice_count; i++) {
        const struct part *push = courier_sent_push(&n->key->slices[i]);

        if (push != NULL && push->owner == op) {
            courier_totals(&n->key->slices[i], pass,
                           norms_totals(n->norms, pass));
        }
    }
}

/* --- Slices that are over ------------------------------------------------- */

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

/* Rules of one pass never tell the second, and of those nobody waits for it. */
static void close_slice(const struct engine *e, const struct kvw_op *op,
                        struct key_norms *n, uint32_t index)
{
    for (uint32_t pass = 0; pass < KV_PASSES_MAX; pass++) {
        bool told;

        if (norms_close(n->norms, index, pass, &told) == NORMS_ALL) {
            send_totals(n, op, pass);
        }
        if (pass == 0 && !told) {
            log_partial(e, n);
        }
    }
}

void engine_norms_over(const struct engine *e, const struct kvw_op *op,
                       const struct slice *slice)
{
    const struct key *key = slice->owner;
    struct key_norms *n = find(op, key);

    if (n != NULL) {
        close_slice(e, op, n, (uint32_t)(slice - key->slices));
    }
}

/* --- Slices that tell ----------------------------------------------------- */

static struct key_norms *begin(const struct engine *e, struct kvw_op *op,
                               struct key *key, const struct part *asking)
{
    struct key_norms *n = mem_zalloc(1, sizeof *n);

    if (n == NULL) {
        return NULL;
    }
    n->norms = norms_new(key->slice_count);
    if (n->norms == NULL) {
        mem_free(n);
        return NULL;
    }
    n->key = key;
    n->next = op->norms;
    op->norms = n;
    for (uint32_t i = 0; i < key->slice_count; i++) {
        if (engine_push_is_over(asking, i)) {
            close_slice(e, op, n, i);
        }
    }
    return n;
}

void engine_norms(struct route *r, const struct slice *slice,
                  const struct message *m)
{
    struct engine *e = r->data;
    struct key *key = slice->owner;
    const struct part *push = courier_sent_push(slice);
    struct kvw_op *op = push->owner;
    struct key_norms *n = find(op, key);
    uint32_t pass = m->norms.pass;
    enum norms_next next;

    n = n == NULL ? begin(e, op, key, push) : n;
    if (n == NULL) {
        log_error("rank %" PRIu32
                  ": out of memory for norms: the connection starts anew, and "
                  "the server asks again",
                  e->job.rank);
        route_restart(r);
        return;
    }
    next = norms_tell(n->norms, (uint32_t)(slice - key->slices), pass,
                      m->norms.sum);
    if (next == NORMS_ALL) {
        send_totals(n, op, pass);
    } else if (next == NORMS_ONE) {
        courier_totals(slice, pass, norms_totals(n->norms, pass));
    }
}

void engine_norms_free(struct kvw_op *op)
{
    while (op->norms != NULL) {
        struct key_norms *n = op->norms;

        op->norms = n->next;
        norms_free(n->norms);
        mem_free(n);
    }
}
