/* rule_noise - the loops of a rule that adds noise. Part of rule_loops.h and
 * like it a template.
 *
 * A block's noise is made just before it is added, so that the processor makes
 * the next one while this one waits for memory. */

_Static_assert(RULE_SLOTS == 0 && !RULE_PASSES, "noise comes without state");

enum { RULE_KEYS = 16 }; /* Blocks whose keys are made at once: a vector. */

struct rule_keys {
    uint32_t a[RULE_KEYS], b[RULE_KEYS];
};

RULE_FN void rule_make_keys(struct rule_keys *keys, struct noise_words key,
                            uint64_t number, uint32_t count)
{
    KV_INDEPENDENT
    for (uint32_t i = 0; i < count; i++) {
        struct noise_words index = {(uint32_t)number + i,
                                    (uint32_t)(number >> 32)};

        index.b += index.a < i ? 1 : 0; /* A carry. */
        index = noise_words(key, index);
        keys->a[i] = index.a;
        keys->b[i] = index.b;
    }
}

RULE_FN void rule_noisy(const struct rule_arrays *a, size_t first, size_t count,
                        const float *noise, struct step k)
{
    KV_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        struct elem e = {.w = a->weight[first + i], .noise = noise[i]};

        a->new_weight[first + i] = update(e, a->gradient[first + i], k).w;
    }
}

/* A piece of a block. One in one half of it needs no more than its own pairs:
 * a row of a table may be shorter than that. */
RULE_FN void rule_noise_piece(const struct rule_arrays *a, size_t first,
                              size_t skip, size_t count, struct noise_words key,
                              struct step k)
{
    KV_SCRATCH float noise[NOISE_BLOCK];
    uint32_t place = (uint32_t)skip % NOISE_HALF;

    if (place + count <= NOISE_HALF) {
        noise_block(key, k.spread, place, (uint32_t)count, noise);
    } else {
        noise_block(key, k.spread, 0, NOISE_HALF, noise);
    }
    rule_noisy(a, first, count, noise + skip, k);
}

/* The elements of one block that are among the arguments'; how many. */
RULE_FN size_t rule_noise_block(const struct rule_arrays *a, size_t first,
                                struct noise_words key, struct step k)
{
    KV_SCRATCH float noise[NOISE_BLOCK];
    size_t skip = (size_t)((a->first + first) % NOISE_BLOCK);
    size_t left = a->count - first;

    if (skip == 0 && left >= NOISE_BLOCK) {
        noise_block(key, k.spread, 0, NOISE_HALF, noise);
        rule_noisy(a, first, NOISE_BLOCK, noise, k);
        return NOISE_BLOCK;
    }
    left = left < NOISE_BLOCK - skip ? left : NOISE_BLOCK - skip;
    rule_noise_piece(a, first, skip, left, key, k);
    return left;
}

RULE_FN void rule_noise_blocks(const struct rule_arrays *a, struct step k)
{
    size_t done = 0;

    while (done < a->count) {
        uint64_t number = (a->first + done) / NOISE_BLOCK;
        uint64_t last = (a->first + a->count - 1) / NOISE_BLOCK;
        uint32_t blocks = last - number < RULE_KEYS - 1
                              ? (uint32_t)(last - number) + 1
                              : RULE_KEYS;
        struct rule_keys keys;

        blocks == RULE_KEYS ? rule_make_keys(&keys, k.key, number, RULE_KEYS)
                            : rule_make_keys(&keys, k.key, number, blocks);
        for (uint32_t i = 0; i < blocks; i++) {
            struct noise_words key = {keys.a[i], keys.b[i]};

            done += rule_noise_block(a, done, key, k);
        }
    }
}

#define RULE_NOISE_LOOPS RULE_PASTE(kv_optim_noise_, RULE_ID)

/* Mostly nothing is clipped, and then no operation is spent on it. */
RULE_CLONES static void RULE_NOISE_LOOPS(const struct kv_optim_args *args,
                                         struct step k)
{
    const struct rule_arrays a = rule_arrays(args);

    if (isinf(k.limit)) {
        k.limit = (real)INFINITY;
        rule_noise_blocks(&a, k);
    } else {
        rule_noise_blocks(&a, k);
    }
}

static void rule_update(const struct kv_optim_args *a)
{
    struct rule_step s;

    memcpy(&s, a->step, sizeof s);
    RULE_NOISE_LOOPS(a, s.k);
}
