#include "tests/simulator/list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulator/identity.h"
#include "tests/simulator/memory.h"

struct list *lists_find(const struct lists *lists, const char *id)
{
    for (size_t i = 0; i < lists->n; i++)
        if (!lists->list[i]->deleted && strcmp(lists->list[i]->id, id) == 0)
            return lists->list[i];
    return NULL;
}

struct list *lists_add(struct lists *lists, const char *id, struct account *account,
                       const char *name, int64_t now_us)
{
    struct list *list = memory_new(sizeof *list);

    if (id)
        (void)snprintf(list->id, sizeof list->id, "%s", id);
    else
        identity_list(list->id);
    (void)snprintf(list->opt_in, sizeof list->opt_in, "single_opt_in");
    list->account = account;
    list->name = memory_string(name);
    list->created_us = now_us;
    list->updated_us = now_us;
    lists->list = memory_grow(lists->list, &lists->cap, lists->n + 1, sizeof(struct list *));
    lists->list[lists->n++] = list;
    return list;
}

bool list_has(const struct list *list, uint32_t profile)
{
    return profile < list->cap && list->joined_s[profile];
}

void list_join(struct list *list, uint32_t profile, int64_t now_us)
{
    list->joined_s =
        memory_grow(list->joined_s, &list->cap, (size_t)profile + 1, sizeof *list->joined_s);
    if (list->joined_s[profile])
        return;
    list->joined_s[profile] = (uint32_t)(now_us / 1000000);
    list->members++;
}

void list_leave(struct list *list, uint32_t profile)
{
    if (!list_has(list, profile))
        return;
    list->joined_s[profile] = 0;
    list->members--;
}

void lists_release(struct lists *lists)
{
    for (size_t i = 0; i < lists->n; i++) {
        free(lists->list[i]->name);
        free(lists->list[i]->joined_s);
        free(lists->list[i]);
    }
    free(lists->list);
    *lists = (struct lists){ 0 };
}
