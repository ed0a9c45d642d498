/*
 * embedder: see the header.
 *
 * Invariants: jobs are in the list from submit to is_over; texts of a job are done in order; of all
 * jobs at most one has a text in the middle (`at_hand`), whose keys and values have the first
 * blocks of the slab, those for n_ctx tokens, and texts that are done in one step the blocks after
 * them.
 */
#include "engine/embedder.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "engine/alloc_guard.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* What a token of a class costs. The lower ones are slow beside the higher ones, but never still.
 */
static const double price[EMBED_CLASSES] = {1, 4, 16, 64};

/* A text's part in a step. */
struct part {
    struct embed_job *job;
    int i_text;
};

struct embedder {
    struct embedder_config config;
    const struct model_info *info;
    int n_text_max;                /* of a step */
    struct embed_job *jobs, **end; /* the thread's */
    double clock;                  /* the turn of whom it was last */
    struct embed_job *at_hand;     /* with a text in the middle, */
    int pos;                       /* so far */
    struct part *part;             /* [n_text_max] */
    struct batch_seq *seq;         /* [n_text_max] */
    int32_t *token;                /* [n_batch_max] */
    int32_t *out_row;              /* [n_batch_max] */
    uint32_t *block;               /* [all]: 0, 1, 2... */
    uint32_t n_block_long;         /* of them, for the text at hand */
    int n_part, n_token, n_out;    /* of the step being made */
    uint32_t n_block;
    double *sum, *sum_long; /* [n_embd]; the latter of the text at hand */
    float *pooled;          /* [n_pooled] */

    pthread_t thread;
    bool is_started;
    int event_fd;
    atomic_ullong n_steps;
    pthread_mutex_t lock; /* all below */
    pthread_cond_t work;
    bool stop, cancels;
    struct embed_job *inbox, **inbox_end;
    struct embedder_stats stats;
};

/* ---- birth and death ---- */

static uint32_t blocks_of(int n_token)
{
    return (uint32_t)(n_token + KV_BLOCK_LEN - 1) / KV_BLOCK_LEN;
}

static int text_max(int n_batch_max)
{
    return n_batch_max < ENCODER_TEXTS_MAX ? n_batch_max : ENCODER_TEXTS_MAX;
}

uint32_t embedder_blocks(int n_batch_max, int n_ctx)
{
    return blocks_of(n_ctx) + blocks_of(n_batch_max) + (uint32_t)text_max(n_batch_max);
}

uint64_t embedder_bytes(const struct embedder_config *c, int n_embd)
{
    uint64_t n_text = (uint64_t)text_max(c->n_batch_max);
    return sizeof(struct embedder) + n_text * (sizeof(struct part) + sizeof(struct batch_seq)) +
           (uint64_t)c->n_batch_max * 2 * sizeof(int32_t) +
           (uint64_t)c->kv.n_blocks * sizeof(uint32_t) + (uint64_t)n_embd * 2 * sizeof(double);
}

static int init(struct embedder *e, struct err *err)
{
    const struct embedder_config *c = &e->config;
    size_t n_batch = (size_t)c->n_batch_max, n_text = (size_t)e->n_text_max;
    size_t n_pooled = (size_t)model_pooled_len(c->model);
    e->part = mem_try_array(n_text, sizeof(*e->part));
    e->seq = mem_try_array(n_text, sizeof(*e->seq));
    e->token = mem_try_array(n_batch, sizeof(*e->token));
    e->out_row = mem_try_array(n_batch, sizeof(*e->out_row));
    e->block = mem_try_array((size_t)c->kv.n_blocks + 1, sizeof(*e->block));
    e->sum = mem_try_array((size_t)e->info->n_embd, sizeof(*e->sum));
    e->sum_long = mem_try_array((size_t)e->info->n_embd, sizeof(*e->sum_long));
    e->pooled = mem_try_array(n_pooled, sizeof(*e->pooled));
    if (!e->part || !e->seq || !e->token || !e->out_row || !e->block || !e->sum || !e->sum_long ||
        !e->pooled)
        return err_set(err, ERR_NOMEM, "no memory for the embedder");
    for (uint32_t i = 0; i < c->kv.n_blocks; i++)
        e->block[i] = i;
    e->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return e->event_fd < 0 ? err_set(err, ERR_IO, "cannot create an event descriptor") : 0;
}

int embedder_new(const struct embedder_config *c, struct embedder **ret, struct err *err)
{
    struct embedder *e = mem_zero(1, sizeof(*e));
    e->config = *c;
    e->info = model_info(c->model);
    CHECK(e->info->is_encoder || c->kv.n_blocks >= embedder_blocks(c->n_batch_max, c->n_ctx));
    e->n_text_max = text_max(c->n_batch_max);
    e->n_block_long = blocks_of(c->n_ctx);
    e->event_fd = -1;
    e->end = &e->jobs;
    e->inbox_end = &e->inbox;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->work, NULL);
    int rc = init(e, err);
    if (rc != 0) {
        embedder_free(e);
        return rc;
    }
    *ret = e;
    return 0;
}

void embedder_free(struct embedder *e)
{
    if (!e)
        return;
    CHECK(!e->is_started);
    free(e->part);
    free(e->seq);
    free(e->token);
    free(e->out_row);
    free(e->block);
    free(e->sum);
    free(e->sum_long);
    free(e->pooled);
    if (e->event_fd >= 0)
        close(e->event_fd);
    pthread_cond_destroy(&e->work);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

/* ---- commands in, news out ---- */

void embedder_submit(struct embedder *e, struct embed_job *job)
{
    CHECK(job->n_text >= 1 && job->i_class >= 0 && job->i_class < EMBED_CLASSES);
    CHECK(job->n_dim >= 1 && job->n_dim <= model_pooled_len(e->config.model));
    for (int i = 0; i < job->n_text; i++)
        CHECK(job->text[i].n_token >= 1 && job->text[i].n_token <= e->config.n_ctx);
    job->i_next = atomic_load(&job->n_done);
    pthread_mutex_lock(&e->lock);
    job->next = NULL;
    *e->inbox_end = job;
    e->inbox_end = &job->next;
    pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
}

void embedder_cancel(struct embedder *e, struct embed_job *job)
{
    atomic_store(&job->cancel, true);
    pthread_mutex_lock(&e->lock);
    e->cancels = true;
    pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
}

static void tell(struct embedder *e)
{
    uint64_t one = 1;
    ssize_t n = write(e->event_fd, &one, sizeof(one));
    (void)n; /* full means readable, which is what we want */
}

int embedder_event_fd(const struct embedder *e)
{
    return e->event_fd;
}

void embedder_remind(struct embedder *e)
{
    tell(e);
}

void embedder_heard(struct embedder *e)
{
    uint64_t count;
    ssize_t n = read(e->event_fd, &count, sizeof(count));
    (void)n; /* nothing to read is fine */
}

void embedder_tick(void *ctx)
{
    struct embedder *e = ctx;
    atomic_fetch_add(&e->n_steps, 1);
}

void embedder_get_stats(struct embedder *e, struct embedder_stats *ret)
{
    pthread_mutex_lock(&e->lock);
    *ret = e->stats;
    pthread_mutex_unlock(&e->lock);
    ret->n_steps = atomic_load(&e->n_steps);
}

static void count(struct embedder *e, int n_token, int64_t ns)
{
    int n_running = 0, n_waiting = 0;
    for (const struct embed_job *j = e->jobs; j; j = j->next)
        *(j->start_ns != 0 ? &n_running : &n_waiting) += 1;
    pthread_mutex_lock(&e->lock);
    e->stats.n_running = n_running;
    e->stats.n_waiting = n_waiting;
    e->stats.n_tokens += (uint64_t)n_token;
    e->stats.step_s += (double)ns * 1e-9;
    pthread_mutex_unlock(&e->lock);
}

/* ---- whose turn it is ---- */

static bool is_done(const struct embed_job *j)
{
    return atomic_load(&j->cancel) || atomic_load(&j->n_done) == j->n_text;
}

/* Takes what came in, and lets go of what is done. True: something is over. */
static bool drain(struct embedder *e)
{
    pthread_mutex_lock(&e->lock);
    struct embed_job *in = e->inbox;
    e->inbox = NULL;
    e->inbox_end = &e->inbox;
    e->cancels = false;
    pthread_mutex_unlock(&e->lock);
    *e->end = in;
    for (; in; in = in->next) {
        in->turn = e->clock;
        e->end = &in->next;
    }
    bool any = false;
    for (struct embed_job **at = &e->jobs; *at;) {
        struct embed_job *j = *at;
        if (!is_done(j)) {
            at = &j->next;
            continue;
        }
        *at = j->next;
        if (e->end == &j->next)
            e->end = at;
        if (e->at_hand == j)
            e->at_hand = NULL;
        any = true;
        atomic_store(&j->is_over, true); /* its owner may free it now */
    }
    return any;
}

/* Jobs of a tenant share what one would have. */
static void charge(struct embedder *e, struct embed_job *job, int n_token)
{
    int n = 0;
    for (const struct embed_job *j = e->jobs; j; j = j->next)
        n += j->tenant == job->tenant;
    e->clock = job->turn;
    job->turn += price[job->i_class] * n * n_token;
    if (job->start_ns == 0)
        job->start_ns = clock_ns();
}

static bool is_long(const struct embedder *e, const struct embed_job *j)
{
    return !e->info->is_encoder && j->text[j->i_next].n_token > e->config.n_batch_max;
}

/* Of those with a text that can be taken now the one whose turn it is, or NULL. with_long: one
 * that must go in chunks, too. */
static struct embed_job *choose(const struct embedder *e, bool with_long)
{
    struct embed_job *best = NULL;
    for (struct embed_job *j = e->jobs; j; j = j->next) {
        bool is_at_hand = j == e->at_hand;
        if (atomic_load(&j->cancel) || (!is_at_hand && j->i_next == j->n_text))
            continue;
        if (is_at_hand ? !with_long : is_long(e, j) && (!with_long || e->at_hand != NULL))
            continue;
        if (best == NULL || j->turn < best->turn)
            best = j;
    }
    return best;
}

/* ---- a step ---- */

/* A text's last row is what counts. */
static bool takes_last(const struct embedder *e)
{
    return e->info->pooling == POOLING_LAST ||
           (e->info->pooling == POOLING_RANK && !e->info->is_encoder);
}

static void add_tokens(struct embedder *e, struct embed_job *job, int i_text, int pos, int n,
                       const uint32_t *block)
{
    const struct embed_text *text = &job->text[i_text];
    bool all = e->info->pooling == POOLING_MEAN, last = pos + n == text->n_token;
    e->part[e->n_part] = (struct part){job, i_text};
    e->seq[e->n_part++] = (struct batch_seq){
        .block = block, .pos0 = pos, .n_tokens = n, .i_token = e->n_token, .second = text->second};
    for (int i = 0; i < n; i++) {
        bool wanted = all || (takes_last(e) ? last && i == n - 1 : pos == 0 && i == 0);
        if (wanted)
            e->out_row[e->n_out++] = e->n_token;
        e->token[e->n_token++] = text->token[pos + i];
    }
    charge(e, job, n);
}

/* Whole texts, as many as fit. */
static void fill(struct embedder *e)
{
    struct embed_job *j;
    while (e->n_part < e->n_text_max && (j = choose(e, false)) != NULL) {
        int n = j->text[j->i_next].n_token;
        if (e->n_part > 0 && e->n_token + n > e->config.n_batch_max)
            return;
        const uint32_t *block = e->block + e->n_block_long + e->n_block;
        e->n_block += blocks_of(n);
        add_tokens(e, j, j->i_next++, 0, n, e->info->is_encoder ? NULL : block);
    }
}

/* A chunk of a long text, or texts that fit. */
static void plan(struct embedder *e)
{
    e->n_part = e->n_token = e->n_out = 0;
    e->n_block = 0;
    struct embed_job *j = choose(e, true);
    if (j == NULL)
        return;
    if (j != e->at_hand && !is_long(e, j)) {
        fill(e);
        return;
    }
    if (j != e->at_hand) {
        e->at_hand = j;
        e->pos = 0;
        j->i_next++;
    }
    int left = j->text[j->i_next - 1].n_token - e->pos;
    add_tokens(e, j, j->i_next - 1, e->pos,
               left < e->config.n_batch_max ? left : e->config.n_batch_max, e->block);
}

/* Where the rows of a part are added up: a long text's parts lie in several steps. */
static double *sum_of(const struct embedder *e, const struct part *p)
{
    bool is_long = p->job == e->at_hand && p->i_text == p->job->i_next - 1;
    return is_long ? e->sum_long : e->sum;
}

static void finish_text(struct embedder *e, const struct part *p, const float *row)
{
    struct embed_job *j = p->job;
    float *out = j->out + (size_t)p->i_text * (size_t)j->n_dim;
    if (e->info->pooling == POOLING_MEAN)
        model_pool_mean(e->config.model, sum_of(e, p), j->text[p->i_text].n_token, e->pooled);
    else
        model_pool_row(e->config.model, row, e->pooled);
    double sum = 0;
    for (int i = 0; i < j->n_dim; i++)
        sum += (double)e->pooled[i] * (double)e->pooled[i];
    double scale = j->normalize && sum > 0 ? 1 / sqrt(sum) : 1;
    for (int i = 0; i < j->n_dim; i++)
        out[i] = (float)((double)e->pooled[i] * scale);
    j->end_ns = clock_ns();
    atomic_store(&j->n_done, p->i_text + 1);
}

/* The rows of a part: of a long text's chunk perhaps not the last. rows: its first. Returns how
 * many rows were its own. */
static int take_rows(struct embedder *e, int i_part, const float *rows)
{
    const struct part *p = &e->part[i_part];
    const struct batch_seq *seq = &e->seq[i_part];
    bool mean = e->info->pooling == POOLING_MEAN;
    bool last = seq->pos0 + seq->n_tokens == p->job->text[p->i_text].n_token;
    size_t n_embd = (size_t)e->info->n_embd;
    if (mean && seq->pos0 == 0)
        model_pool_begin(e->config.model, sum_of(e, p));
    if (mean)
        model_pool_add(e->config.model, rows, seq->n_tokens, sum_of(e, p));
    if (mean || e->info->is_encoder) {
        bool tail = takes_last(e);
        if (last)
            finish_text(e, p, rows + (tail ? (size_t)(seq->n_tokens - 1) * n_embd : 0));
        return seq->n_tokens;
    }
    if (takes_last(e)) {
        if (last)
            finish_text(e, p, rows);
        return last;
    }
    if (seq->pos0 == 0)
        finish_text(e, p, rows);
    return seq->pos0 == 0;
}

static void take_all_rows(struct embedder *e, const float *rows)
{
    for (int i = 0; i < e->n_part; i++)
        rows += (size_t)take_rows(e, i, rows) * (size_t)e->info->n_embd;
}

/* The text in chunks is done, or a part of it. The first row is all that is wanted of some. */
static void advance(struct embedder *e)
{
    struct embed_job *j = e->at_hand;
    if (j == NULL || e->n_part != 1 || e->part[0].job != j || e->part[0].i_text != j->i_next - 1)
        return;
    e->pos += e->n_token;
    if (e->pos == j->text[j->i_next - 1].n_token || atomic_load(&j->n_done) == j->i_next)
        e->at_hand = NULL;
}

bool embedder_step(struct embedder *e)
{
    bool over = drain(e);
    alloc_guard_enter();
    plan(e);
    if (e->n_part > 0) {
        int64_t start = clock_ns();
        struct batch b = {.token = e->token,
                          .n_tokens = e->n_token,
                          .seq = e->seq,
                          .n_seq = e->n_part,
                          .out_row = e->out_row,
                          .n_out = e->n_out};
        take_all_rows(e, model_hidden(e->config.model, &e->config.kv, &b));
        advance(e);
        atomic_fetch_add(&e->n_steps, 1);
        count(e, e->n_token, clock_ns() - start);
        over = drain(e) || true;
    }
    count(e, 0, 0);
    alloc_guard_leave();
    if (over)
        tell(e);
    return e->n_part > 0;
}

/* ---- the thread ---- */

static void *run(void *arg)
{
    struct embedder *e = arg;
    for (;;) {
        bool worked = embedder_step(e);
        pthread_mutex_lock(&e->lock);
        while (!worked && !e->stop && !e->inbox && !e->cancels)
            pthread_cond_wait(&e->work, &e->lock);
        bool stop = e->stop;
        pthread_mutex_unlock(&e->lock);
        if (stop)
            return NULL;
    }
}

int embedder_start(struct embedder *e, struct err *err)
{
    int rc = pthread_create(&e->thread, NULL, run, e);
    if (rc != 0)
        return err_set_errno(err, rc, "cannot start the embedder's thread");
    e->is_started = true;
    return 0;
}

void embedder_stop(struct embedder *e)
{
    if (!e || !e->is_started)
        return;
    pthread_mutex_lock(&e->lock);
    e->stop = true;
    pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    e->is_started = false;
}
