/*
 * conversations: see conversations.h.
 */
#include "gateway/conversations.h"

#include "base/mem.h"
#include "gateway/conversation_store.h"
#include "gateway/response_runs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- locks ---- */

struct conversation_lock {
    struct conversation_lock *next;
    char owner[OWNER_MAX], id[ID_MAX], response[ID_MAX];
};

static int check_lock(const struct server *s, const char *owner, const char *id, struct err *err)
{
    for (const struct conversation_lock *l = s->locks; l != NULL; l = l->next)
        if (strcmp(l->id, id) == 0 && strcmp(l->owner, owner) == 0)
            return err_set_param(err, API_ERR_LOCKED, "conversation",
                                 "Another process is currently operating on this conversation: the "
                                 "response '%s'. Please retry when it is over.",
                                 l->response);
    return 0;
}

/* What goes on after a restart has its locks back once all of it is read. */
int conversations_check_free(const struct server *s, const char *owner, const char *id,
                             struct err *err)
{
    if (response_runs_loading(s->runs))
        return err_set_param(err, ERR_UNAVAILABLE, "conversation",
                             "responses that an earlier server left are still being read; try "
                             "again");
    return check_lock(s, owner, id, err);
}

int conversations_lock(struct server *s, const char *owner, const char *id, const char *response,
                       struct err *err)
{
    int code = check_lock(s, owner, id, err);
    if (code != 0)
        return code;
    struct conversation_lock *l = mem_zero(1, sizeof *l);
    snprintf(l->owner, sizeof l->owner, "%s", owner);
    snprintf(l->id, sizeof l->id, "%s", id);
    snprintf(l->response, sizeof l->response, "%s", response);
    l->next = s->locks;
    s->locks = l;
    return 0;
}

void conversations_unlock(struct server *s, const char *response)
{
    struct conversation_lock **at = &s->locks;
    while (*at != NULL && strcmp((*at)->response, response) != 0)
        at = &(*at)->next;
    struct conversation_lock *l = *at;
    if (l != NULL)
        *at = l->next;
    free(l);
}

/* ---- routes ---- */

static bool read_body(struct inquiry *q)
{
    q->body = json_parse(exchange_body(q->x), JSON_DEPTH_MAX, &q->err);
    exchange_drop_body(q->x);
    if (q->body != NULL)
        return true;
    reply_error(q->x, &q->err, NULL);
    inquiry_free(q);
    return false;
}

void conversations_create(struct server *s, struct exchange *x)
{
    struct inquiry *q = inquiry_new(s, x, conversation_store_create);
    if (q == NULL)
        return;
    inquiry_new_id("conv_", q->id);
    if (exchange_body(x).len == 0) { /* nothing need be said of a new one */
        q->body = json_object();
        inquiry_start(q);
    } else if (read_body(q)) {
        inquiry_start(q);
    }
}

/* What is asked below "/v1/conversations/{id}". */
static const struct action {
    enum http_method method;
    const char *what; /* with a final slash: an item's id follows */
    void (*work)(struct state *state, struct inquiry *q);
    bool has_body, is_page;
    bool changes; /* items: not while a response runs in it */
} actions[] = {
    {HTTP_GET, "", conversation_store_get, false, false, false},
    {HTTP_POST, "", conversation_store_update, true, false, false},
    {HTTP_DELETE, "", conversation_store_delete, false, false, true},
    {HTTP_GET, "items", conversation_store_list, false, true, false},
    {HTTP_POST, "items", conversation_store_add, true, false, true},
    {HTTP_GET, "items/", conversation_store_item, false, false, false},
    {HTTP_DELETE, "items/", conversation_store_remove, false, false, true},
};

static const struct action *find_action(enum http_method method, const char *what,
                                        const char **ret_item)
{
    if (method == HTTP_HEAD)
        method = HTTP_GET;
    for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
        size_t n = strlen(actions[i].what);
        bool below = n > 0 && actions[i].what[n - 1] == '/';
        bool fits = below ? strncmp(what, actions[i].what, n) == 0 && what[n] != '\0'
                          : strcmp(what, actions[i].what) == 0;
        if (fits && actions[i].method == method) {
            *ret_item = what + n;
            return &actions[i];
        }
    }
    return NULL;
}

void conversations_one(struct server *s, struct exchange *x)
{
    char id[ID_MAX];
    const char *what = "", *item = "";
    struct err err = {0};
    const struct action *a = NULL;
    if (inquiry_path_id(exchange_path(x), "/v1/conversations/", id, &what))
        a = find_action(exchange_method(x), what, &item);
    if (a == NULL)
        err_set(&err, ERR_NOT_FOUND, "there is nothing at %.200s", exchange_path(x));
    else if (a->changes)
        (void)!conversations_check_free(s, exchange_owner(x), id, &err);
    if (err.code != 0) {
        reply_error(x, &err, NULL);
        return;
    }
    struct inquiry *q = inquiry_new(s, x, a->work);
    if (q == NULL)
        return;
    strcpy(q->id, id);
    buf_add_z(&q->text, item);
    if ((a->is_page && !inquiry_read_page(q, 20, 100)) || (a->has_body && !read_body(q)))
        return;
    inquiry_start(q);
}
