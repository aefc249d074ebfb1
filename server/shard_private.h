/**
 * shard_private - what the files of the shard share.
 *
 *   shard.c         made and freed; what ends with a session
 *   shard_push.c    pushes, and what is wrong with them
 *   shard_pull.c    the same for pulls
 *   shard_run.c     many small slices at a time
 *   shard_round.c   commit: sum, rule, one store, answers
 *   shard_update.c  what a round does to elements
 *   shard_share.c   what a rank has open: contributions and waiting pulls
 *   shard_rows.c    the same for row_sparse slices, which change by the row
 *   shard_table.c   such a slice and its contributions, row by row
 *   shard_norms.c   what must be known of a whole key before a commit
 *   shard_table_norms.c  the same for such a slice
 *   shard_slice.c   slices in the arena: creation, recovery
 *   shard_open.c    create, attach, wait for creation
 *   shard_drop.c    slices go
 *   shard_reset.c   a round that begins the value anew
 *   shard_skip.c    a round that is left out
 *   shard_optim.c   the optimizer's settings in the arena
 *   shard_hyper.c   numbers of it that change, for all keys or for one
 *   shard_tune.c    what is in force for a slice's next round
 *   shard_fence.c   policy and incarnations in the arena
 *   shard_members.c who is in a round
 *   shard_stall.c   who waits for whom
 *   shard_untangle.c  ranks that block each other
 */
#ifndef KV_SERVER_SHARD_PRIVATE_H
#define KV_SERVER_SHARD_PRIVATE_H

#include "common/base/list.h"
#include "common/base/map.h"
#include "server/shard.h"
#include "server/shard_arena.h"

/* --- In memory ------------------------------------------------------------ */

/* A pool buffer that many small contributions of one rank lie in. */
struct region {
    struct buffer *buffer; /* That it lies in itself. */
    size_t used;
    uint32_t live;    /* Contributions... */
    uint32_t counted; /* ...and those that are not waived. */
};

/* What one rank has open at one slice: a contribution to the open round, a
 * pull that waits, or both. Its flags do not stand side by side: read as one
 * word right after one of them was written, they would wait for all stores
 * before that one, which are a new value's. */
struct share {
    struct list_link among_open; /* Of its rank, by age; or among the ripe. */
    struct share *next;          /* Idle ones. */
    struct entry *entry;
    uint32_t rank;
    bool pushed;
    uint32_t wanted_count;
    bool pulls;
    bool kept; /* Pushed, and the bytes are counted as held. */
    bool ripe; /* Its pull could be answered, but its rank is full. */
    uint64_t pull_round;
    struct buffer *wanted; /* Owned: rows to pull, or NULL for all. */
    bool refused; /* Its last push; the pull behind that shares its fate. */
    uint64_t since_ms;
    /* When pushed: */
    bool rows;   /* Some rows; else the whole slice. */
    bool waived; /* Kept, and not counted as held: it is being measured. */
    const struct kv_codec *codec;
    const void *payload;
    size_t size;
    struct buffer *buffer; /* Owned; NULL: in `region`, or borrowed. */
    struct region *region; /* That the payload lies in, or NULL. */
};

/* A complete round that is being measured. */
struct measure {
    struct measure *next; /* Idle ones. */
    uint32_t pass;
    bool spoiled; /* A total is not finite. */
    double sums[KV_PASSES_MAX][KV_NORMS_MAX];
    unsigned char step[KV_OPTIM_STEP_MAX];
};

struct entry {
    struct slice_record *record; /* In the arena; NULL: the slot is free. */
    struct value *value;         /* In the arena; held. */
    struct share **shares;       /* By rank. */
    struct measure *measure;     /* NULL: none is under way. */
    struct state_shape shape;    /* Of all of it, or of a row. */
    size_t count;
    enum kv_dtype dtype;
    uint32_t row_length; /* 0 when dense. */
    uint32_t slices;     /* Of the key. */
    bool plain;
    bool reset; /* The open round is one, if it has any push. */
    uint32_t slot;
    uint32_t arrived; /* Shares that have pushed. */
    uint32_t waiting; /* Shares that pull. */
    uint32_t key_id, slice;
    struct own_block *own;   /* In the arena; NULL: there is none. */
    uint64_t first_round;    /* UINT64_MAX when free. */
    struct entry *next_free; /* Slots. */
};

struct rank {
    struct list open;  /* Shares, the oldest first. */
    struct list ripe;  /* Shares, in the order of their answers. */
    struct list opens; /* Waiting for a slice to be created. */
    size_t opens_count;
    size_t pushed_count;   /* Shares with a contribution that was kept. */
    size_t held;           /* Bytes of regions and buffers that count. */
    struct region *region; /* Where the next small one goes, or NULL. */
};

#define SHARD_CHUNK 256 /* Slices whose entries are allocated together. */

struct slot_chunk {
    struct entry entries[SHARD_CHUNK];
    struct share *shares[]; /* Workers times SHARD_CHUNK. */
};

/* A rule's step depends on the settings, the multipliers and the update count
 * only; slices mostly go in step, and there are few multipliers: keep the last
 * of each. */
struct step_cache {
    uint64_t updates; /* 0: none. */
    double lr_mult, wd_mult;
    unsigned char step[KV_OPTIM_STEP_MAX];
};

#define STEP_WAYS 64 /* The first is of keys without settings of their own. */

/* The settings in force: for all keys in these rounds, or for a key of its own
 * among them. */
struct tuning {
    uint64_t first, rounds;    /* None at first. */
    struct kv_optim_scale all; /* Of keys without settings of their own. */
    struct kv_optim_scale now;
    bool own;   /* `now` is a key's own... */
    bool alone; /* ...and shard.spec, too: nothing in a cache is right. */
    unsigned way;
};

/* Which round the blocked ranks make way for. */
struct tangle {
    uint64_t commits; /* Of the shard, when it was chosen. */
    uint32_t slot;
    uint32_t tries, patience;
};

/* Elements that are summed and updated at a time; or a row, if the rule needs
 * all of one and it is longer. */
#define SHARD_BLOCK KV_OPTIM_BLOCK

struct shard {
    struct arena *arena;     /* Borrowed. */
    struct bufpool *buffers; /* Borrowed. */
    struct shard_events events;
    const struct policy *policy; /* NULL until the first worker came. */
    uint32_t workers, members;
    uint32_t slots;     /* Used so far; some may be free again. */
    struct entry *free; /* Slots. */

    struct slot_chunk **chunks;
    size_t chunk_count, chunk_capacity;
    struct map slices;  /* key_id << 32 | slice -> entry. */
    struct map awaited; /* The same -> struct awaited. */
    struct rank *ranks;
    struct share *idle_shares;
    struct measure *idle_measures;
    uint32_t measures; /* Under way. */
    struct share_slab *share_slabs;
    struct fence_block *fence;

    struct spec_block *spec_block;         /* NULL: no optimizer. */
    struct kv_optim_spec base;             /* As it was set. */
    struct kv_optim_spec spec;             /* In force; see shard_tune(). */
    uint64_t generation;                   /* 0: no optimizer. */
    struct state_form forms[KV_DTYPE_END]; /* Under it, by dtype. */
    struct tuning tuning;
    struct step_cache cache[STEP_WAYS];
    unsigned char own_step[KV_OPTIM_STEP_MAX];
    struct tangle tangle;

    bool spoiled;        /* What is being committed: a sum is not finite. */
    uint32_t alone;      /* Who pushed that, if there is no share of it. */
    uint64_t commits;    /* And rounds measured: what has gone on. */
    uint64_t now_ms;     /* As last told. */
    const void **inputs; /* Of the round being committed. */
    const struct kv_codec **codecs;
    struct row_reader *readers; /* As many as ranks; shard_table.c. */
    uint32_t *missing;
    char text[KV_TEXT_MAX + 1];           /* Of the error being reported. */
    void *gradient, *weight, *new_weight; /* Each for a block, and the first
                                              for a KV_CODEC_GRAIN more. */
    size_t block;                         /* At least SHARD_BLOCK. */
    uint64_t sum[SHARD_BLOCK];            /* Of what is not summed in f32. */
};

/* NULL: no slot. It may be free. */
static inline struct entry *shard_entry(const struct shard *s, uint32_t slot)
{
    return slot >= s->slots
               ? NULL
               : &s->chunks[slot / SHARD_CHUNK]->entries[slot % SHARD_CHUNK];
}

/* What values of this dtype carry under the optimizer in force. */
static inline struct state_form shard_form(const struct shard *s,
                                           enum kv_dtype dtype)
{
    return s->forms[dtype];
}

/* The first slice that is there from slot *slot on, and *slot behind it; NULL:
 * there is none. */
static inline struct entry *shard_each(const struct shard *s, uint32_t *slot)
{
    struct entry *e;

    while ((e = shard_entry(s, *slot)) != NULL) {
        ++*slot;
        if (e->record != NULL) {
            return e;
        }
    }
    return NULL;
}

/* For who speaks of a round: NULL, too, when that was one of a slice
 * that is gone. */
static inline struct entry *shard_entry_of(const struct shard *s, uint32_t slot,
                                           uint64_t round)
{
    struct entry *e = shard_entry(s, slot);

    return e != NULL && round >= e->first_round ? e : NULL;
}

/* Committed, since it is there. */
static inline uint64_t shard_rounds(const struct entry *e)
{
    return message_rounds(e->value->round);
}

static inline struct policy_view shard_view(const struct shard *s,
                                            const struct entry *e)
{
    struct policy_view v = {e->value->round,
                            s->policy->per_rank ? e->value->seq : NULL,
                            s->members, e->arrived};

    return v;
}

static inline bool shard_has_left(const struct shard *s, uint32_t rank)
{
    uint64_t left = s->fence->rank[rank].left;

    return left != 0 && left == s->fence->rank[rank].incarnation + 1;
}

/* With s->text when that is an error. */
void shard_answer_push(struct shard *s, uint32_t rank, uint32_t slot,
                       uint64_t round, enum kv_status status);

/* With all rows, or the `count` of them at `wanted`. */
void shard_answer_pull(struct shard *s, uint32_t rank, const struct entry *e,
                       uint64_t round, const void *wanted, uint32_t count);

void shard_refuse_pull(struct shard *s, uint32_t rank, uint32_t slot,
                       uint64_t round, enum kv_status status);

/* Each puts its sentence into s->text and returns the status. */
__attribute__((format(printf, 3, 4))) enum kv_status
shard_refuse(struct shard *s, enum kv_status status, const char *format, ...);
enum kv_status shard_no_memory(struct shard *s);
enum kv_status shard_no_slot(struct shard *s, uint32_t rank, uint32_t slot,
                             const char *verb);

/* --- shard_slice.c -------------------------------------------------------- */

struct state_shape shard_shape(enum kv_dtype dtype, size_t count,
                               size_t row_length, size_t width);
void *shard_weights(const struct value *v);
size_t shard_value_size(const struct shard *s, const struct state_shape *p);

/* Of the value block as it is. */
size_t shard_block_bytes(const struct entry *e);

/* A value that nothing has happened to yet; NULL: no room. */
struct value *shard_first(struct shard *s, const struct slice_desc *desc,
                          const void *weights);

/* KV_ENOMEM or KV_ENOSPC: nothing changed. */
KV_MUST_CHECK enum kv_status shard_create(struct shard *s,
                                          const struct slice_desc *desc,
                                          const void *value,
                                          struct entry **out);
KV_MUST_CHECK enum kv_status shard_recover(struct shard *s, char *error,
                                           size_t error_size);
void shard_free_slices(struct shard *s);

/* Nothing waits for it any more: its memory goes, and its slot is free. */
void shard_destroy(struct shard *s, struct entry *e);

static inline uint64_t shard_slice_key(uint32_t key_id, uint32_t slice)
{
    return (uint64_t)key_id << 32 | slice;
}

/* --- shard_share.c -------------------------------------------------------- */

/* The rank's share of the slice, made when there is none. NULL: no memory. */
struct share *shard_share(struct shard *s, struct entry *e, uint32_t rank);

/* Something in it waits from now on. */
void shard_share_open(struct shard *s, struct share *share);

/* The contribution will not be used at once: own its bytes. */
KV_MUST_CHECK enum kv_status shard_share_keep(struct shard *s,
                                              struct share *share);

/* Let go of the contribution, or of the pull; of the share when it was the
 * last thing in it. */
void shard_share_unpush(struct shard *s, struct share *share);
void shard_share_unpull(struct shard *s, struct share *share);

/* The pull can be answered: now, or when its rank is not full any more. */
void shard_share_answer(struct shard *s, struct share *share);
void shard_share_ripen(struct shard *s, struct share *share);

/* A contribution that was kept counts as held no more, and does again. */
void shard_share_waive(struct shard *s, struct share *share);
void shard_share_claim(struct shard *s, struct share *share);

/* A push was refused: its worker has given up the pull behind it, which may
 * be here or still come. Until the next push, or the end of the session. */
void shard_share_refuse(struct shard *s, struct entry *e, uint32_t rank);
void shard_share_pardon(struct shard *s, struct share *share);

/* It may be that nothing is in it. */
void shard_share_tidy(struct shard *s, struct share *share);

void shard_free_shares(struct shard *s);

/* --- shard_update.c ------------------------------------------------------- */

/* Weights with their state, before and after an update. */
struct shard_change {
    const struct state_shape *shape;
    struct state_form form; /* After it; before it, too, unless... */
    bool fresh;             /* ...what state there is counts as none. */
    const void *old;
    void *new;
};

/* Is the slice of a dtype that the rule works on, and of whole rows if it needs
 * them? */
static inline bool shard_trains(const struct kv_optim *optim,
                                const struct entry *e)
{
    return kv_optim_takes(optim, e->dtype) &&
           (!optim->rows || e->shape.width > 0);
}

/* Room for blocks of so many elements. False: there is no memory. */
bool shard_reserve(struct shard *s, size_t count);

/* How many elements from `first` on are updated next. */
size_t shard_block_size(const struct shard_change *c, size_t first);

/* The sum of the first n inputs, of elements from `first` on: floats, or
 * doubles of an f64 slice; zeros when there are none. Until the next call. */
const void *shard_gradient(struct shard *s, enum kv_dtype dtype, size_t n,
                           size_t first, size_t count);

/* Set weight and slots in args, from element `first` on: args->count, a block
 * or less. */
void shard_before(struct shard *s, const struct shard_change *c, size_t first,
                  struct kv_optim_args *args);

/* The rule on these args, to the same elements of the new. */
void shard_after(struct shard *s, const struct shard_change *c, size_t first,
                 struct kv_optim_args *args);

/* The same weights, and state from before the first update. */
void shard_fill(const struct shard_change *c);

/* Of what no rule computes: the sum of n > 0 inputs becomes the value, or is
 * added to it when there is an optimizer, which is then one that only adds. */
void shard_sum(struct shard *s, enum kv_dtype dtype, size_t n, size_t count,
               const void *old, void *new);

/* --- shard_drop.c, shard_open.c ------------------------------------------- */

/* The last deletion that this shard has heard of. */
uint64_t shard_deletions(const struct shard *s);

/* Nobody will create this slice. */
void shard_end_waiting(struct shard *s, uint64_t key);

/* --- shard_table_norms.c -------------------------------------------------- */

/* All of a table, in the pass that is under way. */
void shard_table_measure(struct shard *s, const struct entry *e);

/* --- shard_table.c -------------------------------------------------------- */

/* Room to read so many contributions at a time; NULL when out of memory. */
struct row_reader *shard_rows_readers(uint32_t count);

/* Is this a list of the slice's rows, ascending? */
bool shard_rows_valid(const struct entry *e, const void *rows, uint32_t count);

/* The rows of a contribution that is one of rows: KV_EINVAL if it is none. */
KV_MUST_CHECK enum kv_status shard_rows_check(const struct entry *e,
                                              const struct kv_codec *codec,
                                              const void *payload, size_t size);

/* --- shard_rows.c --------------------------------------------------------- */

size_t shard_row_size(const struct entry *e); /* Bytes of its weights. */

/* The block of all rows, from a value of the whole slice. NULL: no room. */
void *shard_rows_make(struct shard *s, const struct slice_desc *desc,
                      const void *weights);

/* KV_ENOSPC: nothing has changed. */
KV_MUST_CHECK enum kv_status shard_rows_commit(struct shard *s,
                                               struct entry *e);

/* Copy what the live value has changed into place. */
void shard_rows_redo(struct shard *s, const struct entry *e);

/* The weights of all rows, or of those wanted, one behind the other. */
void shard_rows_read(struct shard *s, const struct entry *e, const void *wanted,
                     uint32_t count, void *out);

/* --- shard_members.c ------------------------------------------------------ */

/* Somebody has left, or is back. */
void shard_count_members(struct shard *s);

#endif
