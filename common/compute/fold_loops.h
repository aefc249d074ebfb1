/* fold_loops - the inner loop of a sum, for the type before this #include.
 * Deliberately without an include guard: it is a template, once for each
 * FOLD_NAME, FOLD_TYPE (what is added) and FOLD_ANY (the same where it lies, at
 * any address). Defines kv_fold_NAME(). */

#define FOLD_PASTE_(a, b) a##b
#define FOLD_PASTE(a, b) FOLD_PASTE_(a, b)
#define FOLD_N FOLD_PASTE(fold_n_, FOLD_NAME)
#define FOLD FOLD_PASTE(kv_fold_, FOLD_NAME)

/* `n` is a constant wherever this is called, so each `if` is decided then. */
KV_TEMPLATE void FOLD_N(void *to, const void *const *inputs, size_t n,
                        size_t count)
{
    FOLD_ANY *out = to;
    const FOLD_ANY *a = inputs[0], *b = n > 1 ? inputs[1] : a;
    const FOLD_ANY *c = n > 2 ? inputs[2] : a, *d = n > 3 ? inputs[3] : a;
    const FOLD_ANY *e = n > 4 ? inputs[4] : a, *f = n > 5 ? inputs[5] : a;
    const FOLD_ANY *g = n > 6 ? inputs[6] : a, *h = n > 7 ? inputs[7] : a;

    KV_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        FOLD_TYPE sum = a[i];

        sum = n > 1 ? (FOLD_TYPE)(sum + b[i]) : sum;
        sum = n > 2 ? (FOLD_TYPE)(sum + c[i]) : sum;
        sum = n > 3 ? (FOLD_TYPE)(sum + d[i]) : sum;
        sum = n > 4 ? (FOLD_TYPE)(sum + e[i]) : sum;
        sum = n > 5 ? (FOLD_TYPE)(sum + f[i]) : sum;
        sum = n > 6 ? (FOLD_TYPE)(sum + g[i]) : sum;
        sum = n > 7 ? (FOLD_TYPE)(sum + h[i]) : sum;
        out[i] = sum;
    }
}

KV_CLONES static void FOLD(void *out, const void *const *inputs, size_t n,
                           size_t count)
{
    switch (n) {
    case 1:
        FOLD_N(out, inputs, 1, count);
        break;
    case 2:
        FOLD_N(out, inputs, 2, count);
        break;
    case 3:
        FOLD_N(out, inputs, 3, count);
        break;
    case 4:
        FOLD_N(out, inputs, 4, count);
        break;
    case 5:
        FOLD_N(out, inputs, 5, count);
        break;
    case 6:
        FOLD_N(out, inputs, 6, count);
        break;
    case 7:
        FOLD_N(out, inputs, 7, count);
        break;
    default:
        FOLD_N(out, inputs, 8, count);
    }
}

#undef FOLD
#undef FOLD_N
#undef FOLD_PASTE
#undef FOLD_PASTE_
#undef FOLD_ANY
#undef FOLD_TYPE
#undef FOLD_NAME
