/*
 * cmd_ps, cmd_stop: what a running server has loaded, and unloading it.
 */
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/progress.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "store/model_name.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define UNLOAD_MS 30000

/* "5 minutes", "forever"; text is a time as /api/ps writes it: 2026-01-31T12:00:00.000Z. */
static void until_text(struct str text, char ret[40])
{
    char z[32];
    struct tm tm = {0};
    snprintf(z, sizeof z, "%.*s", STR_ARG(str_sub(text, 0, 31)));
    if (sscanf(z, "%4d-%2d-%2dT%2d:%2d:%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
               &tm.tm_min, &tm.tm_sec) != 6 ||
        tm.tm_year >= 9999) {
        snprintf(ret, 40, "forever");
        return;
    }
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    int64_t left_s = (int64_t)timegm(&tm) - clock_wall_ms() / 1000;
    if (left_s < 120)
        snprintf(ret, 40, "%lld seconds", (long long)(left_s > 0 ? left_s : 0));
    else if (left_s < 7200)
        snprintf(ret, 40, "%lld minutes", (long long)((left_s + 30) / 60));
    else
        snprintf(ret, 40, "%lld hours", (long long)((left_s + 1800) / 3600));
}

static int64_t number(const json_t *m, const char *key)
{
    int64_t n = 0;
    return json_get_i64(m, key, 0, INT64_MAX, &n, NULL) == 0 ? n : 0;
}

static void print_model(const json_t *m)
{
    char planned[24], resident[24], requests[48], rate[48], until[40], state[48];
    struct str word = json_str(json_object_get(m, "state"));
    int64_t position = number(m, "line_position");
    progress_size(number(m, "planned_bytes"), planned);
    progress_size(number(m, "resident_bytes"), resident);
    snprintf(requests, sizeof requests, "%lld+%lld", (long long)number(m, "running"),
             (long long)number(m, "waiting"));
    snprintf(rate, sizeof rate, "%.1f",
             json_number_value(json_object_get(m, "decode_tokens_per_second")));
    until_text(json_str(json_object_get(m, "expires_at")), until);
    if (position > 0)
        snprintf(state, sizeof state, "%.*s, no. %lld", STR_ARG(str_sub(word, 0, 15)),
                 (long long)position);
    else
        snprintf(state, sizeof state, "%.*s", STR_ARG(str_sub(word, 0, 31)));
    printf("%-32.*s  %10s  %10s  %8lld  %8lld  %8s  %8s  %-12s  %s\n",
           STR_ARG(json_str(json_object_get(m, "name"))), planned, resident,
           (long long)number(m, "context_length"), (long long)number(m, "parallel"), requests, rate,
           until, state);
}

/* REQUESTS: running and waiting; TOKENS/S: of answers, in the last ten seconds. */
static void print_models(const json_t *top)
{
    size_t i;
    const json_t *m;
    printf("%-32s  %10s  %10s  %8s  %8s  %8s  %8s  %-12s  %s\n", "NAME", "PLANNED", "RESIDENT",
           "CONTEXT", "PARALLEL", "REQUESTS", "TOKENS/S", "KEPT", "STATE");
    json_array_foreach(json_object_get(top, "models"), i, m) print_model(m);
}

int cmd_ps(int argc, char **argv)
{
    struct client client;
    bool as_json = false;
    client_init(&client);
    const struct arg_option option[] = {
        {"json", 'j', ARG_BOOL, NULL, "as JSON", &as_json, .flag_only = true},
        {"host", 0, ARG_STR, "ADDRESS", "the server's address", &client.host},
        {"port", 'p', ARG_INT, "N", "the server's port", &client.port, 1, 65535},
        {"api-key", 0, ARG_STR, "KEY", "the key that the server wants", &client.api_key},
    };
    const struct args_spec spec = {
        .command = "ps",
        .usage = "",
        .summary = "Show the models that the server has loaded",
        .option = option,
        .n_option = ARRAY_LEN(option),
    };
    struct args args;
    int code;
    if (!args_take(&spec, argc, argv, &args, &code))
        return code;
    struct err err = {0};
    json_t *top = NULL;
    int rc = client_json(&client, "/api/ps", NULL, &top, &err);
    args_release(&args);
    if (rc != 0)
        return cli_fail(&err);
    if (as_json) {
        json_dumpf(top, stdout, JSON_INDENT(2));
        putchar('\n');
    } else {
        print_models(top);
    }
    json_decref(top);
    return cli_done();
}

/* Is the model still in the server's memory? A failure to ask counts as gone. */
static bool is_loaded(const struct client *c, const char *name)
{
    struct err err = {0};
    json_t *top = NULL;
    struct model_name ours, theirs;
    bool ret = false;
    size_t i;
    const json_t *m;
    if (client_json(c, "/api/ps", NULL, &top, &err) != 0)
        return false;
    bool named = model_name_parse(name, &ours, NULL) == 0;
    json_array_foreach(json_object_get(top, "models"), i, m)
    {
        const char *text = json_string_value(json_object_get(m, "name"));
        ret = ret || (text != NULL && (strcmp(text, name) == 0 ||
                                       (named && model_name_parse(text, &theirs, NULL) == 0 &&
                                        model_name_eq_nocase(&ours, &theirs))));
    }
    json_decref(top);
    return ret;
}

/* Running answers end first, so it may take a while until the memory is free. False: it still is
 * not. */
static bool wait_unloaded(const struct client *c, const char *name)
{
    bool loaded;
    for (int64_t end = clock_ms() + UNLOAD_MS; (loaded = is_loaded(c, name)) && clock_ms() < end;)
        usleep(50 * 1000);
    return !loaded;
}

int cmd_stop(int argc, char **argv)
{
    struct client client;
    client_init(&client);
    const struct arg_option option[] = {
        {"host", 0, ARG_STR, "ADDRESS", "the server's address", &client.host},
        {"port", 'p', ARG_INT, "N", "the server's port", &client.port, 1, 65535},
        {"api-key", 0, ARG_STR, "KEY", "the key that the server wants", &client.api_key},
    };
    const struct args_spec spec = {
        .command = "stop",
        .usage = "MODEL...",
        .summary = "Unload models from the server's memory",
        .option = option,
        .n_option = ARRAY_LEN(option),
        .n_word_min = 1,
        .n_word_max = -1,
    };
    struct args args;
    int code;
    if (!args_take(&spec, argc, argv, &args, &code))
        return code;
    struct err err = {0};
    int rc = 0;
    for (int i = 0; rc == 0 && i < args.n_word; i++) {
        json_t *body = json_pack("{s:s, s:i}", "model", args.word[i], "keep_alive", 0);
        json_t *top = NULL;
        rc = body == NULL ? err_set(&err, ERR_INVALID, "the model's name is not UTF-8")
                          : client_json(&client, "/api/generate", body, &top, &err);
        if (rc == 0 && !wait_unloaded(&client, args.word[i]))
            printf("%s stops when its last answer is given\n", args.word[i]);
        else if (rc == 0)
            printf("stopped %s\n", args.word[i]);
        json_decref(top);
        json_decref(body);
    }
    args_release(&args);
    return rc != 0 ? cli_fail(&err) : cli_done();
}
