/*
 * models: see models.h. Owns the list of slots, the library, and the one sum of memory.
 *
 * What a model needs before it was loaded is not known here (its bytes are never parsed): its
 * files' size stands for it, and the worker, which plans exactly, has the last word.
 */
#include "gateway/models.h"

#include "base/cgroup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "gateway/process.h"
#include "gateway/room.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MACHINE_SHARE 0.9 /* of the machine's memory, when no budget was given */

int models_init(struct models *m, uv_loop_t *loop, const struct gateway_opts *opts,
                struct metrics *metrics, struct err *err)
{
    struct err why = {0};
    *m = (struct models){.loop = loop, .opts = opts, .metrics = metrics};
    uv_timer_init(loop, &m->expiry);
    m->expiry.data = m;
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
    for (int i = 0; i < MODELS_KNOWN_MAX; i++)
        free(m->known[i].digest_or_name);
    prefix_store_close(m->prefixes);
    m->prefixes = NULL;
    m->store = NULL;
    m->pack_cache = NULL;
}

static void line_leave(struct models *m, struct slot *s);

void models_forget(struct models *m, struct slot *s)
{
    struct slot **at = &m->slots;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    line_leave(m, s);
    log_info("model %s is unloaded", s->name);
    slot_free(s);
    done_if_empty(m);
}

uint64_t models_next_id(struct models *m)
{
    return ++m->last_id;
}

int64_t models_position(const struct models *m, uint64_t job_id)
{
    int64_t position = -1;
    for (const struct slot *s = m->slots; s != NULL && position < 0; s = s->next)
        position = slot_position(s, job_id);
    return position;
}

/* ---- memory ---- */

int64_t models_budget_bytes(const struct models *m)
{
    if (m->opts->memory_max_bytes > 0)
        return m->opts->memory_max_bytes;
    int64_t machine = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    uint64_t group = cgroup_memory(CGROUP_PROC, CGROUP_SYS).max;
    return (int64_t)((double)(group < (uint64_t)machine ? (int64_t)group : machine) *
                     MACHINE_SHARE);
}

/* What its process holds, or may come to hold. */
static int64_t held_bytes(const struct slot *s)
{
    if (s->process == NULL)
        return 0;
    return s->state == SLOT_LOADING ? s->granted_bytes : slot_plan_bytes(s);
}

/* ---- what is known from before ---- */

static const char *known_key(const struct slot *s)
{
    return s->digest[0] != '\0' ? s->digest : s->name;
}

static struct model_known *known_find(struct models *m, const struct slot *s)
{
    for (int i = 0; i < MODELS_KNOWN_MAX; i++)
        if (m->known[i].digest_or_name != NULL &&
            strcmp(m->known[i].digest_or_name, known_key(s)) == 0)
            return &m->known[i];
    return NULL;
}

/* The one used longest ago, or a free one, becomes this model's. */
static void remember(struct models *m, const struct slot *s)
{
    struct model_known *k = known_find(m, s);
    for (int i = 0; k == NULL && i < MODELS_KNOWN_MAX; i++)
        if (m->known[i].digest_or_name == NULL)
            k = &m->known[i];
    for (int i = 0; i < MODELS_KNOWN_MAX && (k == NULL || k->used > 0); i++)
        if (k == NULL || (known_find(m, s) == NULL && m->known[i].used < k->used))
            k = &m->known[i];
    if (k->digest_or_name == NULL || strcmp(k->digest_or_name, known_key(s)) != 0) {
        free(k->digest_or_name);
        k->digest_or_name = str_dup(str_z(known_key(s)));
    }
    k->need_bytes = s->need_bytes;
    k->load_ms = s->load_ms;
    k->used = ++m->last_known;
}

void models_recall(struct models *m, struct slot *s)
{
    const struct model_known *k = known_find(m, s);
    s->keep_alive_ms = m->opts->keep_alive_ms;
    if (k != NULL) {
        s->need_bytes = k->need_bytes;
        s->load_ms = k->load_ms;
    }
}

bool models_needs_more(struct models *m, struct slot *s)
{
    int64_t others = 0, budget = models_budget_bytes(m);
    for (const struct slot *other = m->slots; other != NULL; other = other->next)
        others += other == s ? 0 : held_bytes(other);
    if (others == 0)
        return false; /* it had everything */
    int64_t more = s->granted_bytes / 8 > 16 << 20 ? s->granted_bytes / 8 : 16 << 20;
    s->need_bytes = s->granted_bytes < budget - more ? s->granted_bytes + more : budget;
    remember(m, s);
    return true;
}

/* ---- the line for memory ---- */

static struct slot *line_head(const struct models *m)
{
    struct slot *head = NULL;
    for (struct slot *s = m->slots; s != NULL; s = s->next)
        if (s->ticket != 0 && (head == NULL || s->ticket < head->ticket))
            head = s;
    return head;
}

int models_line_position(const struct models *m, const struct slot *s)
{
    int n = s->ticket != 0;
    for (const struct slot *other = m->slots; s->ticket != 0 && other != NULL; other = other->next)
        n += other->ticket != 0 && other->ticket < s->ticket;
    return n;
}

/* Who was told to yield for it need not any more; the next in the line looks for itself. */
static void line_leave(struct models *m, struct slot *s)
{
    if (s->ticket == 0)
        return;
    s->ticket = 0;
    for (struct slot *other = m->slots; other != NULL; other = other->next) {
        if (other->yielding && other->state == SLOT_READY) {
            other->yielding = false;
            slot_poke(other);
        }
    }
    if (line_head(m) != NULL)
        slot_poke(line_head(m));
}

static enum models_room line_join(struct models *m, struct slot *s)
{
    if (s->ticket == 0) {
        s->ticket = ++m->last_ticket;
        s->line_ms = clock_ms();
        log_info("model %s waits for memory, number %d in the line", s->name,
                 models_line_position(m, s));
    }
    return MODELS_ROOM_SOON;
}

static int64_t need_of(const struct slot *s)
{
    int64_t files = slot_file_bytes(s);
    return s->need_bytes > files ? s->need_bytes : files;
}

static enum models_room refuse(struct models *m, struct slot *s, int64_t staying, struct err *err)
{
    int64_t budget = models_budget_bytes(m),
            waited_ms = s->ticket == 0 ? 0 : clock_ms() - s->line_ms;
    line_leave(m, s);
    err_set(err, ERR_NOMEM,
            "it needs %" PRId64 " MiB%s, and of the memory budget of %" PRId64
            " MiB other models in use hold %" PRId64 " MiB",
            need_of(s) >> 20, s->need_bytes > slot_file_bytes(s) ? "" : " for its files",
            budget >> 20, staying >> 20);
    if (waited_ms > 0)
        err_wrap(err, "it waited %.1f s for memory", (double)waited_ms * 1e-3);
    size_t n = strlen(err->text);
    snprintf(err->text + n, sizeof err->text - n,
             "; stop one of them, use a smaller model, or raise --memory-max");
    return MODELS_ROOM_NONE;
}

/* How the others are, for room_plan. ret and ret_slot: as many as there are slots. */
static int survey(const struct models *m, const struct slot *but, struct room_model *ret,
                  struct slot **ret_slot)
{
    int n = 0;
    int64_t now_ms = clock_ms();
    for (struct slot *s = m->slots; s != NULL; s = s->next) {
        if (s == but || s->process == NULL)
            continue;
        bool idle = s->n_jobs == 0 || (s->yielding && !slot_runs(s));
        ret[n] = (struct room_model){
            .state = s->state == SLOT_STOPPING || s->state == SLOT_LEAVING ? ROOM_LEAVING
                     : s->state != SLOT_READY                              ? ROOM_LOADING
                     : idle                                                ? ROOM_IDLE
                                                                           : ROOM_BUSY,
            .bytes = held_bytes(s),
            .ready_ms = now_ms - s->ready_ms,
            .idle_ms = now_ms - s->used_ms,
            .load_ms = s->load_ms,
            .keep = s->keep,
            .yielding = s->yielding,
        };
        ret_slot[n++] = s;
    }
    return n;
}

static void evict(struct models *m, struct slot *s, const struct slot *for_whom)
{
    log_info("model %s makes room for %s", s->name, for_whom->name);
    metrics_model(m->metrics, s->name)->evictions++;
    m->age = s->keep;
    slot_evict(s);
}

static enum models_room take_room(struct models *m, struct slot *s, int64_t held,
                                  int64_t *ret_bytes_max)
{
    int64_t budget = models_budget_bytes(m), left = budget - held;
    bool given = m->opts->memory_max_bytes > 0;
    line_leave(m, s);
    s->granted_bytes = left;
    *ret_bytes_max = given || held > 0 ? (left > 0 ? left : 1) : 0;
    return MODELS_ROOM_YES;
}

enum models_room models_make_room(struct models *m, struct slot *s, int64_t *ret_bytes_max,
                                  struct err *err)
{
    int n_slot = 0, i = 0;
    int64_t held = 0;
    for (const struct slot *other = m->slots; other != NULL; other = other->next)
        n_slot++;
    struct room_model *model = mem_zero((size_t)n_slot + 1, sizeof *model);
    struct slot **slot = mem_zero((size_t)n_slot + 1, sizeof(struct slot *));
    int n = survey(m, s, model, slot);
    bool moving = false; /* one loads or leaves: that has an end, and the wait is worth it */
    for (int k = 0; k < n; k++) {
        held += model[k].bytes;
        moving = moving || model[k].state == ROOM_LOADING || model[k].state == ROOM_LEAVING;
    }
    const struct slot *head = line_head(m);
    int64_t waited_ms = s->ticket == 0 ? 0 : clock_ms() - s->line_ms;
    enum room_step step = room_plan(model, n, models_budget_bytes(m), need_of(s), waited_ms, &i);
    enum models_room ret = MODELS_ROOM_SOON;
    /* A wait that is over is no reason to refuse what there is room for by now. */
    bool late = s->ticket != 0 && !moving && waited_ms >= m->opts->load_wait_ms;
    if (step == ROOM_NEVER || (late && step != ROOM_GO && step != ROOM_EVICT)) {
        ret = refuse(m, s, held, err);
    } else if (head != NULL && head != s) {
        ret = line_join(m, s);
    } else if (step == ROOM_GO) {
        ret = take_room(m, s, held, ret_bytes_max);
    } else {
        ret = line_join(m, s);
        if (step == ROOM_EVICT)
            evict(m, slot[i], s);
        if (step == ROOM_YIELD) {
            log_info("model %s has had its turn and yields to %s", slot[i]->name, s->name);
            slot[i]->yielding = true;
        }
    }
    free(model);
    free(slot);
    return ret;
}

/* ---- times ---- */

void models_on_ready(struct models *m, struct slot *s)
{
    struct model_metrics *mm = metrics_model(m->metrics, s->name);
    s->ready_ms = clock_ms();
    s->load_ms = s->ready_ms - s->start_ms;
    s->used_ms = s->ready_ms;
    s->keep = m->age + room_cost(s->load_ms, slot_plan_bytes(s));
    mm->loads++;
    mm->load_s += (double)s->load_ms * 1e-3;
    remember(m, s);
    models_on_job_over(m, s);
}

static bool expires(const struct slot *s)
{
    return s->n_jobs == 0 && s->keep_alive_ms >= 0 && s->process != NULL && !s->retiring &&
           s->state == SLOT_READY;
}

static void plan_expiry(struct models *m);

static void on_expiry(uv_timer_t *t)
{
    struct models *m = t->data;
    struct slot *next;
    for (struct slot *s = m->slots; s != NULL; s = next) {
        next = s->next;
        if (expires(s) && clock_ms() - s->used_ms >= s->keep_alive_ms) {
            log_info("model %s was idle for its keep_alive", s->name);
            slot_retire(s);
        }
    }
    plan_expiry(m);
}

static void plan_expiry(struct models *m)
{
    int64_t least = -1, now_ms = clock_ms();
    for (const struct slot *s = m->slots; s != NULL; s = s->next) {
        int64_t left = s->keep_alive_ms - (now_ms - s->used_ms);
        if (expires(s) && (least < 0 || left < least))
            least = left > 0 ? left : 0;
    }
    if (least < 0 || m->stopping)
        uv_timer_stop(&m->expiry);
    else
        uv_timer_start(&m->expiry, on_expiry, (uint64_t)least, 0);
}

void models_on_job_over(struct models *m, struct slot *s)
{
    struct slot *head = line_head(m);
    if (head != NULL && head->state == SLOT_WAITING)
        slot_poke(head);
    if (s->n_jobs == 0 && s->keep_alive_ms >= 0)
        plan_expiry(m);
}

void models_keep(struct models *m, struct slot *s, bool given, int64_t keep_alive_ms)
{
    s->keep_alive_ms = given ? keep_alive_ms : m->opts->keep_alive_ms;
    if (s->n_jobs == 0)
        plan_expiry(m);
}

int64_t models_expires_ms(const struct slot *s)
{
    if (s->keep_alive_ms < 0 || s->state != SLOT_READY)
        return -1;
    int64_t idle_ms = s->n_jobs > 0 ? 0 : clock_ms() - s->used_ms;
    int64_t left = s->keep_alive_ms - idle_ms;
    return clock_wall_ms() + (left > 0 ? left : 0);
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
    s->used_ms = clock_ms();
    if (s->state == SLOT_READY)
        s->keep = m->age + room_cost(s->load_ms, slot_plan_bytes(s));
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

int64_t models_process_bytes(int pid)
{
    char path[48];
    struct buf text;
    struct str rest, part;
    int64_t pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", pid);
    buf_init(&text, 256);
    bool ok = fs_read(path, &text, NULL) == 0; /* "size resident shared ..." */
    rest = buf_str(&text);
    ok = ok && str_split(&rest, ' ', &part) && str_split(&rest, ' ', &part) &&
         str_to_i64(part, &pages);
    buf_release(&text);
    return ok ? pages * sysconf(_SC_PAGESIZE) : 0;
}

int64_t models_resident_bytes(const struct slot *s)
{
    return s->process == NULL ? 0 : models_process_bytes(process_pid(s->process));
}

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
VALUE(value_drafted, s->stats.drafted_tokens)
VALUE(value_accepted, s->stats.accepted_tokens)
VALUE(value_draft_model, s->stats.draft_model_tokens)
VALUE(value_draft_model_held, s->stats.draft_model_accepted)
VALUE(value_draft, s->stats.draft_s)
VALUE(value_guided, s->stats.guided_tokens)
VALUE(value_mask_wait, s->stats.mask_wait_s)
VALUE(value_masks, s->stats.mask_bytes)
VALUE(value_prefill, s->stats.prefill_s)
VALUE(value_decode, s->stats.decode_s)
VALUE(value_disk_hits, s->stats.disk_hits)
VALUE(value_disk_tokens, s->stats.disk_tokens)
VALUE(value_disk_blocks, s->stats.disk_blocks)
VALUE(value_disk_read, s->stats.disk_read_bytes)
VALUE(value_disk_written, s->stats.disk_written_bytes)
VALUE(value_restarts, s->n_starts > 0 ? s->n_starts - 1 : 0)
VALUE(value_bytes, slot_plan_bytes(s))
VALUE(value_resident, models_resident_bytes(s))
VALUE(value_blocks_cached, s->stats.cached_blocks)
VALUE(value_lookup, s->stats.cache_lookup_tokens)
VALUE(value_found, s->stats.cached_tokens)
VALUE(value_prompt_rate, rate_now(&s->prompt_rate, clock_ms()))
VALUE(value_output_rate, rate_now(&s->output_rate, clock_ms()))
VALUE(value_line, models_line_position(s->models, s))

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
    {"hearth_worker_kv_blocks_cached", "gauge", "Blocks that keep prefixes for later requests.",
     value_blocks_cached},
    {"hearth_worker_cache_lookup_tokens_total", "counter", "Prompt tokens looked up in the cache.",
     value_lookup},
    {"hearth_worker_cache_found_tokens_total", "counter", "Prompt tokens found in the cache.",
     value_found},
    {"hearth_worker_prefill_tokens_per_second", "gauge", "Of the last ten seconds.",
     value_prompt_rate},
    {"hearth_worker_decode_tokens_per_second", "gauge", "Of the last ten seconds.",
     value_output_rate},
    {"hearth_worker_resident_bytes", "gauge", "Resident memory of the worker process.",
     value_resident},
    {"hearth_model_line_position", "gauge", "Place in the line for memory, from 1; 0: in none.",
     value_line},
    {"hearth_worker_steps_total", "counter", "Engine steps since the worker started.", value_steps},
    {"hearth_worker_prompt_tokens_total", "counter", "Prompt tokens computed.", value_prompt},
    {"hearth_worker_output_tokens_total", "counter", "Tokens generated.", value_output},
    {"hearth_worker_preemptions_total", "counter", "Sequences put back for want of blocks.",
     value_preemptions},
    {"hearth_worker_cancelled_total", "counter", "Sequences stopped on request.", value_cancelled},
    {"hearth_worker_drafted_tokens_total", "counter", "Guessed tokens that were computed along.",
     value_drafted},
    {"hearth_worker_accepted_tokens_total", "counter", "Of those, the ones that held.",
     value_accepted},
    {"hearth_worker_draft_model_tokens_total", "counter",
     "Of the guessed tokens, those of the draft model.", value_draft_model},
    {"hearth_worker_draft_model_accepted_tokens_total", "counter", "Of those, the ones that held.",
     value_draft_model_held},
    {"hearth_worker_draft_seconds_total", "counter",
     "Engine time of the draft model, part of the time on answers.", value_draft},
    {"hearth_worker_constrained_tokens_total", "counter",
     "Tokens of answers that are held to a form.", value_guided},
    {"hearth_worker_mask_wait_seconds_total", "counter",
     "That steps waited for what such tokens may be.", value_mask_wait},
    {"hearth_worker_mask_bytes", "gauge", "Kept masks of tokens, of all forms.", value_masks},
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
