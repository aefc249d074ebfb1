#include "worker/norms.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"

struct slice_norms {
    bool told[KV_PASSES_MAX];
    double sum[KV_PASSES_MAX][KV_NORMS_MAX];
};

struct norms {
    uint32_t count;
    uint32_t have[KV_PASSES_MAX]; /* Slices that have told, or are over. */
    double total[KV_PASSES_MAX][KV_NORMS_MAX];
    struct slice_norms slices[];
};

struct norms *norms_new(uint32_t slices)
{
    struct norms *n = mem_zalloc(1, sizeof *n + slices * sizeof n->slices[0]);

    KV_CHECK(slices > 0);
    if (n != NULL) {
        n->count = slices;
    }
    return n;
}

void norms_free(struct norms *n)
{
    mem_free(n);
}

static void add_up(struct norms *n, uint32_t pass)
{
    memset(n->total[pass], 0, sizeof n->total[pass]);
    for (uint32_t i = 0; i < n->count; i++) {
        for (unsigned j = 0; j < KV_NORMS_MAX; j++) {
            n->total[pass][j] += n->slices[i].sum[pass][j];
        }
    }
}

/* One more slice has no more to tell of this pass. */
static enum norms_next one_more(struct norms *n, uint32_t index, uint32_t pass)
{
    n->slices[index].told[pass] = true;
    if (++n->have[pass] < n->count) {
        return NORMS_NONE;
    }
    add_up(n, pass);
    return NORMS_ALL;
}

enum norms_next norms_tell(struct norms *n, uint32_t index, uint32_t pass,
                           const double *sum)
{
    struct slice_norms *s = &n->slices[index];

    KV_CHECK(index < n->count && pass < KV_PASSES_MAX);
    memcpy(s->sum[pass], sum, sizeof s->sum[pass]);
    if (!s->told[pass]) {
        return one_more(n, index, pass);
    }
    if (n->have[pass] < n->count) {
        return NORMS_NONE;
    }
    add_up(n, pass);
    return NORMS_ONE;
}

enum norms_next norms_close(struct norms *n, uint32_t index, uint32_t pass,
                            bool *told)
{
    KV_CHECK(index < n->count && pass < KV_PASSES_MAX);
    *told = n->slices[index].told[pass];
    return *told ? NORMS_NONE : one_more(n, index, pass);
}

const double *norms_totals(const struct norms *n, uint32_t pass)
{
    return n->total[pass];
}
