/* rule_norms - sums of the squares of what measure() says. Part of rule_loops.h
 * and like it a template.
 *
 * A chunk's squares are exact in double, those of f64 rounded; they are added
 * in pairs, and the pairs in pairs, which is one order for vectors of any
 * width. Chunks are added from left to right. A short chunk is filled up with
 * zeros, which add nothing. */

RULE_FN double rule_fold(const real *x)
{
    KV_SCRATCH double sum[KV_OPTIM_CHUNK / 2];

    for (unsigned i = 0, half = KV_OPTIM_CHUNK / 2; i < half; i++) {
        double low = (double)x[i], high = (double)x[i + half];

        sum[i] = low * low + high * high;
    }
    KV_UNROLLED
    for (unsigned half = KV_OPTIM_CHUNK / 4; half > 0; half /= 2) {
        for (unsigned i = 0; i < half; i++) {
            sum[i] += sum[i + half];
        }
    }
    return sum[0];
}

/* Elements from `first` on, at most a chunk. */
RULE_FN void rule_chunk(const struct rule_arrays *a, size_t first, size_t count,
                        struct step k, unsigned slots, unsigned pass,
                        double *sums)
{
    KV_SCRATCH real x[RULE_NORMS][KV_OPTIM_CHUNK];

    KV_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        struct norms n = measure(rule_load(a, first + i, slots),
                                 a->gradient[first + i], k, pass);

        for (unsigned j = 0; j < RULE_NORMS; j++) {
            x[j][i] = n.of[j];
        }
    }
    for (unsigned j = 0; j < RULE_NORMS; j++) {
        for (size_t i = count; i < KV_OPTIM_CHUNK; i++) {
            x[j][i] = 0;
        }
        sums[j] += rule_fold(x[j]);
    }
}

RULE_FN void rule_sums(const struct rule_arrays *a, size_t first, size_t count,
                       struct step k, unsigned slots, unsigned pass,
                       double *sums)
{
    size_t end = first + count;

    for (; end - first >= KV_OPTIM_CHUNK; first += KV_OPTIM_CHUNK) {
        rule_chunk(a, first, KV_OPTIM_CHUNK, k, slots, pass, sums);
    }
    if (end > first) {
        rule_chunk(a, first, end - first, k, slots, pass, sums);
    }
}

#if RULE_PASSES

_Static_assert(RULE_NORMS <= KV_OPTIM_NORMS_MAX, "too many norms");
_Static_assert(RULE_PASSES <= 2, "a pass without a loop");

#define RULE_MEASURE RULE_PASTE(kv_optim_measure_, RULE_ID)

/* Such a rule uses all of its slots or none. */
RULE_CLONES static void RULE_MEASURE(const struct kv_optim_args *args,
                                     struct step k, unsigned used,
                                     unsigned pass, double *sums)
{
    const struct rule_arrays a = rule_arrays(args);

    if (RULE_PASSES > 1 && pass > 0) {
        used > 0 ? rule_sums(&a, 0, a.count, k, RULE_SLOTS, 1, sums)
                 : rule_sums(&a, 0, a.count, k, 0, 1, sums);
    } else {
        used > 0 ? rule_sums(&a, 0, a.count, k, RULE_SLOTS, 0, sums)
                 : rule_sums(&a, 0, a.count, k, 0, 0, sums);
    }
}

static void rule_measure(const struct kv_optim_args *a, unsigned pass,
                         double *sums)
{
    struct rule_step s;

    memcpy(&s, a->step, sizeof s);
    RULE_MEASURE(a, s.k, s.slots, pass, sums);
}

static void rule_absorb(void *step, unsigned pass, const double *total)
{
    double norm[RULE_NORMS];
    struct rule_step s;

    for (unsigned i = 0; i < RULE_NORMS; i++) {
        norm[i] = sqrt(total[i]);
    }
    memcpy(&s, step, sizeof s);
    absorb(&s.k, pass, norm);
    memcpy(step, &s, sizeof s);
}

#endif
