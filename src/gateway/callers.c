/*
 * callers: see callers.h. Owns the keys in memory and the table of what each tenant uses.
 */
#include "gateway/callers.h"

#include "api/errors.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "gateway/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define USAGE_MAX (4 * KEYS_MAX) /* keys come and go while a server runs */

/* ---- the file ---- */

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mode == b->st_mode && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* A key without series or limits in progress loses its row; its counts end with it. */
static void forget_revoked(struct callers *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n_usage; i++) {
        const struct caller_usage *u = &c->usage[i];
        bool there = u->tenant == 0 || u->running > 0;
        for (int j = 0; !there && j < c->file.n_key; j++)
            there = c->file.key[j].tenant == u->tenant;
        if (there)
            c->usage[n++] = *u;
    }
    c->n_usage = n;
}

/* Reads the file if it is another one than before. ERR_*: it is there and bad. */
static int refresh(struct callers *c, struct err *err)
{
    struct stat now = {0};
    struct key_file file = {0};
    if (c->path == NULL)
        return 0;
    if (stat(c->path, &now) != 0)
        now = (struct stat){0};
    if (same_file(&now, &c->seen))
        return 0;
    int code = key_file_read(c->path, &file, err);
    if (code != ERR_IO && code != ERR_NOMEM && code != ERR_LIMIT)
        c->seen = now; /* else it was us, not the file: the next request looks again */
    if (code == ERR_NOT_FOUND)
        code = 0; /* all keys are gone; a key stays needed */
    else
        c->file_needed = true;
    if (code != 0)
        return code;
    key_file_release(&c->file);
    c->file = file;
    forget_revoked(c);
    return 0;
}

int callers_init(struct callers *c, const char *path, const char *api_key, struct err *err)
{
    *c = (struct callers){.path = path == NULL ? key_file_path() : str_dup(str_z(path)),
                          .one_key = api_key != NULL};
    if (api_key != NULL)
        digest_bytes(api_key, strlen(api_key), c->one_hash);
    return refresh(c, err);
}

void callers_release(struct callers *c)
{
    key_file_release(&c->file);
    free(c->path);
    free(c->usage);
    *c = (struct callers){0};
}

int callers_n(const struct callers *c)
{
    return c->one_key + c->file.n_key;
}

/* ---- who it is ---- */

static uint64_t salt_of(const struct key *k)
{
    char hash[DIGEST_TEXT_LEN + 1];
    uint64_t salt = 0;
    digest_bytes(k->hash, DIGEST_TEXT_LEN, hash);
    for (size_t i = 7; i < 7 + 15; i++) /* 60 bits: it travels as a JSON integer */
        salt = salt << 4 | (uint64_t)(hash[i] <= '9' ? hash[i] - '0' : hash[i] - 'a' + 10);
    return salt;
}

/* Over hashes and without an early end: the time says nothing of the key. */
static bool is_one_key(const struct callers *c, struct str text)
{
    char hash[DIGEST_TEXT_LEN + 1];
    unsigned char diff = !c->one_key;
    digest_bytes(text.ptr == NULL ? "" : text.ptr, text.len, hash);
    for (size_t i = 0; i < DIGEST_TEXT_LEN; i++)
        diff |= (unsigned char)(hash[i] ^ c->one_hash[i]);
    return diff == 0;
}

static void take_key(struct caller *who, const struct key *k)
{
    strcpy(who->name, k->name);
    who->tenant = k->tenant;
    who->admin = k->admin;
    who->priority = k->priority;
    who->salt = salt_of(k);
    who->requests_max = k->requests_max;
    who->tokens_per_minute = k->tokens_per_minute;
}

bool callers_find(const struct callers *c, const char *name, struct caller *ret)
{
    *ret = (struct caller){.priority = KEY_INTERACTIVE, .admin = true};
    for (int i = 0; i < c->file.n_key; i++) {
        if (strcmp(c->file.key[i].name, name) == 0) {
            take_key(ret, &c->file.key[i]);
            return true;
        }
    }
    return name[0] == '\0' && (c->one_key || !c->file_needed);
}

/* The key that the headers give. */
static int given_key(const char *authorization, const char *api_key, struct str *ret,
                     struct err *err)
{
    struct str given = str_z(authorization);
    *ret = str_trim(str_z(api_key));
    if (authorization == NULL && api_key != NULL)
        return 0;
    if (!str_eq_nocase(str_sub(given, 0, 7), STR("Bearer ")))
        return err_set(err, ERR_AUTH,
                       "an API key is needed: send it as 'Authorization: Bearer KEY' or as "
                       "'x-api-key: KEY'");
    *ret = str_trim(str_from(given, 7));
    return 0;
}

int callers_identify(struct callers *c, const char *authorization, const char *api_key,
                     struct caller *ret, struct err *err)
{
    struct str given;
    struct err why = {0};
    struct caller who = {.priority = KEY_INTERACTIVE, .admin = true};
    bool failed = refresh(c, &why) != 0;
    if (failed && !c->unread)
        log_error("%s; the keys stay as they were", why.text);
    c->unread = failed;
    if (c->one_key || c->file_needed) {
        int code = given_key(authorization, api_key, &given, err);
        if (code != 0)
            return code;
        const struct key *k = key_file_find(&c->file, given);
        if (k == NULL && !is_one_key(c, given))
            return err_set(err, ERR_AUTH, "the API key is none that this server knows");
        if (k != NULL)
            take_key(&who, k);
    }
    if (ret != NULL)
        *ret = who;
    return 0;
}

/* ---- what they use ---- */

static struct caller_usage *find_usage(struct callers *c, uint32_t tenant)
{
    for (size_t i = 0; i < c->n_usage; i++)
        if (c->usage[i].tenant == tenant)
            return &c->usage[i];
    return NULL;
}

static struct caller_usage *take_usage(struct callers *c, const struct caller *who)
{
    struct caller_usage *u = find_usage(c, who->tenant);
    if (u != NULL ||
        !mem_grow((void **)&c->usage, &c->cap_usage, c->n_usage + 1, USAGE_MAX, sizeof *c->usage))
        return u;
    u = &c->usage[c->n_usage++];
    *u = (struct caller_usage){.tenant = who->tenant,
                               .tokens_left = (double)who->tokens_per_minute,
                               .refill_ms = clock_ms()};
    strcpy(u->name, who->name);
    return u;
}

/* A minute's worth at most is saved up. */
static void refill(struct caller_usage *u, const struct caller *who)
{
    int64_t now_ms = clock_ms();
    double rate = (double)who->tokens_per_minute / 60e3;
    u->tokens_left = fmin(u->tokens_left + rate * (double)(now_ms - u->refill_ms),
                          (double)who->tokens_per_minute);
    u->refill_ms = now_ms;
}

int callers_begin(struct callers *c, const struct caller *who, int *ret_retry_s, struct err *err)
{
    struct caller_usage *u = take_usage(c, who);
    if (u == NULL)
        return err_set(err, ERR_BUSY, "too many keys are in use");
    refill(u, who);
    if (who->requests_max > 0 && u->running >= who->requests_max) {
        u->refused++;
        *ret_retry_s = 1;
        return err_set(err, API_ERR_RATE,
                       "the key '%s' may have %" PRId64 " requests at once, and has them; try "
                       "again when one of them has ended",
                       who->name, who->requests_max);
    }
    if (who->tokens_per_minute > 0 && u->tokens_left <= 0) {
        double wait_s = -u->tokens_left * 60 / (double)who->tokens_per_minute;
        u->refused++;
        *ret_retry_s = (int)fmin(floor(wait_s) + 1, 86400);
        return err_set(err, API_ERR_RATE,
                       "the key '%s' may use %" PRId64 " tokens a minute, and has used them; try "
                       "again in %d s",
                       who->name, who->tokens_per_minute, *ret_retry_s);
    }
    u->running++;
    u->requests++;
    return 0;
}

void callers_end(struct callers *c, const struct caller *who, int64_t n_prompt, int64_t n_cached,
                 int64_t n_completion)
{
    struct caller_usage *u = find_usage(c, who->tenant);
    if (u == NULL)
        return; /* not possible: a row stays while something of it runs */
    u->running--;
    u->prompt_tokens += (uint64_t)n_prompt;
    u->cached_tokens += (uint64_t)n_cached;
    u->completion_tokens += (uint64_t)n_completion;
    if (who->tokens_per_minute > 0) {
        refill(u, who);
        u->tokens_left -= (double)(n_prompt + n_completion);
    }
}

void callers_refused(struct callers *c, const struct caller *who)
{
    struct caller_usage *u = find_usage(c, who->tenant);
    if (u != NULL)
        u->refused++;
}

/* ---- numbers ---- */

struct key_series {
    const char *name, *type, *help;
    double (*value)(const struct caller_usage *u);
};

#define VALUE(fn, member)                                                                          \
    static double fn(const struct caller_usage *u)                                                 \
    {                                                                                              \
        return (double)u->member;                                                                  \
    }
VALUE(value_requests, requests)
VALUE(value_refused, refused)
VALUE(value_running, running)
VALUE(value_prompt, prompt_tokens)
VALUE(value_cached, cached_tokens)
VALUE(value_completion, completion_tokens)

/* clang-format off: rows of a table */
static const struct key_series all_series[] = {
    {"hearth_key_requests_total", "counter",
     "Requests to a model begun, by key ('-': without a name).", value_requests},
    {"hearth_key_refused_total", "counter",
     "Requests refused by the key's own limits, or its share of the queue.", value_refused},
    {"hearth_key_running", "gauge", "Requests of the key that wait or run.", value_running},
    {"hearth_key_prompt_tokens_total", "counter", "Prompt tokens, by key.", value_prompt},
    {"hearth_key_cached_tokens_total", "counter",
     "Prompt tokens that were already computed, by key.", value_cached},
    {"hearth_key_completion_tokens_total", "counter", "Tokens of answers, by key.",
     value_completion},
};
/* clang-format on */

void callers_write_metrics(const struct callers *c, const struct caller *who, struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(all_series); i++) {
        const struct key_series *x = &all_series[i];
        double other = 0;
        int n_other = 0;
        metrics_head(out, x->name, x->type, x->help);
        for (size_t j = 0; j < c->n_usage; j++) {
            const struct caller_usage *u = &c->usage[j];
            if (who->admin ? j < CALLERS_SERIES_MAX : u->tenant == who->tenant) {
                buf_printf(out, "%s{key=\"%s\"} %.15g\n", x->name,
                           u->name[0] == '\0' ? "-" : u->name, x->value(u));
                continue;
            }
            other += x->value(u);
            n_other++;
        }
        if (n_other > 0)
            buf_printf(out, "%s{key=\"+other\"} %.15g\n", x->name, other);
    }
}
