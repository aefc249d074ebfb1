/* signsgd - signum whose momentum is 0 unless asked for; see signum.c. */
#define RULE_NAME signsgd
#define SIGNUM_MOMENTUM 0

#include "common/optim/rules/signum.c"
