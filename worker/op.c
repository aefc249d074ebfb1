#include "worker/op.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "worker/moves.h"

/* Copied tensors that are kept for the next call that wants a copy. */
#define COPIES_IDLE_MAX ((size_t)256 << 20)

enum { FREE, MADE, RUNNING, DONE };

static const struct fsm_state op_states[] = {
    [FREE] = {"free", FSM_TO(MADE)},
    [MADE] = {"made", FSM_TO(RUNNING) | FSM_TO(FREE)},
    [RUNNING] = {"running", FSM_TO(DONE)},
    [DONE] = {"done", FSM_TO(FREE)},
};

/* --- The lock ------------------------------------------------------------- */

static void lock(struct op_pool *p)
{
    KV_CHECK(pthread_mutex_lock(&p->lock) == 0);
}

static void unlock(struct op_pool *p)
{
    KV_CHECK(pthread_mutex_unlock(&p->lock) == 0);
}

#define NEVER UINT64_MAX

static uint64_t deadline_of(int64_t timeout_ms)
{
    uint64_t now = clock_ns();

    if (timeout_ms < 0 || (uint64_t)timeout_ms > (NEVER - now) / 1000000) {
        return NEVER;
    }
    return now + (uint64_t)timeout_ms * 1000000;
}

/* False once the deadline has passed. Spurious wakeups happen. */
static bool sleep_until(struct op_pool *p, uint64_t deadline_ns)
{
    struct timespec t = {.tv_sec = (time_t)(deadline_ns / 1000000000),
                         .tv_nsec = (long)(deadline_ns % 1000000000)};
    int error;

    p->waiting++;
    error = deadline_ns == NEVER
                ? pthread_cond_wait(&p->changed, &p->lock)
                : pthread_cond_timedwait(&p->changed, &p->lock, &t);
    p->waiting--;
    KV_CHECK(error == 0 || error == ETIMEDOUT);
    return error == 0;
}

static void wake(struct op_pool *p)
{
    if (p->waiting > 0) {
        KV_CHECK(pthread_cond_broadcast(&p->changed) == 0);
    }
}

/* --- The pool ------------------------------------------------------------- */

void op_pool_init(struct op_pool *p, unsigned in_flight_max)
{
    pthread_condattr_t monotonic;

    memset(p, 0, sizeof *p);
    KV_CHECK(pthread_mutex_init(&p->lock, NULL) == 0);
    KV_CHECK(pthread_condattr_init(&monotonic) == 0);
    KV_CHECK(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    KV_CHECK(pthread_cond_init(&p->changed, &monotonic) == 0);
    pthread_condattr_destroy(&monotonic);
    list_init(&p->running);
    bufpool_init(&p->copies, COPIES_IDLE_MAX);
    p->in_flight_max = in_flight_max;
    p->next_number = 1;
}

void op_pool_fini(struct op_pool *p)
{
    KV_CHECK(list_empty(&p->running));
    while (p->owned != NULL) {
        struct kvw_op *op = p->owned;

        p->owned = op->next_owned;
        mem_free(op->items);
        mem_free(op->data);
        mem_free(op->names);
        mem_free(op->pieces);
        mem_free(op);
    }
    bufpool_fini(&p->copies);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
}

static bool internal(const struct kvw_op *op)
{
    return op->kind >= OP_CODEC;
}

static struct kvw_op *new_op(struct op_pool *p)
{
    struct kvw_op *op = mem_zalloc(1, sizeof *op);

    if (op != NULL) {
        fsm_init(&op->fsm, op_states);
        op->next_owned = p->owned;
        p->owned = op;
    }
    return op;
}

static void let_go_of_copy(struct op_pool *p, struct kvw_op *op)
{
    bufpool_put(&p->copies, op->copy);
    op->copy = NULL;
}

static void recycle(struct op_pool *p, struct kvw_op *op)
{
    fsm_move(&op->fsm, FREE);
    op->next_idle = p->idle;
    p->idle = op;
}

/* --- Callers -------------------------------------------------------------- */

static void reset(struct kvw_op *op, enum op_kind kind)
{
    op->kind = kind;
    op->priority = 0;
    op->done = NULL;
    op->arg = NULL;
    op->pushes = NULL;
    op->pulls = NULL;
    op->item_count = 0;
    op->norms = NULL;
    op->moves = NULL;
    op->move_count = 0;
    op->left = 0;
    op->status = KV_OK;
    op->text[0] = '\0';
    op->handle = false;
    op->piece_count = 0;
}

enum kv_status op_take(struct op_pool *p, enum op_kind kind, bool block,
                       struct kvw_op **out)
{
    struct kvw_op *op;

    lock(p);
    while (p->in_flight >= p->in_flight_max && kind < OP_CODEC) {
        if (!block) {
            unlock(p);
            return KV_EBUSY;
        }
        (void)sleep_until(p, NEVER);
    }
    op = p->idle;
    if (op != NULL) {
        p->idle = op->next_idle;
    } else {
        op = new_op(p);
    }
    if (op != NULL) {
        fsm_move(&op->fsm, MADE);
        p->in_flight += kind < OP_CODEC;
    }
    unlock(p);
    if (op == NULL) {
        return KV_ENOMEM;
    }
    reset(op, kind);
    *out = op;
    return KV_OK;
}

static bool grow(void **array, size_t *capacity, size_t count, size_t size)
{
    void *bigger;

    if (count > SIZE_MAX / size) {
        return false;
    }
    if (count * size <= *capacity) {
        return true;
    }
    bigger = mem_realloc(*array, count * size);
    if (bigger == NULL) {
        return false;
    }
    *array = bigger;
    *capacity = count * size;
    return true;
}

enum kv_status op_reserve(struct kvw_op *op, size_t items, size_t tensors,
                          size_t name_bytes)
{
    void *item_array = op->items;
    void *data_array = op->data;
    void *name_array = op->names;
    bool enough;

    enough = grow(&item_array, &op->items_capacity, items, sizeof *op->items);
    op->items = item_array;
    enough = enough &&
             grow(&data_array, &op->data_capacity, tensors, sizeof *op->data);
    op->data = data_array;
    enough = enough && grow(&name_array, &op->names_capacity, name_bytes, 1);
    op->names = name_array;
    return enough ? KV_OK : KV_ENOMEM;
}

void *op_copy_room(struct op_pool *p, struct kvw_op *op, size_t size)
{
    lock(p);
    op->copy = bufpool_get(&p->copies, size);
    unlock(p);
    return op->copy == NULL ? NULL : op->copy->data;
}

void op_drop(struct op_pool *p, struct kvw_op *op)
{
    lock(p);
    let_go_of_copy(p, op);
    p->in_flight -= !internal(op);
    recycle(p, op);
    wake(p);
    unlock(p);
}

void op_start(struct op_pool *p, struct kvw_op *op, bool handle)
{
    lock(p);
    fsm_move(&op->fsm, RUNNING);
    op->handle = handle;
    op->number = p->next_number++;
    if (!internal(op)) {
        list_push(&p->running, &op->by_age);
    }
    unlock(p);
}

enum kv_status op_wait(struct op_pool *p, struct kvw_op *op, int64_t timeout_ms,
                       char *text, size_t text_size)
{
    uint64_t deadline_ns = deadline_of(timeout_ms);
    enum kv_status status;

    lock(p);
    KV_CHECK(op->handle);
    while (op->fsm.state != DONE) {
        if (!sleep_until(p, deadline_ns) && op->fsm.state != DONE) {
            unlock(p);
            return KV_ETIMEOUT;
        }
    }
    status = op->status;
    snprintf(text, text_size, "%s", op->text);
    op->handle = false;
    recycle(p, op);
    unlock(p);
    return status;
}

void op_forget(struct op_pool *p, struct kvw_op *op)
{
    lock(p);
    KV_CHECK(op->handle);
    op->handle = false;
    if (op->fsm.state == DONE) {
        recycle(p, op);
    }
    unlock(p);
}

void op_keep(struct op_pool *p, struct kvw_op *op)
{
    struct kvw_op **at = &p->late;

    lock(p);
    while (*at != NULL && (*at)->number < op->number) {
        at = &(*at)->next_idle;
    }
    op->next_idle = *at;
    *at = op;
    unlock(p);
}

struct kvw_op *op_kept(struct op_pool *p)
{
    struct kvw_op *op;

    lock(p);
    op = p->late;
    if (op != NULL) {
        p->late = op->next_idle;
    }
    unlock(p);
    return op;
}

/* --- Waiting for many ----------------------------------------------------- */

static bool names(const struct key_spec *a, const struct key_spec *b)
{
    if (a->name == NULL || b->name == NULL) {
        return a->name == b->name && a->number == b->number;
    }
    return strcmp(a->name, b->name) == 0;
}

struct op_choice {
    const struct key_spec *spec; /* Those that name it; NULL: all. */
    bool transfers;              /* Only those that move values. */
    uint64_t end;                /* Only those before it. */
};

bool op_pushes(const struct kvw_op *op)
{
    bool pushes =
        op->kind == OP_RESET || (op->kind == OP_TRANSFER && op->pushes != NULL);

    for (size_t i = 0; op->kind == OP_MOVES && i < op->move_count; i++) {
        pushes = pushes || !op->moves[i].pull;
    }
    return pushes;
}

static bool chosen(const struct kvw_op *op, const struct op_choice *choice)
{
    const struct op_item *items = op->pushes != NULL ? op->pushes : op->pulls;

    if (choice->transfers && op->kind != OP_TRANSFER && op->kind != OP_MOVES &&
        op->kind != OP_RESET) {
        return false;
    }
    if (choice->spec == NULL) {
        return true;
    }
    for (size_t i = 0; i < op->item_count; i++) {
        if (names(&items[i].spec, choice->spec)) {
            return true;
        }
    }
    for (size_t i = 0; i < op->move_count; i++) {
        if (names(&op->moves[i].spec, choice->spec)) {
            return true;
        }
    }
    return false;
}

/* The first chosen one, not before `number`. */
static struct kvw_op *find_running(const struct op_pool *p,
                                   const struct op_choice *choice,
                                   uint64_t number)
{
    LIST_EACH(&p->running, link, after)
    {
        struct kvw_op *op = LIST_ENTRY(link, struct kvw_op, by_age);

        if (op->number >= choice->end) {
            break;
        }
        if (op->number >= number && chosen(op, choice)) {
            return op;
        }
    }
    return NULL;
}

static bool still_running(const struct kvw_op *op, uint64_t number)
{
    return op->fsm.state == RUNNING && op->number == number;
}

/* 0, or the number of one that still runs at the deadline. */
static uint64_t wait_for_chosen(struct op_pool *p, struct op_choice *choice,
                                int64_t timeout_ms)
{
    uint64_t deadline_ns = deadline_of(timeout_ms);
    uint64_t number = 0;
    struct kvw_op *op;

    choice->end = p->next_number;
    while ((op = find_running(p, choice, number)) != NULL) {
        number = op->number;
        while (still_running(op, number)) {
            if (!sleep_until(p, deadline_ns) && still_running(op, number)) {
                return number;
            }
        }
    }
    return 0;
}

enum kv_status op_wait_all(struct op_pool *p, const struct key_spec *spec,
                           int64_t timeout_ms, uint64_t *running, char *text,
                           size_t text_size)
{
    struct op_choice choice = {.spec = spec};
    enum kv_status status;

    lock(p);
    *running = wait_for_chosen(p, &choice, timeout_ms);
    if (*running != 0) {
        unlock(p);
        return KV_ETIMEOUT;
    }
    status = p->error;
    snprintf(text, text_size, "%s", status == KV_OK ? "" : p->error_text);
    if (spec == NULL) {
        p->error = KV_OK;
    }
    unlock(p);
    return status;
}

uint64_t op_wait_transfers(struct op_pool *p, int64_t timeout_ms)
{
    struct op_choice choice = {.transfers = true};
    uint64_t running;

    lock(p);
    running = wait_for_chosen(p, &choice, timeout_ms);
    unlock(p);
    return running;
}

/* --- The lane ------------------------------------------------------------- */

void op_fail(struct kvw_op *op, enum kv_status status, const char *fmt, ...)
{
    va_list args;

    if (op->status != KV_OK) {
        return;
    }
    op->status = status;
    va_start(args, fmt);
    vsnprintf(op->text, sizeof op->text, fmt, args);
    va_end(args);
}

/* Nobody else will tell the caller. */
static void remember_error(struct op_pool *p, const struct kvw_op *op)
{
    if (op->status != KV_OK && p->error == KV_OK && !op->handle &&
        op->done == NULL && !internal(op)) {
        p->error = op->status;
        memcpy(p->error_text, op->text, sizeof p->error_text);
    }
}

void op_finish(struct op_pool *p, struct kvw_op *op)
{
    if (op->done != NULL) {
        op->done(op->arg, op->status, op->text);
    }
    lock(p);
    fsm_move(&op->fsm, DONE);
    if (!internal(op)) {
        list_unlink(&op->by_age);
        p->in_flight--;
    }
    remember_error(p, op);
    let_go_of_copy(p, op);
    if (!op->handle) {
        recycle(p, op);
    }
    wake(p);
    unlock(p);
}
