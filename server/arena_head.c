#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "common/base/check.h"
#include "common/base/log.h"
#include "server/arena_private.h"

#define ARENA_MAGIC UINT64_C(0x316172656e61766b) /* "kvarena1" */

static const char *build_id(void)
{
#if defined(__AVX512F__)
    return "compiler " __VERSION__ ", avx512";
#elif defined(__AVX2__)
    return "compiler " __VERSION__ ", avx2";
#else
    return "compiler " __VERSION__ ", baseline";
#endif
}

void arena_head_fill(struct arena_head *h,
                     const struct arena_identity *identity)
{
    memset(h, 0, sizeof *h);
    h->format = ARENA_FORMAT;
    h->identity = *identity;
    h->used = ARENA_HEAD_SIZE;
    snprintf(h->build, sizeof h->build, "%s", build_id());
    while (h->id == 0) {
        KV_CHECK(getrandom(&h->id, sizeof h->id, 0) == sizeof h->id);
    }
    arena_store(&h->magic, ARENA_MAGIC);
}

enum kv_status arena_head_none(const struct arena_report *r)
{
    snprintf(r->text, r->size, "%s/%s is no arena", r->dir, r->name);
    return KV_EMISMATCH;
}

static enum kv_status differs(const struct arena_report *r, const char *what,
                              uint32_t theirs, uint32_t ours)
{
    snprintf(r->text, r->size,
             "%s/%s was written with %s %u, this server has %u; remove %s to "
             "start afresh",
             r->dir, r->name, what, theirs, ours, r->dir);
    return KV_EMISMATCH;
}

static enum kv_status check_identity(const struct arena_report *r,
                                     const struct arena_identity *theirs,
                                     const struct arena_identity *ours)
{
    if (memcmp(theirs->job, ours->job, sizeof ours->job) != 0) {
        snprintf(r->text, r->size,
                 "%s/%s belongs to another job; --new-job replaces it", r->dir,
                 r->name);
        return KV_ESTALE;
    }
    if (theirs->server != ours->server) {
        return differs(r, "server", theirs->server, ours->server);
    }
    if (theirs->shard != ours->shard) {
        return differs(r, "shard", theirs->shard, ours->shard);
    }
    if (theirs->shards != ours->shards) {
        return differs(r, "shards", theirs->shards, ours->shards);
    }
    if (theirs->workers != ours->workers) {
        return differs(r, "workers", theirs->workers, ours->workers);
    }
    return KV_OK;
}

enum kv_status arena_head_check(const struct arena_report *r,
                                const struct arena_config *config,
                                struct arena_head *h)
{
    enum kv_status status;

    if (h->magic != ARENA_MAGIC) {
        return arena_head_none(r);
    }
    if (h->format != ARENA_FORMAT) {
        return differs(r, "format", h->format, ARENA_FORMAT);
    }
    status = check_identity(r, &h->identity, &config->identity);
    if (status != KV_OK) {
        return status;
    }
    if (h->suspect != 0 && !config->trust_suspect) {
        snprintf(r->text, r->size,
                 "the process of %s/%s crashed by signal %llu and may have "
                 "damaged it; --trust-arena uses it all the same",
                 r->dir, r->name, (unsigned long long)h->suspect);
        return KV_EDATALOSS;
    }
    h->build[sizeof h->build - 1] = '\0';
    if (strcmp(h->build, build_id()) != 0) {
        log_warn("%s/%s was begun by another build (%s; this is %s): results "
                 "may differ in the last bit",
                 r->dir, r->name, h->build, build_id());
    }
    arena_store(&h->suspect, 0);
    return KV_OK;
}
