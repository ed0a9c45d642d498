/*
 * ledger: see ledger.h. Owns the sums that are not in the database yet.
 *
 * The sums are an array that is handed whole to the state thread; if it cannot be written (a full
 * disk) it comes back and its sums are added to those made meanwhile: nothing is counted twice.
 */
#include "gateway/ledger.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RETRY_MS 10000 /* after a failure */

struct sum {
    char day[16];
    char *key, *model, *class_name;
    struct ledger_use use;
};

struct ledger {
    struct state *state;
    uv_timer_t *timer;
    struct sum *sum; /* [n] */
    size_t n, cap;
    int64_t n_lost;
    bool failing; /* the last commit failed; said once */
    bool closed;
    bool tried;    /* once more after that */
    int n_commits; /* that are under way */
};

struct commit {
    struct ledger *ledger;
    struct sum *sum; /* [n] */
    size_t n;
    struct err err;
};

static void sums_free(struct sum *sum, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(sum[i].key);
        free(sum[i].model);
        free(sum[i].class_name);
    }
    free(sum);
}

static void day_of(int64_t wall_ms, char ret[16])
{
    struct tm tm;
    time_t at = (time_t)(wall_ms / 1000);
    strftime(ret, 16, "%Y-%m-%d", gmtime_r(&at, &tm));
}

static void use_add(struct ledger_use *to, const struct ledger_use *use)
{
    to->requests += use->requests;
    to->prompt_tokens += use->prompt_tokens;
    to->cached_tokens += use->cached_tokens;
    to->completion_tokens += use->completion_tokens;
    to->engine_s += use->engine_s;
}

static struct sum *find(struct ledger *l, const char *day, const char *key, const char *model,
                        const char *class_name)
{
    for (size_t i = 0; i < l->n; i++) {
        struct sum *s = &l->sum[i];
        if (strcmp(s->model, model) == 0 && strcmp(s->key, key) == 0 &&
            strcmp(s->class_name, class_name) == 0 && strcmp(s->day, day) == 0)
            return s;
    }
    return NULL;
}

static void add(struct ledger *l, const char *day, const char *key, const char *model,
                const char *class_name, const struct ledger_use *use)
{
    struct sum *s = find(l, day, key, model, class_name);
    if (s == NULL &&
        mem_grow((void **)&l->sum, &l->cap, l->n + 1, LEDGER_GROUPS_MAX, sizeof *l->sum)) {
        s = &l->sum[l->n++];
        *s = (struct sum){.key = str_dup(str_z(key)),
                          .model = str_dup(str_z(model)),
                          .class_name = str_dup(str_z(class_name))};
        snprintf(s->day, sizeof s->day, "%s", day);
    }
    if (s != NULL)
        use_add(&s->use, use);
    else
        l->n_lost += use->requests;
}

/* ---- into the database ---- */

static int write_use(sqlite3 *db, const char *day, const char *key_name, const char *model,
                     const char *class_name, const struct ledger_use *u, struct err *err)
{
    return db_run(db, err,
                  "INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
                  " ON CONFLICT (day, key, model, class) DO UPDATE SET"
                  " requests = requests + excluded.requests, prompt = prompt + excluded.prompt,"
                  " cached = cached + excluded.cached,"
                  " completion = completion + excluded.completion,"
                  " engine_s = engine_s + excluded.engine_s",
                  "ssssiiiid", day, key_name, model, class_name, u->requests, u->prompt_tokens,
                  u->cached_tokens, u->completion_tokens, u->engine_s);
}

static void write_sums(struct state *state, void *ctx)
{
    struct commit *c = ctx;
    sqlite3 *db = state_db(state);
    int code = db_begin(db, &c->err);
    for (size_t i = 0; i < c->n && code == 0; i++)
        code = write_use(db, c->sum[i].day, c->sum[i].key, c->sum[i].model, c->sum[i].class_name,
                         &c->sum[i].use, &c->err);
    c->err.code = db_end(db, code, &c->err);
}

static void ledger_unref(struct ledger *l)
{
    if (!l->closed || l->n_commits > 0)
        return;
    if (l->n > 0)
        log_error("ledger: %zu sums could not be written and are lost", l->n);
    sums_free(l->sum, l->n);
    free(l);
}

static void on_timer(uv_timer_t *t);
static void commit(struct ledger *l);

static void on_written(void *ctx)
{
    struct commit *c = ctx;
    struct ledger *l = c->ledger;
    l->n_commits--;
    if (c->err.code != 0) {
        for (size_t i = 0; i < c->n; i++)
            add(l, c->sum[i].day, c->sum[i].key, c->sum[i].model, c->sum[i].class_name,
                &c->sum[i].use);
        if (!l->failing)
            log_error("ledger: %s; kept in memory until it can be written", c->err.text);
        if (!l->closed)
            uv_timer_start(l->timer, on_timer, RETRY_MS, 0);
    } else if (l->failing) {
        log_info("ledger: written again; %" PRId64 " requests were not counted", l->n_lost);
        l->n_lost = 0;
    }
    l->failing = c->err.code != 0;
    sums_free(c->sum, c->n);
    free(c);
    if (l->closed && !l->tried && l->n > 0) { /* came back after the end's own commit */
        l->tried = true;
        commit(l);
    }
    ledger_unref(l);
}

static void commit(struct ledger *l)
{
    if (l->n == 0)
        return;
    struct commit *c = mem_zero(1, sizeof *c);
    *c = (struct commit){.ledger = l, .sum = l->sum, .n = l->n};
    l->sum = NULL;
    l->n = l->cap = 0;
    l->n_commits++;
    state_post(l->state, write_sums, on_written, c);
}

static void on_timer(uv_timer_t *t)
{
    commit(t->data);
}

/* ---- life ---- */

struct ledger *ledger_new(struct state *state, uv_loop_t *loop)
{
    struct ledger *l = mem_zero(1, sizeof *l);
    l->state = state;
    l->timer = mem_zero(1, sizeof *l->timer);
    uv_timer_init(loop, l->timer);
    l->timer->data = l;
    return l;
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle);
}

void ledger_free(struct ledger *l)
{
    if (l == NULL)
        return;
    uv_timer_stop(l->timer);
    uv_close((uv_handle_t *)l->timer, on_timer_closed);
    l->closed = true;
    commit(l);
    ledger_unref(l);
}

void ledger_add_at(struct ledger *l, int64_t wall_ms, const char *key_name, const char *model,
                   const char *class_name, const struct ledger_use *use)
{
    char day[16];
    if (l == NULL || l->state == NULL)
        return;
    day_of(wall_ms, day);
    add(l, day, key_name, model, class_name, use);
    if (!uv_is_active((uv_handle_t *)l->timer))
        uv_timer_start(l->timer, on_timer, LEDGER_COMMIT_MS, 0);
}

void ledger_add(struct ledger *l, const char *key_name, const char *model, const char *class_name,
                const struct ledger_use *use)
{
    ledger_add_at(l, clock_wall_ms(), key_name, model, class_name, use);
}

int ledger_write(sqlite3 *db, int64_t wall_ms, const char *key_name, const char *model,
                 const char *class_name, const struct ledger_use *use, struct err *err)
{
    char day[16];
    day_of(wall_ms, day);
    return write_use(db, day, key_name, model, class_name, use, err);
}

/* ---- reading ---- */

bool ledger_is_day(const char *text)
{
    static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day, end = 0;
    if (sscanf(text, "%4d-%2d-%2d%n", &year, &month, &day, &end) != 3 || end != 10 ||
        text[10] != '\0' || strspn(text, "0123456789-") != 10)
        return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return year > 0 && month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1] &&
           (month != 2 || day < 29 || leap);
}

int ledger_read(sqlite3 *db, enum ledger_by by, const char *since, const char *until,
                void (*row)(void *ctx, const struct ledger_row *row), void *ctx, struct err *err)
{
    static const char *const column[] = {
        [LEDGER_DAY] = "day", [LEDGER_KEY] = "key", [LEDGER_MODEL] = "model"};
    char sql[400];
    struct err why = {0};
    snprintf(sql, sizeof sql,
             "SELECT %s, sum(requests), sum(prompt), sum(cached), sum(completion), sum(engine_s)"
             " FROM usage WHERE day >= ? AND day <= ? GROUP BY 1 ORDER BY 1",
             column[by]);
    sqlite3_stmt *q = db_query(db, &why, sql, "ss", since == NULL ? "" : since,
                               until == NULL ? "9999-12-31" : until);
    int code = q == NULL ? why.code : 1;
    while (code > 0 && (code = db_next(q, &why)) > 0) {
        struct ledger_row r = {.name = db_text(q, 0),
                               .use = {.requests = sqlite3_column_int64(q, 1),
                                       .prompt_tokens = sqlite3_column_int64(q, 2),
                                       .cached_tokens = sqlite3_column_int64(q, 3),
                                       .completion_tokens = sqlite3_column_int64(q, 4),
                                       .engine_s = sqlite3_column_double(q, 5)}};
        row(ctx, &r);
    }
    sqlite3_finalize(q);
    if (code < 0 && err != NULL)
        *err = why;
    return code;
}
