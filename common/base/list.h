/**
 * list - an intrusive doubly linked list that checks what it is asked.
 *
 * A member carries a struct link of its own for each list it can be on. Lists
 * are named for the state of what is on them. Unlinking what is on no list,
 * and adding what is on one already, are caught.
 *
 *     struct waiter { struct list_link among_waiting; ... };
 *
 *     list_push(&waiting, &w->among_waiting);
 *     LIST_EACH(&waiting, link, next) {
 *         struct waiter *w = LIST_ENTRY(link, struct waiter, among_waiting);
 *         list_unlink(link);           // The current one may go.
 *     }
 *
 * Thread:  the list's owner.
 * Memory:  allocates nothing. The head must not move while it has members.
 */
#ifndef KV_COMMON_BASE_LIST_H
#define KV_COMMON_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/check.h"

/* Both NULL while on no list, so a zeroed struct needs no list_link_init(). */
struct list_link {
    struct list_link *prev, *next;
};

struct list {
    struct list_link head;
};

/* The current member may be unlinked or freed by the body; its successor not.
 */
#define LIST_EACH(list, link, after)                                           \
    for (struct list_link *link = (list)->head.next, *after = link->next;      \
         link != &(list)->head; link = after, after = link->next)

/* The struct that `link` is the field `member` of. */
#define LIST_ENTRY(link, type, member)                                         \
    ((type *)(void *)((char *)(link)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
    l->head.prev = &l->head;
    l->head.next = &l->head;
}

static inline void list_link_init(struct list_link *link)
{
    link->prev = NULL;
    link->next = NULL;
}

static inline bool list_linked(const struct list_link *link)
{
    return link->next != NULL;
}

static inline bool list_empty(const struct list *l)
{
    return l->head.next == &l->head;
}

/* Right before `at`, which is a member or the head of a list. */
static inline void list_insert_before(struct list_link *at,
                                      struct list_link *link)
{
    KV_CHECK(link->next == NULL && link->prev == NULL);
    KV_CHECK(at != NULL && at->prev != NULL && at->prev->next == at);
    link->prev = at->prev;
    link->next = at;
    at->prev->next = link;
    at->prev = link;
}

/* At the end. */
static inline void list_push(struct list *l, struct list_link *link)
{
    list_insert_before(&l->head, link);
}

/* At the start. */
static inline void list_push_front(struct list *l, struct list_link *link)
{
    list_insert_before(l->head.next, link);
}

static inline void list_unlink(struct list_link *link)
{
    KV_CHECK(link->next != NULL && link->prev != NULL);
    KV_CHECK(link->next->prev == link && link->prev->next == link);
    link->prev->next = link->next;
    link->next->prev = link->prev;
    list_link_init(link);
}

/* NULL when empty. */
static inline struct list_link *list_first(const struct list *l)
{
    return list_empty(l) ? NULL : l->head.next;
}

/* Unlink the first and return it; NULL when empty. */
static inline struct list_link *list_pop(struct list *l)
{
    struct list_link *link = list_first(l);

    if (link != NULL) {
        list_unlink(link);
    }
    return link;
}

/* Move all of `from` to the end of `to`, in order. */
static inline void list_append(struct list *to, struct list *from)
{
    if (list_empty(from)) {
        return;
    }
    from->head.next->prev = to->head.prev;
    to->head.prev->next = from->head.next;
    from->head.prev->next = &to->head;
    to->head.prev = from->head.prev;
    list_init(from);
}

#endif
