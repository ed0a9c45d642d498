/*
 * cmd_usage: `hearth usage`: the ledger that `hearth serve` keeps, summed by day, key or model.
 * Reads the database itself, so it works whether the server runs or not.
 */
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "gateway/ledger.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define BY_WORDS "day|key|model"

static const char *const by_word[] = {"day", "key", "model"};

struct report {
    enum ledger_by by;
    json_t *rows; /* array, or NULL: a table is printed */
    struct ledger_use total;
    int64_t n;
};

static void print_use(const char *name, const struct ledger_use *u)
{
    printf("%-36s  %9" PRId64 "  %12" PRId64 "  %12" PRId64 "  %12" PRId64 "  %10.1f\n", name,
           u->requests, u->prompt_tokens, u->cached_tokens, u->completion_tokens, u->engine_s);
}

static void on_row(void *ctx, const struct ledger_row *row)
{
    struct report *r = ctx;
    const struct ledger_use *u = &row->use;
    r->n++;
    r->total.requests += u->requests;
    r->total.prompt_tokens += u->prompt_tokens;
    r->total.cached_tokens += u->cached_tokens;
    r->total.completion_tokens += u->completion_tokens;
    r->total.engine_s += u->engine_s;
    if (r->rows == NULL) {
        print_use(row->name[0] == '\0' ? "(no key)" : row->name, u);
        return;
    }
    json_array_append_new(
        r->rows, json_pack("{s:s, s:I, s:I, s:I, s:I, s:f}", by_word[r->by], row->name, "requests",
                           (json_int_t)u->requests, "prompt_tokens", (json_int_t)u->prompt_tokens,
                           "cached_tokens", (json_int_t)u->cached_tokens, "completion_tokens",
                           (json_int_t)u->completion_tokens, "engine_seconds", u->engine_s));
}

static int check_day(const char *option, const char *day, struct err *err)
{
    if (day == NULL || ledger_is_day(day))
        return 0;
    return err_set(err, ERR_INVALID, "--%s is '%.40s'; it takes a day, as 2026-01-31", option, day);
}

static int read_ledger(const char *dir, const char *since, const char *until, struct report *r,
                       struct err *err)
{
    sqlite3 *db = NULL;
    int code = check_day("since", since, err);
    if (code == 0)
        code = check_day("until", until, err);
    char *path = code == 0 ? state_dir_of(dir, err) : NULL;
    if (code == 0 && path == NULL)
        code = ERR_NOT_FOUND;
    if (code == 0)
        code = db_open_reader(path, &db, err);
    free(path);
    if (code != 0)
        return code;
    static const char *const head[] = {"DAY (UTC)", "KEY", "MODEL"};
    if (r->rows == NULL)
        printf("%-36s  %9s  %12s  %12s  %12s  %10s\n", head[r->by], "REQUESTS", "PROMPT", "CACHED",
               "COMPLETION", "ENGINE S");
    code = ledger_read(db, r->by, since, until, on_row, r, err);
    if (code == 0 && r->rows == NULL && r->n > 1)
        print_use("total", &r->total);
    db_close(db);
    return code;
}

int cmd_usage(int argc, char **argv)
{
    const char *dir = NULL, *since = NULL, *until = NULL;
    struct report report = {0};
    bool as_json = false;
    int by = LEDGER_DAY;
    const struct arg_option option[] = {
        {"by", 0, ARG_WORD, BY_WORDS, "what the sums are made over", &by, .flag_only = true},
        {"since", 0, ARG_STR, "DAY", "from this day on (UTC, as 2026-01-31)", &since,
         .flag_only = true},
        {"until", 0, ARG_STR, "DAY", "up to this day, included", &until, .flag_only = true},
        {"json", 'j', ARG_BOOL, NULL, "as JSON", &as_json, .flag_only = true},
        {"state-dir", 0, ARG_STR, "DIR", "the server's state; unset: ~/.local/state/hearth", &dir},
    };
    const struct args_spec spec = {
        .command = "usage",
        .usage = "",
        .summary = "Show who used how much of which model",
        .details =
            "Reads the ledger that 'hearth serve' keeps. Engine seconds run from a request's\n"
            "first step to its last; requests computed together each count theirs.",
        .option = option,
        .n_option = ARRAY_LEN(option),
    };
    struct err err = {0};
    struct args args;
    int code;
    if (!args_take(&spec, argc, argv, &args, &code))
        return code;
    report.by = (enum ledger_by)by;
    report.rows = as_json ? json_array() : NULL;
    int rc = read_ledger(dir, since, until, &report, &err);
    if (rc == 0 && as_json) {
        json_dumpf(report.rows, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(report.rows);
    args_release(&args);
    return rc != 0 ? cli_fail(&err) : cli_done();
}
