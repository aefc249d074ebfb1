/**
 * denormals - do not let tiny numbers slow a thread down.
 *
 * Gradients that fade out leave subnormal moments behind, and those make an
 * update several times slower on x86. Every thread that sums or updates calls
 * this once at its start; results then agree between threads, and later with
 * GPUs, which flush the same way.
 *
 * Thread:  sets the mode of the calling one, for good.
 */
#ifndef KV_COMMON_COMPUTE_DENORMALS_H
#define KV_COMMON_COMPUTE_DENORMALS_H

/* Subnormal f32 and f64 operands and results count as zero from now on. */
void kv_flush_denormals(void);

#endif
