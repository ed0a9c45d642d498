/*
 * models: see models.h. Owns the list of slots, the library, and the one sum of memory.
 *
 * What a model needs before it was loaded is not known here (its bytes are never parsed): its
 * files' size stands for it, and the worker, which plans exactly, has the last word.
 */
#include "gateway/models.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MACHINE_SHARE 0.9 /* of the machine's memory, when no budget was given */

int models_init(struct models *m, uv_loop_t *loop, const struct gateway_opts *opts,
                struct metrics *metrics, struct err *err)
{
    struct err why = {0};
    *m = (struct models){.loop = loop, .opts = opts, .metrics = metrics};
    if (opts->pack_cache && pack_cache_open(opts->cache_dir, opts->pack_cache_bytes_max,
                                            opts->pack_layout, &m->pack_cache, &why) != 0)
        log_warn("packed weights are not kept: %s", why.text);
    if (opts->prefix_disk &&
        prefix_store_open(opts->cache_dir, opts->prefix_disk_max, opts->prefix_layout, opts->exe,
                          &m->prefixes, &why) != 0)
        log_warn("computed prefixes are not kept: %s", why.text);
    return store_open(opts->models_dir, &m->store, err);
}

static void done_if_empty(struct models *m)
{
    if (m->stopping && m->slots == NULL && m->on_stopped != NULL) {
        void (*fn)(void *ctx) = m->on_stopped;
        m->on_stopped = NULL;
        fn(m->stopped_ctx);
    }
}

void models_stop(struct models *m, void (*on_stopped)(void *ctx), void *ctx)
{
    m->stopping = true;
    m->on_stopped = on_stopped;
    m->stopped_ctx = ctx;
    struct slot *next;
    for (struct slot *s = m->slots; s != NULL; s = next) {
        next = s->next;
        slot_stop(s);
    }
    done_if_empty(m);
}

void models_release(struct models *m)
{
    store_close(m->store);
    pack_cache_close(m->pack_cache);
    prefix_store_close(m->prefixes);
    m->prefixes = NULL;
    m->store = NULL;
    m->pack_cache = NULL;
}

void models_forget(struct models *m, struct slot *s)
{
    struct slot **at = &m->slots;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    log_info("model %s is unloaded", s->name);
    slot_free(s);
    done_if_empty(m);
}

uint64_t models_next_id(struct models *m)
{
    return ++m->last_id;
}

/* ---- memory ---- */

static int64_t cgroup_bytes(void)
{
    struct buf text;
    int64_t bytes = 0;
    buf_init(&text, 64);
    if (fs_read("/sys/fs/cgroup/memory.max", &text, NULL) != 0 ||
        !str_to_i64(str_trim(buf_str(&text)), &bytes) || bytes <= 0)
        bytes = INT64_MAX;
    buf_release(&text);
    return bytes;
}

static int64_t budget_bytes(const struct models *m)
{
    if (m->opts->memory_max_bytes > 0)
        return m->opts->memory_max_bytes;
    int64_t machine = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    int64_t group = cgroup_bytes();
    return (int64_t)((double)(machine < group ? machine : group) * MACHINE_SHARE);
}

bool models_evict_one(struct models *m, const struct slot *but)
{
    struct slot *oldest = NULL;
    for (struct slot *s = m->slots; s != NULL; s = s->next)
        if (s != but && s->state == SLOT_READY && s->n_jobs == 0 &&
            (oldest == NULL || s->used_ms < oldest->used_ms))
            oldest = s;
    if (oldest == NULL)
        return false;
    log_info("model %s is idle and makes room for another", oldest->name);
    m->metrics->evictions++;
    slot_stop(oldest);
    return true;
}

enum models_room models_make_room(struct models *m, const struct slot *s, int64_t *ret_bytes_max,
                                  struct err *err)
{
    int64_t budget = budget_bytes(m), staying = 0, leaving = 0;
    for (const struct slot *other = m->slots; other != NULL; other = other->next) {
        if (other == s)
            continue;
        if (other->state == SLOT_STOPPING)
            leaving += slot_plan_bytes(other);
        else
            staying += slot_plan_bytes(other);
    }
    bool given = m->opts->memory_max_bytes > 0;
    int64_t left = budget - staying - leaving;
    *ret_bytes_max = given || staying + leaving > 0 ? (left > 0 ? left : 1) : 0;
    if (s->bytes <= left)
        return ROOM_YES;
    if (s->bytes <= budget - staying || models_evict_one(m, s))
        return ROOM_SOON;
    err_set(err, ERR_NOMEM,
            "its files need %" PRId64 " MiB, and of the memory budget of %" PRId64
            " MiB other models in use hold %" PRId64 " MiB; stop one of them, use a smaller model, "
            "or raise --memory-max",
            s->bytes >> 20, budget >> 20, staying >> 20);
    return ROOM_NONE;
}

/* ---- names ---- */

static struct slot *find_loaded(struct models *m, const char *name, const char *digest)
{
    for (struct slot *s = m->slots; s != NULL; s = s->next)
        if (!s->retiring && s->state != SLOT_STOPPING && strcmp(s->name, name) == 0 &&
            (digest == NULL || strcmp(s->digest, digest) == 0))
            return s;
    return NULL;
}

/* Resolves a name; a path only when it is trusted or already being served. */
static int resolve(struct models *m, const char *name, bool trusted, struct store_model *ret,
                   struct err *err)
{
    enum model_source source = model_source_of(name);
    bool startup = m->opts->model != NULL && strcmp(name, m->opts->model) == 0;
    if (source == SOURCE_PATH && !trusted && !startup)
        return err_set_param(err, ERR_NOT_FOUND, "model",
                             "the model '%.200s' is not served here: requests name models of the "
                             "library, not files (see /v1/models)",
                             name);
    if (source != SOURCE_PATH && source != SOURCE_NAME)
        return err_set_param(err, ERR_NOT_FOUND, "model",
                             "'%.200s' is no model's name; pull it first, then use its name", name);
    int code = store_find(m->store, name, ret, err);
    if (err != NULL && (code == ERR_NOT_FOUND || code == ERR_INVALID)) {
        err->code = code = ERR_NOT_FOUND; /* a name that cannot be one is not there either */
        strcpy(err->param, "model");
    }
    return code;
}

int models_find(struct models *m, const char *name, bool trusted, struct slot **ret,
                struct err *err)
{
    struct slot *s = find_loaded(m, name, "");
    if (s == NULL) { /* not a file that is served under its own path */
        struct store_model found = {0};
        int code = resolve(m, name, trusted, &found, err);
        if (code != 0)
            return code;
        s = find_loaded(m, found.name, found.digest);
        if (s == NULL && !m->stopping) {
            struct slot *stale = find_loaded(m, found.name, NULL);
            if (stale != NULL) /* the name was pulled anew: what is loaded is the old one */
                slot_retire(stale);
            s = slot_new(m, &found);
            s->next = m->slots;
            m->slots = s;
            slot_start(s);
        }
        store_model_release(&found);
    }
    if (s == NULL)
        return err_set(err, ERR_UNAVAILABLE, "the server is shutting down");
    if (s->state == SLOT_FAILED) {
        int code = slot_revive(s, err);
        if (code != 0)
            return code;
    }
    *ret = s;
    return 0;
}

int models_unload(struct models *m, const char *name, struct err *err)
{
    struct store_model found = {0};
    struct slot *s = find_loaded(m, name, NULL);
    if (s == NULL && model_source_of(name) == SOURCE_NAME &&
        store_find(m->store, name, &found, NULL) == 0)
        s = find_loaded(m, found.name, NULL);
    store_model_release(&found);
    if (s == NULL)
        return err_set_param(err, ERR_NOT_FOUND, "model", "model '%.200s' is not loaded", name);
    slot_retire(s);
    return 0;
}

/* ---- numbers ---- */

struct series {
    const char *name, *type, *help;
    double (*value)(const struct slot *s);
};

#define VALUE(fn, expression)                                                                      \
    static double fn(const struct slot *s)                                                         \
    {                                                                                              \
        return (double)(expression);                                                               \
    }
VALUE(value_ready, s->state == SLOT_READY)
VALUE(value_jobs, s->n_jobs)
VALUE(value_running, s->stats.running)
VALUE(value_waiting, s->stats.waiting)
VALUE(value_blocks_used, s->stats.kv_blocks_used)
VALUE(value_blocks, s->stats.kv_blocks)
VALUE(value_steps, s->stats.steps)
VALUE(value_prompt, s->stats.prompt_tokens)
VALUE(value_output, s->stats.output_tokens)
VALUE(value_preemptions, s->stats.preemptions)
VALUE(value_cancelled, s->stats.cancelled)
VALUE(value_prefill, s->stats.prefill_s)
VALUE(value_decode, s->stats.decode_s)
VALUE(value_disk_hits, s->stats.disk_hits)
VALUE(value_disk_tokens, s->stats.disk_tokens)
VALUE(value_disk_blocks, s->stats.disk_blocks)
VALUE(value_disk_read, s->stats.disk_read_bytes)
VALUE(value_disk_written, s->stats.disk_written_bytes)
VALUE(value_restarts, s->n_starts > 0 ? s->n_starts - 1 : 0)
VALUE(value_bytes, slot_plan_bytes(s))

/* clang-format off: rows of a table */
static const struct series all_series[] = {
    {"hearth_model_ready", "gauge", "1 when the model's worker is ready.", value_ready},
    {"hearth_model_requests", "gauge", "Requests in the gateway: waiting and running.", value_jobs},
    {"hearth_model_memory_bytes", "gauge", "Weights, keys and values, scratch as planned.",
     value_bytes},
    {"hearth_model_restarts_total", "counter", "Starts of its worker after the first.",
     value_restarts},
    {"hearth_worker_running", "gauge", "Sequences being computed.", value_running},
    {"hearth_worker_waiting", "gauge", "Sequences waiting in the worker.", value_waiting},
    {"hearth_worker_kv_blocks_used", "gauge", "Blocks of keys and values in use.",
     value_blocks_used},
    {"hearth_worker_kv_blocks", "gauge", "Blocks of keys and values.", value_blocks},
    {"hearth_worker_steps_total", "counter", "Engine steps since the worker started.", value_steps},
    {"hearth_worker_prompt_tokens_total", "counter", "Prompt tokens computed.", value_prompt},
    {"hearth_worker_output_tokens_total", "counter", "Tokens generated.", value_output},
    {"hearth_worker_preemptions_total", "counter", "Sequences put back for want of blocks.",
     value_preemptions},
    {"hearth_worker_cancelled_total", "counter", "Sequences stopped on request.", value_cancelled},
    {"hearth_worker_prefill_seconds_total", "counter", "Engine time on prompts.", value_prefill},
    {"hearth_worker_decode_seconds_total", "counter", "Engine time on answers.", value_decode},
    {"hearth_worker_prefix_disk_hits_total", "counter",
     "Times that part of a prompt was read from the disk.", value_disk_hits},
    {"hearth_worker_prefix_disk_tokens_total", "counter", "Tokens that were read so.",
     value_disk_tokens},
    {"hearth_worker_prefix_disk_blocks", "gauge", "Blocks of keys and values on the disk.",
     value_disk_blocks},
    {"hearth_worker_prefix_disk_read_bytes_total", "counter", "Read from there.", value_disk_read},
    {"hearth_worker_prefix_disk_written_bytes_total", "counter", "Written there.",
     value_disk_written},
};
/* clang-format on */

void models_write_metrics(const struct models *m, struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(all_series); i++) {
        const struct series *x = &all_series[i];
        metrics_head(out, x->name, x->type, x->help);
        for (const struct slot *s = m->slots; s != NULL; s = s->next) {
            if (s->retiring || s->state == SLOT_STOPPING)
                continue; /* its successor may bear the same name */
            buf_printf(out, "%s{model=\"", x->name);
            metrics_label(out, s->name);
            buf_printf(out, "\"} %.15g\n", x->value(s));
        }
    }
}
