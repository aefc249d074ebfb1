/* rule_rows - the loops of a rule whose state is one float a row. Part of
 * rule_loops.h and like it a template. Rows are read twice, from a cache the
 * second time. */

_Static_assert(RULE_SLOTS == 1 && !RULE_PASSES,
               "rows have one slot, no passes");

RULE_FN void rule_row(const struct rule_arrays *a, size_t first, size_t length,
                      struct elem state, struct step k)
{
    KV_INDEPENDENT
    for (size_t i = first; i < first + length; i++) {
        struct elem e = state;

        e.w = a->weight[i];
        a->new_weight[i] = update(e, a->gradient[i], k).w;
    }
}

#define RULE_EACH_ROW RULE_PASTE(kv_optim_each_row_, RULE_ID)

RULE_CLONES static void RULE_EACH_ROW(const struct kv_optim_args *args,
                                      struct step k)
{
    const struct rule_arrays a = rule_arrays(args);
    size_t length = a.row_length > 1 ? a.row_length : 1;

    for (size_t r = 0; r < a.count / length; r++) {
        struct elem e = {.s = {a.slot[0][r]}, .slots = 1};
        double sum = 0;

        rule_sums(&a, r * length, length, k, 0, 0, &sum);
        e = row(e, (real)(sum / (double)length), k);
        rule_row(&a, r * length, length, e, k);
        a.new_slot[0][r] = e.s[0];
    }
}

static void rule_update(const struct kv_optim_args *a)
{
    struct rule_step s;

    memcpy(&s, a->step, sizeof s);
    RULE_EACH_ROW(a, s.k);
}
