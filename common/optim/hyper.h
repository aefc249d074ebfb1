/**
 * hyper - numbers of an optimizer that change while training, by rounds.
 *
 * A list says which number has which value from which round on:
 *
 *     round 0    "momentum" 0.8       from the beginning
 *     round 100  "learning_rate" 0.01
 *     round 200  "learning_rate" 0.001
 *
 * A round has what the list says last at or before it, so changes for stated
 * rounds may come in any order. One of round 0 replaces all there is of its
 * name. What is said twice is there once.
 *
 * Names are those that kv_optim_set() changes, and lr_mult and wd_mult, which
 * multiply learning rate and weight decay; they are 1 unless a list says so.
 *
 * Thread:  pure.
 * Memory:  borrows. A list is an array of the caller's, in order of rounds;
 *          plain data, which may be kept in a file.
 */
#ifndef KV_COMMON_OPTIM_HYPER_H
#define KV_COMMON_OPTIM_HYPER_H

#include "common/optim/optim.h"

#define KV_HYPER_NAME_MAX 23

#define KV_HYPER_ALL_MAX 256 /* Changes in a list for all keys... */
#define KV_HYPER_OWN_MAX 16  /* ...and in one key's own. */

struct kv_hyper {
    uint64_t round; /* The first that has it; 0: all. */
    double value;
    char name[KV_HYPER_NAME_MAX + 1]; /* Filled up with zeros. */
};

/* Can the number be given to that spec, which keeps all its state? Then *out
 * is the change, by its full name. KV_EINVAL with a sentence. */
KV_MUST_CHECK enum kv_status kv_hyper_make(const struct kv_optim_spec *spec,
                                           const char *name, double value,
                                           uint64_t round, struct kv_hyper *out,
                                           char *error, size_t error_size);

/* Does the list say exactly this? */
bool kv_hyper_has(const struct kv_hyper *list, size_t count,
                  const struct kv_hyper *h);

/* Is there room for it in a list of at most `max`? */
bool kv_hyper_fits(const struct kv_hyper *list, size_t count, size_t max,
                   const struct kv_hyper *h);

/* Returns the new count; it fits. */
size_t kv_hyper_put(struct kv_hyper *list, size_t count,
                    const struct kv_hyper *h);

/* Leave out what no round from `next` on has. Returns the new count. */
size_t kv_hyper_forget(struct kv_hyper *list, size_t count, uint64_t next);

/* Give a spec and its multipliers what this round has. Returns the next round
 * that has something else; UINT64_MAX if there is none. */
uint64_t kv_hyper_apply(const struct kv_hyper *list, size_t count,
                        uint64_t round, struct kv_optim_spec *spec,
                        struct kv_optim_scale *scale);

/* Are there multipliers alone? */
bool kv_hyper_only_scales(const struct kv_hyper *list, size_t count);

#endif
