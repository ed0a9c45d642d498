/*
 * cmd_plan: what memory a model takes, to the byte, and what fits in this machine. Nothing is
 * loaded; the numbers are those of the worker's own plan (worker/load_plan.h).
 */
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/open_gguf.h"
#include "cli/progress.h"
#include "cli/thread_plan.h"
#include "worker/draft_model.h"
#include "worker/load_plan.h"

#include <stdio.h>
#include <stdlib.h>

#define ROOMS_MAX 16

struct choice {
    int n_ctx, n_users, kv_type, n_threads;
    int64_t memory_bytes;
    const char *draft_model; /* or NULL */
    bool json;
};

/* How long a context some users can have at once, by type of keys and values. */
struct room {
    int64_t n_users, n_ctx[KV_TYPES];
};

struct outlook {
    const struct choice *c;
    struct load_opts opts;
    struct load_plan plan;
    bool fits;
    struct err why; /* it does not fit */
    struct room room[ROOMS_MAX];
    int n_room;
};

/* ---- numbers ---- */

static struct room room_of(const struct outlook *o, const struct gguf *g, const struct tokenizer *t,
                           int64_t n_users)
{
    struct load_opts opts = o->opts;
    struct room r = {.n_users = n_users};
    for (int type = 0; type < KV_TYPES; type++) {
        opts.kv_type = (enum kv_type)type;
        r.n_ctx[type] = load_plan_room(&opts, g, t, n_users);
    }
    return r;
}

static bool is_of_use(const struct room *r)
{
    return r->n_ctx[KV_TYPES - 1] > 0;
}

/* 1, 2, 4, 8... users, and as many as were asked for. */
static void find_rooms(struct outlook *o, const struct gguf *g, const struct tokenizer *t)
{
    int64_t asked = o->c->n_users;
    bool more = true;
    for (int64_t n = 1; more && n <= WORKER_SEQ_MAX && o->n_room < ROOMS_MAX - 1; n *= 2) {
        if (asked > n / 2 && asked < n)
            o->room[o->n_room++] = room_of(o, g, t, asked);
        o->room[o->n_room] = room_of(o, g, t, n);
        more = is_of_use(&o->room[o->n_room]);
        o->n_room += more || n == 1;
    }
}

static int look(struct outlook *o, const struct gguf *g, const struct tokenizer *t, struct err *err)
{
    int rc = load_plan_make(&o->opts, g, t, &o->plan, &o->why);
    o->fits = rc == 0;
    if (rc == ERR_NOMEM) {
        struct load_opts rich = o->opts; /* the sizes of what was refused */
        rich.budget_bytes = INT64_MAX;
        rich.n_ctx = rich.n_ctx > 0 ? rich.n_ctx : MEMORY_CTX_LEAST;
        rc = load_plan_make(&rich, g, t, &o->plan, err);
    } else if (rc != 0) {
        *err = o->why;
    }
    if (rc == 0 && !load_plan_embeds(&o->plan))
        find_rooms(o, g, t);
    return rc;
}

static uint64_t total(const struct outlook *o)
{
    return o->plan.memory.total_bytes;
}

/* Contexts of the plan's length that its blocks hold at once. */
static int64_t whole_contexts(const struct outlook *o)
{
    const struct memory_plan *m = &o->plan.memory;
    return m->n_blocks / ((m->n_ctx + KV_BLOCK_LEN - 1) / KV_BLOCK_LEN);
}

/* ---- JSON ---- */

static json_t *rooms_json(const struct outlook *o)
{
    json_t *rooms = json_array();
    for (int i = 0; i < o->n_room; i++) {
        json_t *ctx = json_object();
        for (int type = 0; type < KV_TYPES; type++)
            json_object_set_new(ctx, kv_type_name((enum kv_type)type),
                                json_integer(o->room[i].n_ctx[type]));
        json_array_append_new(
            rooms, json_pack("{s:I,s:o}", "users", (json_int_t)o->room[i].n_users, "context", ctx));
    }
    return rooms;
}

static json_t *bytes_json(uint64_t n)
{
    return json_integer((json_int_t)n);
}

/* What of the sums is the draft model's. */
static json_t *draft_json(const struct load_plan *p)
{
    return json_pack("{s:o,s:o,s:o}", "weight_bytes", bytes_json(p->draft_info.weight_bytes),
                     "kv_bytes", bytes_json(p->memory.draft_kv_bytes), "block_bytes",
                     bytes_json(p->draft_info.kv_block_bytes));
}

static int print_json(const struct outlook *o)
{
    const struct load_plan *p = &o->plan;
    uint64_t block = p->info.kv_block_bytes;
    json_t *kv =
        json_pack("{s:s,s:i,s:o,s:o,s:o}", "type", kv_type_name(o->opts.kv_type), "block_tokens",
                  KV_BLOCK_LEN, "block_bytes", bytes_json(block), "token_bytes",
                  bytes_json(block / KV_BLOCK_LEN), "blocks", bytes_json(p->memory.n_blocks));
    json_t *scratch = json_pack("{s:o,s:o,s:o,s:o}", "model", bytes_json(p->model_bytes), "engine",
                                bytes_json(p->engine_bytes), "tokenizer", bytes_json(p->text_bytes),
                                "reserve", bytes_json(p->memory.reserve_bytes));
    json_t *top = json_pack("{s:s,s:s,s:I,s:I,s:i,s:b}", "name", p->info.name, "arch", p->info.arch,
                            "context_trained", (json_int_t)p->info.n_ctx_train, "context",
                            (json_int_t)p->memory.n_ctx, "users", p->engine.limits.n_seq_max,
                            "fits", o->fits);
    json_object_set_new(top, "weight_bytes",
                        bytes_json(p->info.weight_bytes + p->draft_info.weight_bytes));
    json_object_set_new(top, "kv_bytes", bytes_json(p->memory.kv_bytes + p->memory.draft_kv_bytes));
    json_object_set_new(top, "scratch_bytes", bytes_json(load_plan_scratch_bytes(p)));
    json_object_set_new(top, "total_bytes", bytes_json(total(o)));
    json_object_set_new(top, "memory_bytes", bytes_json(o->opts.budget_bytes));
    json_object_set_new(top, "kv", kv);
    json_object_set_new(top, "scratch", scratch);
    if (o->opts.draft) {
        json_object_set_new(scratch, "draft", bytes_json(p->draft_bytes));
        json_object_set_new(top, "draft", draft_json(p));
    }
    if (load_plan_embeds(p)) {
        json_object_set_new(top, "pooling", json_string(pooling_name(p->info.pooling)));
        json_object_set_new(top, "embedding_length", json_integer(p->info.n_embd));
    }
    json_object_set_new(top, "whole_contexts", json_integer(whole_contexts(o)));
    json_object_set_new(top, "room", rooms_json(o));
    if (!o->fits)
        json_object_set_new(top, "error", json_string(o->why.text));
    json_dumpf(top, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(top);
    int code = cli_done();
    return o->fits ? code : CLI_FAILED;
}

/* ---- for people ---- */

static void line(const char *what, uint64_t bytes)
{
    char size[24];
    progress_size((int64_t)bytes, size);
    printf("  %-20s %16llu  %10s", what, (unsigned long long)bytes, size);
}

static void print_sizes(const struct outlook *o)
{
    const struct load_plan *p = &o->plan;
    const struct memory_plan *m = &p->memory;
    char block[24];
    progress_size((int64_t)p->info.kv_block_bytes, block);
    line("weights", p->info.weight_bytes);
    printf("  as they are packed\n");
    line("keys and values", m->kv_bytes);
    printf("  %u blocks of %d tokens, %s each; %llu bytes a token (%s)\n", m->n_blocks,
           KV_BLOCK_LEN, block, (unsigned long long)(p->info.kv_block_bytes / KV_BLOCK_LEN),
           kv_type_name(o->opts.kv_type));
    line("scratch, model", p->model_bytes);
    printf("  %d tokens a step, %d threads\n", p->model.n_batch_max, pool_n_threads(p->model.pool));
    line("scratch, engine", p->engine_bytes);
    printf("  %d rows of logits, sampling\n", p->model.n_out_max);
    line("tokenizer", p->text_bytes);
    printf("  %d tokens\n", p->info.n_vocab);
    if (o->opts.draft) {
        line("draft: weights", p->draft_info.weight_bytes);
        printf("  %s\n", p->draft_info.name[0] != '\0' ? p->draft_info.name : p->draft_info.arch);
        line("draft: keys, values", m->draft_kv_bytes);
        printf("  as many blocks; %llu bytes a token\n",
               (unsigned long long)(p->draft_info.kv_block_bytes / KV_BLOCK_LEN));
        line("draft: scratch", p->draft_bytes);
        printf("  %d rows of logits\n", p->draft_model.n_out_max);
    }
    line("reserve", m->reserve_bytes);
    printf("  requests, output, the program itself\n");
    line("total", total(o));
    putchar('\n');
    line("available", o->opts.budget_bytes);
    putchar('\n');
}

static void print_rooms(const struct outlook *o)
{
    printf("\nThe longest context that users can have at once, all of it:\n  %5s", "users");
    for (int type = 0; type < KV_TYPES; type++)
        printf("  %10s", kv_type_name((enum kv_type)type));
    putchar('\n');
    for (int i = 0; i < o->n_room; i++) {
        printf("  %5lld", (long long)o->room[i].n_users);
        for (int type = 0; type < KV_TYPES; type++)
            printf("  %10lld", (long long)o->room[i].n_ctx[type]);
        putchar('\n');
    }
}

/* A model that embeds keeps nothing of a request: there are no users whose contexts share room. */
static int print_embedder(const struct outlook *o)
{
    const struct load_plan *p = &o->plan;
    printf("%s: %s of texts of up to %lld tokens (trained for %d), pooling: %s\n\n",
           p->info.name[0] != '\0' ? p->info.name : p->info.arch,
           p->info.pooling == POOLING_RANK ? "scores" : "vectors", (long long)p->memory.n_ctx,
           p->info.n_ctx_train, pooling_name(p->info.pooling));
    line("weights", p->info.weight_bytes);
    printf("  as they are packed\n");
    line("keys and values", p->memory.kv_bytes);
    printf("  %s\n", p->info.is_encoder ? "none are kept: whole texts in one pass"
                                        : "of one long text and the short ones of a step");
    line("scratch, model", p->model_bytes);
    printf("  %d tokens a step, %d threads\n", p->model.n_batch_max, pool_n_threads(p->model.pool));
    line("scratch, embedder", p->engine_bytes);
    putchar('\n');
    line("tokenizer", p->text_bytes);
    printf("  %d tokens\n", p->info.n_vocab);
    line("reserve", p->memory.reserve_bytes);
    printf("  requests, output, the program itself\n");
    line("total", total(o));
    putchar('\n');
    line("available", o->opts.budget_bytes);
    putchar('\n');
    int code = cli_done();
    return o->fits ? code : cli_fail(&o->why);
}

static int print_text(const struct outlook *o)
{
    if (load_plan_embeds(&o->plan))
        return print_embedder(o);
    const struct load_plan *p = &o->plan;
    int64_t n_users = p->engine.limits.n_seq_max, whole = whole_contexts(o);
    printf("%s: a context of %lld tokens (trained for %d), %lld user%s at once\n\n",
           p->info.name[0] != '\0' ? p->info.name : p->info.arch, (long long)p->memory.n_ctx,
           p->info.n_ctx_train, (long long)n_users, n_users == 1 ? "" : "s");
    print_sizes(o);
    if (whole < n_users)
        printf("\nUsers share the blocks: %lld can fill their context at once; when blocks run "
               "out the youngest request waits and goes on later.\n",
               (long long)whole);
    print_rooms(o);
    int code = cli_done();
    return o->fits ? code : cli_fail(&o->why);
}

/* ---- the command ---- */

static int prepare(const struct choice *c, struct load_opts *ret, struct err *err)
{
    enum cpu_level level;
    struct thread_plan threads = {c->n_threads, 0};
    struct pool *pool;
    int rc = cpu_level_choose(&level, err);
    if (rc != 0)
        return rc;
    if (c->n_threads == 0)
        thread_plan_choose(NULL, false, &threads);
    rc = pool_new(threads.n_prefill, &pool, err);
    if (rc != 0)
        return rc;
    *ret = (struct load_opts){
        .n_ctx = c->n_ctx,
        .n_seq = c->n_users,
        .kv_type = (enum kv_type)c->kv_type,
        .budget_bytes = c->memory_bytes > 0 ? (uint64_t)c->memory_bytes : memory_available(),
        .pool = pool,
        .kernels = kernels_get(level),
        .prefix_fd = -1,
    };
    return 0;
}

static int run(const char *model, const struct choice *c)
{
    struct err err = {0};
    struct outlook o = {.c = c};
    struct gguf *g = NULL;
    struct gguf *draft = NULL;
    struct tokenizer *t = NULL;
    int rc = cli_gguf_open(model, &g, NULL, &err);
    rc = rc != 0 ? rc : tokenizer_new(g, &t, &err);
    rc = rc != 0 ? rc : prepare(c, &o.opts, &err);
    if (rc == 0 && c->draft_model) {
        rc = cli_gguf_open(c->draft_model, &draft, NULL, &err);
        rc = rc != 0 ? rc : draft_model_check(t, draft, &err);
        o.opts.draft = draft;
    }
    rc = rc != 0 ? rc : look(&o, g, t, &err);
    int code = rc != 0 ? cli_fail(&err) : c->json ? print_json(&o) : print_text(&o);
    pool_free(o.opts.pool);
    tokenizer_free(t);
    gguf_free(draft);
    gguf_free(g);
    return code;
}

int cmd_plan(int argc, char **argv)
{
    struct choice c = {0};
    const struct arg_option option[] = {
        {"context", 'c', ARG_INT, "N", "tokens of a request; 0: as many as fit", &c.n_ctx, 0,
         INT32_MAX, .flag_only = true},
        {"users", 'u', ARG_INT, "M", "requests at once (serve's --parallel); 0: its default",
         &c.n_users, 0, WORKER_SEQ_MAX, .flag_only = true},
        {"kv-type", 0, ARG_WORD, KV_TYPE_WORDS, "of keys and values (f16)", &c.kv_type,
         .flag_only = true},
        {"memory", 'm', ARG_BYTES, "SIZE", "to plan with; 0: what this machine has now",
         &c.memory_bytes, 0, INT64_MAX, .flag_only = true},
        {"draft-model", 0, ARG_STR, "MODEL", "with this draft model", &c.draft_model,
         .flag_only = true},
        {"threads", 't', ARG_INT, "N", "threads; 0: as serve chooses", &c.n_threads, 0,
         POOL_THREADS_MAX, .flag_only = true},
        {"json", 'j', ARG_BOOL, NULL, "as JSON", &c.json, .flag_only = true},
    };
    const struct args_spec spec = {
        .command = "plan",
        .usage = "MODEL|FILE.gguf",
        .summary = "Show what memory a model takes, to the byte, and what fits",
        .details = "Nothing is loaded. Exits with 1 when it does not fit, and says why.",
        .option = option,
        .n_option = ARRAY_LEN(option),
        .n_word_min = 1,
        .n_word_max = 1,
    };
    struct args args;
    int code;
    if (!args_take(&spec, argc, argv, &args, &code))
        return code;
    code = run(args.word[0], &c);
    args_release(&args);
    return code;
}
