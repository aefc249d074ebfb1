/**
 * local_hyper - the rule of a local store: set, changed, in force.
 *
 * Thread:  the lane's.
 * Memory:  borrows; what a key has of its own belongs to its value.
 * Result:  errors come with a sentence in `text`, of KV_OPTIM_ERROR_MAX bytes.
 */
#ifndef KV_WORKER_LOCAL_HYPER_H
#define KV_WORKER_LOCAL_HYPER_H

#include "common/base/roll.h"
#include "worker/local_value.h"

/* The same optimizer with the same settings changes nothing. On `keys` are all
 * there are. */
void local_rule_optimizer(struct local_rule *rule, const struct roll *keys,
                          const struct kv_optim_spec *spec);
void local_rule_updater(struct local_rule *rule, const struct roll *keys,
                        kvw_updater_fn updater, void *arg);

/* As kvw_set_hyper(), of a key or, with NULL, of all. */
KV_MUST_CHECK enum kv_status
local_hyper(struct local_rule *rule, const struct roll *keys,
            const struct key *key, const struct kvw_hyper *change, char *text);

/* rule->spec and rule->scale are what the value's next push is to have. */
void local_tune(struct local_rule *rule, const struct local_value *v);

#endif
