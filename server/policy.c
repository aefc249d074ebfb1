#include "server/policy.h"

#define X(name) extern const struct policy policy_##name;
#include "policies.inc"
#undef X

#define X(name) &policy_##name,
static const struct policy *const policies[] = {
#include "policies.inc"
    NULL,
};
#undef X

const struct policy *policy_by_id(uint32_t id)
{
    for (size_t i = 0; policies[i] != NULL; i++) {
        if (policies[i]->id == id) {
            return policies[i];
        }
    }
    return NULL;
}

const struct policy *policy_at(size_t i)
{
    return i < sizeof policies / sizeof policies[0] ? policies[i] : NULL;
}
