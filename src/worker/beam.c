/*
 * beam: see the header. Hypotheses are paths in a tree of tokens, from their last one up.
 */
#include "worker/beam.h"
#include "base/check.h"
#include "base/mem.h"
#include "engine/sampler_math.h"

#include <stdlib.h>
#include <string.h>

#define WIDTH_MAX (SAMPLER_TOP_MAX / 2)
#define NODES_MAX ((size_t)1 << 28)

struct node {
    int parent; /* -1: the prompt */
    int32_t token;
};

struct hypothesis {
    int node;   /* its last token; -1: none yet */
    int n;      /* tokens, an end token too */
    bool ended; /* by an end token, which is not in the tree */
    double sum, score;
};

struct candidate {
    int i_beam;
    int32_t token;
    double sum;
};

struct beams {
    struct beam_limits limits;
    struct node *node; /* [n_node] owned */
    size_t n_node, cap_node;
    struct hypothesis live[WIDTH_MAX], done[2 * WIDTH_MAX]; /* done: best first */
    int n_live, n_done;
    struct sampler_result top[WIDTH_MAX]; /* of the present step; n_top 0: there is none */
};

int beams_new(const struct beam_limits *limits, struct job *first, struct beams **ret,
              struct err *err)
{
    CHECK(limits->width >= 1 && limits->width <= WIDTH_MAX && first->n_seq == 1);
    struct beams *b = calloc(1, sizeof(*b));
    if (!b)
        return err_set(err, ERR_NOMEM, "no memory for a beam search");
    b->limits = *limits;
    b->live[0] = (struct hypothesis){.node = -1};
    b->n_live = 1;
    struct sampling *s = &first->sampling;
    s->temperature = 1;
    s->top_p = s->typical_p = 1;
    s->top_k = s->mirostat = 0;
    s->dynatemp_range = s->min_p = s->top_n_sigma = s->xtc_probability = 0;
    s->post_probs = true;
    first->n_top = 2 * limits->width;
    first->peek = true;
    *ret = b;
    return 0;
}

void beams_free(struct beams *b)
{
    if (!b)
        return;
    free(b->node);
    free(b);
}

void beams_take(struct beams *b, int i_seq, const struct sampler_result *r)
{
    CHECK(i_seq >= 0 && i_seq < b->n_live);
    b->top[i_seq] = *r;
}

/* ---- the choice ---- */

static bool is_eog(const struct beams *b, int32_t id)
{
    for (int i = 0; i < b->limits.n_eog; i++)
        if (b->limits.eog[i] == id)
            return true;
    return false;
}

static void finish(struct beams *b, struct hypothesis h)
{
    int at = b->n_done;
    h.score = h.sum / sampler_pow(h.n > 0 ? h.n : 1, b->limits.length_penalty);
    for (; at > 0 && b->done[at - 1].score < h.score; at--)
        b->done[at] = b->done[at - 1];
    b->done[at] = h;
    b->n_done = b->n_done < b->limits.width ? b->n_done + 1 : b->limits.width;
}

/* The 2 * width likeliest continuations, best first. */
static int rank(const struct beams *b, struct candidate ret[2 * WIDTH_MAX])
{
    int n = 0, most = 2 * b->limits.width;
    for (int i = 0; i < b->n_live; i++) {
        for (int k = 0; k < b->top[i].n_top; k++) {
            double sum = b->live[i].sum + (double)b->top[i].top[k].logprob;
            if (n == most && sum <= ret[n - 1].sum)
                break;
            int at = n < most ? n++ : n - 1;
            for (; at > 0 && ret[at - 1].sum < sum; at--)
                ret[at] = ret[at - 1];
            ret[at] = (struct candidate){i, b->top[i].top[k].id, sum};
        }
    }
    return n;
}

static int add_node(struct beams *b, int parent, int32_t token, int *ret, struct err *err)
{
    void *array = b->node;
    if (!mem_grow(&array, &b->cap_node, b->n_node + 1, NODES_MAX, sizeof(*b->node)))
        return err_set(err, ERR_NOMEM, "no memory for a beam search");
    b->node = array;
    b->node[b->n_node] = (struct node){parent, token};
    *ret = (int)b->n_node++;
    return 0;
}

static int extend(struct beams *b, struct err *err)
{
    struct candidate cand[2 * WIDTH_MAX];
    struct hypothesis next[WIDTH_MAX];
    int n = rank(b, cand), n_next = 0;
    for (int i = 0; i < n && n_next < b->limits.width; i++) {
        const struct hypothesis *from = &b->live[cand[i].i_beam];
        struct hypothesis h = {.node = from->node, .n = from->n + 1, .sum = cand[i].sum};
        h.ended = is_eog(b, cand[i].token);
        if (h.ended && i < b->limits.width)
            finish(b, h);
        if (h.ended)
            continue;
        int rc = add_node(b, from->node, cand[i].token, &h.node, err);
        if (rc != 0)
            return rc;
        next[n_next++] = h;
    }
    memcpy(b->live, next, (size_t)n_next * sizeof(*next));
    b->n_live = n_next;
    memset(b->top, 0, sizeof(b->top));
    return 0;
}

static bool is_over(const struct beams *b)
{
    if (b->n_live == 0 || b->limits.n_prompt + b->live[0].n >= b->limits.n_token_max)
        return true;
    double now = b->live[0].sum / sampler_pow(b->live[0].n, b->limits.length_penalty);
    return b->n_done == b->limits.width && now <= b->done[b->n_done - 1].score;
}

static void write_path(const struct beams *b, int node, int n, int32_t *ret)
{
    for (; node >= 0 && n > 0; node = b->node[node].parent)
        ret[--n] = b->node[node].token;
}

/* ---- the next step ---- */

static int next_job(const struct beams *b, const struct job *last, struct job **ret,
                    struct err *err)
{
    int n_new = b->live[0].n, n_prompt = b->limits.n_prompt;
    struct job *job;
    int rc = job_new(last->seq[0].token, n_prompt, n_prompt + n_new + 1, b->n_live, &job, err);
    if (rc != 0)
        return rc;
    int32_t *path = mem_try_array((size_t)n_new, sizeof(*path));
    if (!path) {
        job_free(job);
        return err_set(err, ERR_NOMEM, "no memory for a beam search");
    }
    for (int i = 0; i < b->n_live; i++) {
        write_path(b, b->live[i].node, n_new, path);
        job_force(job, i, path, n_new);
    }
    free(path);
    job->owner = last->owner;
    job->sampling = last->sampling;
    job->n_top = last->n_top;
    job->ignore_eos = last->ignore_eos;
    job->min_tokens = last->min_tokens;
    job->peek = last->peek;
    job->priority = last->priority;
    job->tenant = last->tenant;
    job->salt = last->salt;
    *ret = job;
    return 0;
}

int beams_step(struct beams *b, const struct job *last, struct job **ret_next, struct err *err)
{
    struct hypothesis before[WIDTH_MAX];
    int n_before = b->n_live;
    memcpy(before, b->live, sizeof(before));
    int rc = extend(b, err);
    if (rc != 0)
        return rc;
    *ret_next = NULL;
    if (!is_over(b))
        return next_job(b, last, ret_next, err);
    for (int i = 0; i < b->n_live; i++)
        finish(b, b->live[i]);
    for (int i = 0; b->n_done == 0 && i < n_before; i++)
        finish(b, before[i]); /* all that could follow was forbidden */
    return 0;
}

int beams_result(const struct beams *b, int i, int32_t **ret_token, bool *ret_ended)
{
    *ret_token = NULL;
    *ret_ended = false;
    if (i >= b->n_done)
        return 0;
    const struct hypothesis *h = &b->done[i];
    int n = h->n - h->ended;
    *ret_ended = h->ended;
    *ret_token = mem_try_array((size_t)n + 1, sizeof(**ret_token));
    if (*ret_token)
        write_path(b, h->node, n, *ret_token);
    return n;
}
