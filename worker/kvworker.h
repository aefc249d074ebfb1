/**
 * kvworker - the library by which a training process uses kvstored.
 *
 * A job has `num_workers` processes, each with a rank. Their parameters live
 * on kvstored servers under keys. A worker pushes gradients and pulls values;
 * the servers sum what the workers push and, when an optimizer is set, apply
 * it to the stored value. A store of kind "local" does the same for one process
 * by itself, without servers.
 *
 *     struct kvw *kv;
 *     if (kvw_open(&kv, "dist_sync", NULL) != KVW_OK) {
 *         fprintf(stderr, "%s\n", kvw_error(NULL));
 *         return 1;
 *     }
 *     struct kvw_tensor w = kvw_f32(weights, count);
 *     struct kvw_tensor g = kvw_f32(gradient, count);
 *     kvw_init(kv, &(struct kvw_item){kvw_int(0), &w, 1}, 1);
 *     kvw_set_optimizer(kv, "sgd", "learning_rate=0.1,momentum=0.9");
 *     for (...) {
 *         compute(gradient, weights);
 *         kvw_push(kv, &(struct kvw_item){kvw_int(0), &g, 1}, 1, NULL, NULL);
 *         kvw_pull(kv, &(struct kvw_item){kvw_int(0), &w, 1}, 1, NULL, NULL);
 *         kvw_wait_all(kv, KVW_FOREVER);
 *     }
 *     kvw_close(kv);
 *
 * Link with `pkg-config --cflags --libs kvworker`.
 *
 * Words. *Keeps*: the caller leaves the memory alone until the operation is
 * done. *Borrows*: only during the call. An operation is done when kvw_wait()
 * or its like says so, or its callback runs.
 *
 * Errors. Every function returns KVW_OK (0) or a negative enum kvw_status, and
 * kvw_error() then has a sentence that names key, rank, server and values. A
 * call that fails has changed nothing. The library never exits, aborts on bad
 * input, or installs signal handlers.
 *
 * Faults. A server that is gone is reconnected to for ever, with a line on
 * stderr every few seconds that names it; what it had not acknowledged is sent
 * again, and applied exactly once. Whoever wants a deadline passes one to the
 * kvw_wait functions.
 *
 * Threads. Every function may be called from any thread. Operations on one key
 * by one thread take effect in call order; operations on different keys in
 * order of priority. After fork() the child may not use the store: its calls
 * return KVW_EINVAL.
 */
#ifndef KVWORKER_H
#define KVWORKER_H

#include <stddef.h>
#include <stdint.h>

#include "kvworker_types.h" /* Keys and tensors. */

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

#define KVW_API_VERSION 1

/* Values are stable; new ones may be added. kvw_strstatus() has the texts. */
enum kvw_status {
    KVW_OK = 0,
    KVW_ENOMEM = -1,
    KVW_EINVAL = -2,
    KVW_EPROTO = -3,
    KVW_ETOOBIG = -4,
    KVW_ECONN = -5,
    KVW_ETIMEOUT = -6, /* Deadline passed; the operation goes on. */
    KVW_ECANCELED = -7,
    KVW_ENOTFOUND = -8,
    KVW_EDEVICE = -9,
    KVW_EEXIST = -10,
    KVW_EMISMATCH = -11, /* Differs from what another rank registered. */
    KVW_EAUTH = -12,
    KVW_ESTALE = -13,
    KVW_ENOSPC = -14,
    KVW_EAGAIN = -15,
    KVW_EDATALOSS = -16,
    KVW_ENOTSUP = -17,
    KVW_EBUSY = -18,
    KVW_ENONFINITE = -19 /* A gradient was; see kvw_set_optimizer(). */
};

/* A short text for a status; never NULL. */
const char *kvw_strstatus(int status);

/* The sentence that belongs to the last error of the calling thread on this
 * store, or, with NULL, to its last failed kvw_open(); "" if there was none.
 * Valid until the thread's next call into the library. */
struct kvw;
const char *kvw_error(const struct kvw *kv);

/* --- Store --------------------------------------------------------------- */

/* Open a store and join the job. Blocks until all servers are there and the
 * root has given the rank, at most `timeout` (an option, default 60 s:
 * KVW_ETIMEOUT).
 *
 * kind, in upper or lower case:
 *
 *   local              one process, its own memory; no server, rank 0 of 1
 *   dist_sync          a round of a key ends when every worker has pushed it
 *                      that has not left; same bits every time
 *   dist_async         every push is applied at once
 *   dist_device_sync   as without "device", but a worker's tensors are summed
 *   dist_device_async  on their devices; in host memory that is the same
 *   device, nccl       need a GPU: KVW_EDEVICE in this build
 *
 * MXNet's other names are known, too: dist, dist_device, dist_sync_device,
 * dist_async_device, local_update_cpu, local_allreduce_cpu,
 * local_allreduce_device. Any other is refused with the list of those known.
 *
 * options: "name=value,..." or NULL; borrowed. Each may also come from the
 * environment (kvlaunch sets what is needed); options win.
 *
 *   option      environment      meaning
 *   root        KV_ROOT          host:port of server 0 (127.0.0.1:9091);
 *                                also DMLC_PS_ROOT_URI + DMLC_PS_ROOT_PORT
 *   rank        KV_RANK          this worker's rank (given by the root); also
 *                                DMLC_WORKER_ID, DMLC_RANK
 *   workers     KV_WORKERS       checked against the servers' number; also
 *                                DMLC_NUM_WORKER
 *   job         KV_JOB           32 hex digits (all zero)
 *   key_file    KV_KEY_FILE      file of 32 bytes that proves membership
 *   incarnation KV_INCARNATION   the n-th life of this rank (from the clock)
 *   timeout     KV_TIMEOUT       seconds to wait for the job to assemble
 *   threads     KV_THREADS       of a local store, that sum and update: 1 to 64
 *                                (the processors there are, at most 4)
 *   compression KV_COMPRESSION   as kvw_set_gradient_compression()
 *   log         KV_LOG           error, warn, info, debug (warn) on stderr;
 *                                also PS_VERBOSE: 1 is info, 2 is debug
 *
 * Errors: KVW_EINVAL bad kind or option, KVW_EDEVICE what the kind needs is
 * missing, KVW_ENOTSUP compression of a local store, KVW_EAUTH wrong key,
 * KVW_ESTALE other job or a newer life of this rank exists, KVW_EMISMATCH
 * another kind or number of workers than the job's, KVW_ETIMEOUT, KVW_ENOMEM,
 * KVW_EAGAIN no thread can be started. */
int kvw_open(struct kvw **kv, const char *kind, const char *options);

/* Wait until what was pushed is committed (at most 10 s), leave the rounds as
 * kvw_leave() does, so that others need not wait for who is done (at most 2 s;
 * not if something pushed is not committed), tell the root (at most 2 s), and
 * free everything. A worker that ends without this, because it crashed, is
 * waited for: its next life, which must give its rank, goes on. Takes kv; NULL
 * is allowed. No other thread may be in a call on this store, and it is not for
 * callbacks. Does nothing in the child of a fork(). */
void kvw_close(struct kvw *kv);

/* The kind as given to kvw_open(), in lower case; owned by the store. */
const char *kvw_type(const struct kvw *kv);
int kvw_rank(const struct kvw *kv);
int kvw_num_workers(const struct kvw *kv);
int kvw_num_servers(const struct kvw *kv); /* 0 for a local store. */

/* 1: the store can apply an optimizer ("optimizer"; all kinds can). KVW_EINVAL:
 * nobody knows that capability. */
int kvw_is_capable(const struct kvw *kv, const char *capability);

/* How many of a group of nodes have not been heard of for timeout_s. node_id as
 * in MXNet: 1 the root, 2 servers, 4 workers, or their sum; 8 + 2 * index one
 * server, 9 + 2 * rank one worker. The root, which is server 0, answers for
 * all: whoever has been silent that long is asked, and has a second to answer;
 * one that has not come yet is silent since the root started. A worker that has
 * closed is not dead. timeout_s 0, or a local store: 0. Waits at most 5 s for
 * the root, which is dead itself if it does not answer: 1 for node_id 1, for
 * others KVW_ETIMEOUT. Also KVW_EINVAL no such node, KVW_EBUSY in a callback.
 */
int kvw_num_dead_node(struct kvw *kv, int node_id, int timeout_s);

/* Whether kvw_close() waits for the other workers to come to it, too, as in
 * kvw_barrier() but at most for the option `timeout`, and then leaves with a
 * warning. 0 (the default) or not: servers outlive workers here. */
int kvw_set_barrier_before_exit(struct kvw *kv, int barrier);

/* --- Operations ---------------------------------------------------------- */

#define KVW_FOREVER (-1)

struct kvw_op;

/* Runs once, on the library's thread, when the operation is done; `error` is
 * "" or the sentence, borrowed. It may start operations, and must not block or
 * call anything that waits (KVW_EBUSY). */
typedef void (*kvw_done_fn)(void *arg, int status, const char *error);

#define KVW_COPY 1u          /* Copy what is pushed: it is free at return. */
#define KVW_IGNORE_SPARSE 2u /* Leave out row_sparse tensors to pull into. */

/* How to run an operation; NULL stands for all zero. */
struct kvw_call {
    int priority; /* Higher first, slice by slice; MXNet users pass -index. */
    uint32_t flags;
    kvw_done_fn done;
    void *arg;
};

/* Register keys and give them their first values. Every worker calls it for
 * every key it uses, in any order; rank 0's values are stored, others' only
 * checked for dtype and shape. Returns when the keys can be pushed and pulled.
 * A key that the job already has (this worker was restarted) keeps its value.
 * If its life before ended within a push of a key of several slices, some may
 * have it and others not. Under dist_sync the next push of the key belongs to
 * that round: slices that have it ignore what comes, and a warning says so (and
 * of how many rounds, if several pushes were under way). So do that push again.
 * kvw_reset() reaches all slices all the same. Under dist_async each slice gets
 * each push of the new life.
 * Of several tensors the first one counts. When the call fails, none of its
 * keys is registered here; calling it again is fine.
 * Errors: KVW_EEXIST this process has registered the key before, KVW_EMISMATCH
 * dtype or shape differ from rank 0's (both are named), KVW_EINVAL a key stands
 * twice, or integers and strings would be keys of one store, KVW_ENOSPC. */
int kvw_init(struct kvw *kv, const struct kvw_item *items, size_t count);

/* Add this worker's gradients: each item's tensors are summed, left to right,
 * and sent; the operation is done when the servers have committed them. A key
 * may stand in a call once.
 *
 * dist_sync: once every worker has pushed the key, the sum over the ranks, in
 * rank order, goes to the optimizer, or without one becomes the value. A second
 * push of a key before that belongs to the next round.
 * dist_async: applied at once; needs an optimizer.
 * local: the sum of the tensors goes to the optimizer or the updater, or
 * without either becomes the value.
 *
 * Keeps the tensors' data until done (unless KVW_COPY). The arrays of items and
 * tensors are borrowed. `op`, when not NULL, gets a handle for kvw_wait().
 * Errors at once: KVW_EINVAL, KVW_ENOMEM, KVW_EBUSY (too many operations in
 * flight, from a callback only; otherwise the call blocks for room). Errors
 * when waiting: KVW_ENOTFOUND key not registered, KVW_EMISMATCH dtype or shape
 * differ, KVW_EINVAL a key stands twice, KVW_EDATALOSS a server has lost its
 * state, KVW_ESTALE a newer life of this rank has taken over, KVW_ECANCELED the
 * store was closed, KVW_ENOTSUP the optimizer does not train the key's dtype,
 * and what the server says. Nothing is sent or changed unless all keys of the
 * call are right, as far as this worker can know; what only a server can (the
 * optimizer and the key's dtype), it refuses for that key alone. */
int kvw_push(struct kvw *kv, const struct kvw_item *items, size_t count,
             const struct kvw_call *call, struct kvw_op **op);

/* Fetch values into each item's tensors (all get the same). Sees this worker's
 * own earlier pushes of that key: under dist_sync the value after the round of
 * the last one, the same on every worker. dtype and shape are the key's; rows[]
 * of a row_sparse tensor, ascending, says which rows. Keeps tensors' data. */
int kvw_pull(struct kvw *kv, const struct kvw_item *items, size_t count,
             const struct kvw_call *call, struct kvw_op **op);

/* Row numbers: any integer dtype, any order, any number of times. */
struct kvw_row_ids {
    const void *data; /* Borrowed; NULL is fine when count is 0. */
    enum kvw_dtype dtype;
    uint64_t count;
};

/* One key, and which of its rows go where. */
struct kvw_row_pull {
    struct kvw_key key;
    struct kvw_tensor *outs; /* Borrowed; their data and rows are kept. */
    uint32_t out_count;
    const struct kvw_row_ids *ids;
    uint32_t ids_count; /* 1: for all outs; else out_count. */
};

/* Fetch rows of row_sparse values. When it returns, each out's rows[] has the
 * numbers that its ids name, ascending and each once, and row_count how many;
 * when it is done, data has those rows. Before the call row_count says for how
 * many there is room. Sees this worker's own earlier pushes, as kvw_pull().
 * Errors at once: KVW_EINVAL a number that is no row of the table, no room in
 * an out, ids that are no integers; when waiting: KVW_EMISMATCH the key is
 * dense. */
int kvw_row_sparse_pull(struct kvw *kv, const struct kvw_row_pull *pulls,
                        size_t count, const struct kvw_call *call,
                        struct kvw_op **op);

/* kvw_push(items) then kvw_pull(outs) as one operation; `outs` NULL: into the
 * tensors of items. outs[i] belongs to items[i] and names the same key. */
int kvw_pushpull(struct kvw *kv, const struct kvw_item *items,
                 const struct kvw_item *outs, size_t count,
                 const struct kvw_call *call, struct kvw_op **op);

/* kvw_init(items), then wait for kvw_pull(outs); `outs` NULL: into items. If an
 * out has not its item's key, dtype and shape, nothing is registered. */
int kvw_broadcast(struct kvw *kv, const struct kvw_item *items,
                  const struct kvw_item *outs, size_t count);

/* Wait for one operation. The handle is gone afterwards, except after
 * KVW_ETIMEOUT: then the operation goes on and may be waited for again.
 * timeout_ms: KVW_FOREVER or how long. */
int kvw_wait(struct kvw *kv, struct kvw_op *op, int64_t timeout_ms);

/* Give the handle back without waiting; the operation goes on. */
void kvw_forget(struct kvw *kv, struct kvw_op *op);

/* Wait for everything that was started before on this key, or at all. Returns
 * the first error, of whatever key, among operations that had neither handle
 * nor callback since the last kvw_wait_all(). After KVW_ETIMEOUT kvw_error()
 * says what is waited for, as "key 'w' round 17: waiting for rank 3 (not
 * connected)"; before a wait is 1 s old, which server it is that waits. */
int kvw_wait_key(struct kvw *kv, struct kvw_key key, int64_t timeout_ms);
int kvw_wait_all(struct kvw *kv, int64_t timeout_ms);

/* Returns when all workers have called it. After KVW_ETIMEOUT this worker has
 * come, and its next call waits for the same barrier. */
int kvw_barrier(struct kvw *kv, int64_t timeout_ms);

/* --- Members of rounds --------------------------------------------------- */

/* dist_sync: leave the rounds, when this worker has fewer batches than others,
 * and come back. Every worker starts as a member.
 *
 * kvw_leave() waits for this worker's earlier pushes, then for the servers.
 * From the round after its last push on, rounds of every key, of keys yet to be
 * registered too, close without this worker; if all have left, nothing waits.
 * It may pull, and sees the newest committed value, whichever that is when the
 * server answers. It may register keys, set the optimizer and come to barriers;
 * an optimizer that it sets while others push begins in different rounds on
 * different slices of a key.
 * What it pushes fails with KVW_EINVAL. kvw_join() makes it a member again: its
 * next push of a slice belongs to the round of that slice that is open then.
 * Both again change nothing.
 *
 * Which rounds it is in does not depend on timing as long as no push of others
 * is under way when it joins. At the end of an epoch, on every worker,
 *
 *     ... last batch; kvw_leave(kv); kvw_barrier(kv, t);
 *                     kvw_join(kv);  kvw_barrier(kv, t);
 *
 * gives a job that has the same bits every time: rounds after a worker's last
 * batch are summed without it, in rank order as ever. Without the barriers,
 * what was committed before it joined is the same every time, and each later
 * sum is of whoever was a member; a key of several slices may get its first
 * push in different rounds, and norms of such a round (lars, lamb, lans) may
 * lack it.
 *
 * The servers remember: it holds through lost connections and restarts of
 * servers. A new life of the rank (a higher incarnation) starts as a member.
 * kvw_close() leaves. dist_async and local: nothing to leave; KVW_OK at once.
 * Errors: as of pushes when waiting; after one, calling again is fine. */
int kvw_leave(struct kvw *kv);
int kvw_join(struct kvw *kv);

/* --- The life of keys ----------------------------------------------------- */

struct kvw_key_info {
    struct kvw_key key; /* Its name is borrowed. */
    enum kvw_dtype dtype;
    uint32_t dims;
    uint64_t shape[KVW_DIMS_MAX];
    enum kvw_storage storage;
    uint32_t slices; /* Pieces it is cut into; 0 in a local store. */
};

typedef void (*kvw_key_fn)(void *arg, const struct kvw_key_info *info);

/* Call `fn` for every key of the job, in the order of registration, also for
 * those that this process has not registered. On the caller's thread, before
 * the return; `fn` may use the store. A key that comes or goes meanwhile may or
 * may not be told of; no other is missed or told of twice. KVW_EINVAL: no `fn`.
 */
int kvw_list_keys(struct kvw *kv, kvw_key_fn fn, void *arg);

/* How often the value has changed: rounds committed (dist_sync), or pushes
 * applied, of all workers (dist_async, local). It does not wait for pushes
 * under way: those of this worker that are done are counted, others may be. A
 * key of many slices, which are committed one by one, has the version of the
 * one that is behind. The count belongs to the key: it survives servers, and
 * begins with 0 when a deleted key is registered again.
 * KVW_ENOTFOUND: this process has not registered the key, or it was deleted;
 * KVW_EINVAL: no place for it. */
int kvw_get_version(struct kvw *kv, struct kvw_key key, uint64_t *version);

/* Give existing keys new values, and their optimizer state a fresh start. Every
 * worker calls it, as kvw_init(), and rank 0's values count; it returns when
 * they are there. Borrows the tensors. In its order it is a push: what this
 * worker pushed before is part of what is replaced, what it pulls later sees
 * the new value or what became of it, and the version goes on by one; by more
 * if lives before had pushed to some slices only (kvw_init()).
 *
 * dist_sync: it is the key's next round, of every worker. If some push a
 * gradient to that round instead, all who are in it get KVW_EMISMATCH, naming
 * key, round and two of the ranks, and may try again; the value stays.
 * dist_async: at once when rank 0 calls it; other workers' calls only check.
 * local: at once, behind earlier operations.
 * Errors: KVW_ENOTFOUND key not registered or deleted, KVW_EMISMATCH also when
 * dtype or shape are not the key's, KVW_EINVAL, KVW_ENOSPC. */
int kvw_reset(struct kvw *kv, const struct kvw_item *items, size_t count);

/* Remove keys from the job, with their values and optimizer state; one worker's
 * call is enough. When it returns, their memory on the servers is free, and
 * their names can be registered again, with any dtype and shape.
 *
 * It does not wait for pushes and pulls of these keys: what is under way, this
 * worker's too, is done or ends with KVW_ENOTFOUND; whoever wants to see it
 * done calls kvw_wait_key() first. (In a local store it is done first.) From
 * then on other workers' operations on the key end with KVW_ENOTFOUND, until
 * they register it again. A worker that has registered the key deletes that one
 * and no later one of its name: when it is gone already, that is success.
 * Errors: KVW_ENOTFOUND there is no such key in the job, KVW_EINVAL no keys, or
 * one stands twice. Then nothing was deleted. */
int kvw_delete(struct kvw *kv, const struct kvw_key *keys, size_t count);

/* --- Optimizer and compression ------------------------------------------- */

/* What the servers, or a local store, do with a sum. name and params as in
 * mx.optimizer, e.g. "sgd", "learning_rate=0.1,momentum=0.9,wd=1e-4" ("lr" for
 * short). "accumulate" adds the sum to the value as it is. Waits for
 * this worker's earlier pushes, then for the servers: in force from the next
 * round on. One worker is enough; the same from several changes nothing. A
 * different one starts with fresh state, from the values that are there. With
 * "multi_precision=1" f16 and bf16 values have an f32 master: updates too small
 * for them add up there, and the value is the master, rounded.
 *
 * A round whose sum has a NaN or an infinity, in any slice of a key (rows: in
 * those pushed to it), leaves that slice and its state as they were; with lars,
 * lamb and lans the whole key. "nonfinite=skip", the default, warns on every
 * rank that pushed to it and counts in kvw_stats.skipped. "nonfinite=error":
 * those pushes end with KVW_ENONFINITE, naming key, round and the lowest rank
 * whose own part was not finite; pulls behind them have the value as it is.
 * "nonfinite=allow": into the weights, as without an optimizer.
 *
 * Errors: KVW_EINVAL names what is unknown or out of range, and what is known;
 * KVW_EBUSY other ranks have pushed a key to the open round whose dtype it does
 * not train. */
int kvw_set_optimizer(struct kvw *kv, const char *name, const char *params);

/* Change one number, keeping all state: a parameter of the optimizer or of its
 * schedule ("lr", "warmup_steps"; "step" becomes a list of one), or "lr_mult"
 * or "wd_mult", by which learning rate and weight decay are multiplied. What
 * decides which state there is cannot change (momentum from or to 0).
 *
 * key: for it alone (borrowed), or NULL: for all, those to come included. What
 * a key has of its own goes before what all have, until it is set again or
 * another optimizer is set.
 *
 * round: in force from that round of a key on, the first push being 1, under
 * dist_async the n-th update of each slice; 0: from the next. Changes may be
 * announced in any order; each holds until the next one's round, and of two for
 * the same round the later call counts. 0 ends what was announced under the
 * same name for the same key, or for all. The same call again changes nothing.
 *
 * Waits for this worker's earlier pushes, then for the servers: under dist_sync
 * 0 is from this worker's next push on; a stated round is the same for all.
 *
 * Errors: KVW_EINVAL no optimizer, name, value, or the round is not ahead (the
 * sentence has both numbers), KVW_ENOTFOUND key not registered, KVW_ENOSPC more
 * than 256 changes for all, or 16 of a key's own, for rounds to come. */
int kvw_set_hyper(struct kvw *kv, const struct kvw_key *key, const char *name,
                  double value, uint64_t round);

/* Many at once, with one wait. Borrows. After an error some may be in force. */
struct kvw_hyper {
    const struct kvw_key *key;
    const char *name;
    double value;
    uint64_t round;
};
int kvw_set_hypers(struct kvw *kv, const struct kvw_hyper *list, size_t count);

/* What a local store does with a sum instead: changes `stored` by `received`,
 * in place. Both have the key's dtype and shape. `received` is row_sparse if
 * what was pushed is, with each row once, ascending. It may be the caller's own
 * tensor: read it only. Runs on the library's thread for each pushed key, one
 * at a time, with subnormal numbers counted as zero; as a callback it must not
 * block or call anything that waits. Key and tensors are borrowed. */
typedef void (*kvw_updater_fn)(void *arg, struct kvw_key key,
                               const struct kvw_tensor *received,
                               const struct kvw_tensor *stored);

/* Replaces an optimizer, and is replaced by one; NULL: back to the sum as the
 * value. Waits for earlier pushes. Keeps `arg` until the next one or
 * kvw_close(). KVW_ENOTSUP: the values of a dist store are on servers. */
int kvw_set_updater(struct kvw *kv, kvw_updater_fn fn, void *arg);

/* "type=none" or "type=fp16": how this worker's pushes of f32 travel. fp16
 * rounds to nearest even; sums stay in f32. KVW_ENOTSUP: in a local store
 * nothing travels. */
int kvw_set_gradient_compression(struct kvw *kv, const char *params);

/* --- Figures -------------------------------------------------------------- */

struct kvw_stats {
    uint64_t bytes_sent, bytes_received; /* On the wire, all links. */
    uint64_t pushes, pulls;              /* Slices done; local: keys. */
    uint64_t reconnects, resent;         /* Links; slices and requests. */
    uint64_t skipped; /* Of the pushes: changed nothing, by `nonfinite`. */
};

/* `size` is sizeof(struct kvw_stats). Waits for the library's thread, shortly;
 * not for callbacks (KVW_EBUSY). */
int kvw_get_stats(struct kvw *kv, struct kvw_stats *stats, size_t size);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
