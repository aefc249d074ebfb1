/* optim_private - between optim_settings.c, which reads and writes settings,
 * and optim_common.c, which knows those that all optimizers have. */
#ifndef KV_COMMON_OPTIM_OPTIM_PRIVATE_H
#define KV_COMMON_OPTIM_OPTIM_PRIVATE_H

#include "common/optim/optim.h"

#define OPTIM_LIST_MAX 320 /* Bytes of a list of names in a sentence. */

/* Where a sentence goes that says why not. */
struct sentence {
    char *text;
    size_t size;
};

/* Returns KV_EINVAL. */
__attribute__((format(printf, 2, 3))) enum kv_status
optim_refuse(struct sentence why, const char *format, ...);

/* To a list of OPTIM_LIST_MAX bytes. */
void optim_add_name(char *list, const char *name);

/* A number that all optimizers have, or all with a certain lr_scheduler. */
struct optim_common {
    struct kv_optim_param param;
    size_t where;       /* Of a double, in struct kv_optim_spec. */
    unsigned schedules; /* Bits: of each enum kv_schedule_kind that has it. */
    bool whole;         /* No fractions. */
};

extern const struct optim_common optim_commons[]; /* Ends with a NULL name. */

/* By enum kv_nonfinite; then NULL. */
extern const char *const optim_nonfinites[];

/* By enum kv_schedule_kind; then NULL. */
extern const char *const optim_schedulers[];

const struct optim_common *optim_common_find(const char *name);
double optim_common_get(const struct kv_optim_spec *spec,
                        const struct optim_common *c);
void optim_common_put(struct kv_optim_spec *spec, const struct optim_common *c,
                      double value);

/* Does this spec have it, with its lr_scheduler? */
bool optim_common_belongs(const struct kv_optim_spec *spec,
                          const struct optim_common *c);
enum kv_status optim_common_refuse(const struct kv_optim_spec *spec,
                                   const char *param, struct sentence why);

/* Its range, which a rule may narrow. */
struct kv_optim_param optim_common_param(const struct kv_optim *optim,
                                         const struct optim_common *c);

/* For a list: what every optimizer has. */
void optim_common_names(char *list);

enum kv_status optim_choose_scheduler(struct kv_optim_spec *spec,
                                      const char *name, struct sentence why);
enum kv_status optim_choose_warmup(struct kv_optim_spec *spec, const char *mode,
                                   struct sentence why);
enum kv_status optim_choose_nonfinite(struct kv_optim_spec *spec,
                                      const char *word, struct sentence why);

/* What no number alone can get wrong. */
enum kv_status optim_check_schedule(const struct kv_optim_spec *spec,
                                    struct sentence why);

#endif
