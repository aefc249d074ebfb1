/* What the tests of settings share: one table with every type in it. */
#ifndef KV_TESTS_UNIT_SETTINGS_FIXTURE_H
#define KV_TESTS_UNIT_SETTINGS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/settings.h"

struct config {
    char bind[16];
    uint64_t shard_count;
    bool quiet;
    uint64_t slice_bytes;
    double rate;
    int policy;
};

static const char *const policies[] = {"sync", "async", NULL};

#define OPTIONS "bind, shard-count, quiet, slice-bytes, rate, policy"

static const struct setting table[] = {
    {.name = "bind",
     .type = SETTING_STRING,
     .where = offsetof(struct config, bind),
     .max = 15,
     .fallback = "127.0.0.1",
     .meta = "ADDRESS",
     .help = "address to listen on"},
    {.name = "shard-count",
     .type = SETTING_U64,
     .where = offsetof(struct config, shard_count),
     .min = 1,
     .max = 64,
     .fallback = "2",
     .meta = "N",
     .help = "threads that own keys"},
    {.name = "quiet",
     .type = SETTING_BOOL,
     .where = offsetof(struct config, quiet),
     .fallback = "no",
     .help = "say less"},
    {.name = "slice-bytes",
     .type = SETTING_SIZE,
     .where = offsetof(struct config, slice_bytes),
     .min = 4096,
     .max = 1 << 30,
     .fallback = "512K",
     .meta = "SIZE",
     .help = "unit of transfer"},
    {.name = "rate",
     .type = SETTING_DOUBLE,
     .where = offsetof(struct config, rate),
     .fallback = "0.1",
     .meta = "X",
     .help = "how fast"},
    {.name = "policy",
     .type = SETTING_ENUM,
     .where = offsetof(struct config, policy),
     .words = policies,
     .fallback = "sync",
     .meta = "NAME",
     .help = "when a round ends"},
    {0},
};

struct fixture {
    struct config config;
    struct settings_error error;
};

static int set_up(void **state)
{
    static struct fixture f;

    f = (struct fixture){0};
    settings_defaults(table, &f.config);
    *state = &f;
    return 0;
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

#endif
