/*
 * embedding: see the header.
 */
#include "worker/embedding.h"
#include "base/base64.h"
#include "base/clock.h"
#include "base/mem.h"
#include "worker/rank_prompt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS_MAX     (16u << 20)
#define JUDGED_MAX     (256u << 20) /* bytes of a query, a document and what stands around them */
#define LINES_BYTES    (256u << 10) /* of one delta, about */
#define LINE_BYTES_MAX (1u << 20)

/* What the tokenizer puts around a text. */
struct frame {
    token_id front, back; /* TOKEN_NONE: nothing */
};

/* ---- what the model can do ---- */

static const char *model_word(const struct loaded *l)
{
    return l->ready.name[0] != '\0' ? l->ready.name : l->ready.arch;
}

static int check_model(const struct loaded *l, const struct gen_request *r, struct err *err)
{
    bool rerank = r->kind == GEN_RERANK;
    if (l->embedder == NULL)
        return err_set_param(err, ERR_UNSUPPORTED, "model",
                             "the model '%s' generates text; it has no %s: use %s model",
                             model_word(l), rerank ? "scores for documents" : "embeddings",
                             rerank ? "a reranking" : "an embedding");
    const struct model_info *info = model_info(l->model);
    if (rerank && info->pooling != POOLING_RANK)
        return err_set_param(err, ERR_UNSUPPORTED, "model",
                             "the model '%s' gives embeddings, not scores of a query and a "
                             "document: use a reranking model (a cross-encoder)",
                             model_word(l));
    if (!rerank && info->pooling == POOLING_RANK)
        return err_set_param(err, ERR_UNSUPPORTED, "model",
                             "the model '%s' scores documents for a query; it has no embeddings",
                             model_word(l));
    if (rerank && info->n_label != 1)
        return err_set_param(err, ERR_UNSUPPORTED, "model",
                             "the model '%s' sorts texts into %d classes; it is no reranker",
                             model_word(l), info->n_label);
    int n = model_pooled_len(l->model);
    if (r->dimensions > n)
        return err_set_param(err, ERR_INVALID, "dimensions",
                             "'dimensions' is %lld, but the vectors of the model '%s' have %d",
                             (long long)r->dimensions, model_word(l), n);
    return 0;
}

/* ---- texts into tokens ---- */

static int find_frame(const struct loaded *l, struct frame *ret, struct err *err)
{
    struct tokens t;
    tokens_init(&t, 16);
    int rc = tokenizer_encode(l->tokenizer, STR(""), TOKENIZE_BOS_EOS, &t, err);
    token_id bos = tokenizer_bos(l->tokenizer);
    *ret = (struct frame){TOKEN_NONE, TOKEN_NONE};
    if (rc == 0 && t.len == 2)
        *ret = (struct frame){t.id[0], t.id[1]};
    else if (rc == 0 && t.len == 1)
        *ret = t.id[0] == bos && tokenizer_adds_bos(l->tokenizer)
                   ? (struct frame){t.id[0], TOKEN_NONE}
                   : (struct frame){TOKEN_NONE, t.id[0]};
    tokens_release(&t);
    return rc;
}

static int push(struct tokens *t, token_id id, struct err *err)
{
    if (id == TOKEN_NONE || tokens_push(t, id))
        return 0;
    return err_set_param(err, ERR_TOO_LARGE, "input", "the inputs have more than %u tokens",
                         TOKENS_MAX);
}

static int push_ids(const struct loaded *l, const json_t *ids, struct tokens *t, struct err *err)
{
    int rc = 0;
    for (size_t i = 0; i < json_array_size(ids) && rc == 0; i++) {
        const json_t *v = json_array_get(ids, i);
        json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id < 0 || id >= l->ready.n_vocab)
            rc = err_set_param(err, ERR_INVALID, "input",
                               "input: token %lld does not exist: the model knows 0 to %lld",
                               (long long)id, (long long)l->ready.n_vocab - 1);
        else
            rc = push(t, (token_id)id, err);
    }
    return rc;
}

static int push_text(const struct loaded *l, struct str text, struct tokens *t, struct err *err)
{
    int rc = tokenizer_encode(l->tokenizer, text, TOKENIZE_SPECIAL, t, err);
    return rc == ERR_LIMIT ? push(t, 0, err) : rc;
}

/* Cuts a text that begins at `from` to n_max tokens, the last of which is `back`. */
static int fit(const struct loaded *l, const struct gen_request *r, size_t i_input, size_t from,
               token_id back, struct tokens *t, struct gen_error *e)
{
    int64_t n = (int64_t)(t->len - from), n_ctx = l->ready.n_ctx;
    if (n <= n_ctx)
        return 0;
    if (r->truncate) {
        t->len = from + (size_t)n_ctx;
        if (back != TOKEN_NONE)
            t->id[t->len - 1] = back;
        return 0;
    }
    e->n_prompt = n;
    e->n_ctx = n_ctx;
    return err_set_param(&e->err, ERR_CONTEXT_LENGTH, r->kind == GEN_RERANK ? "documents" : "input",
                         "%s %zu has %lld tokens, but the model takes at most %lld: shorten or "
                         "split it, or ask for it to be truncated",
                         r->kind == GEN_RERANK ? "document" : "input", i_input, (long long)n,
                         (long long)n_ctx);
}

static int add_input(const struct loaded *l, const struct gen_request *r, size_t i,
                     const struct frame *f, struct embedding *e, struct gen_error *ge)
{
    const json_t *input = json_array_get(r->inputs, i);
    struct tokens *t = &e->token;
    size_t from = t->len;
    bool text = json_is_string(input);
    int rc = text ? push(t, f->front, &ge->err) : 0;
    if (rc == 0)
        rc = text ? push_text(l, json_str(input), t, &ge->err) : push_ids(l, input, t, &ge->err);
    rc = rc != 0 || !text ? rc : push(t, f->back, &ge->err);
    rc = rc != 0 ? rc : fit(l, r, i, from, text ? f->back : TOKEN_NONE, t, ge);
    if (rc == 0 && t->len == from)
        rc = err_set_param(&ge->err, ERR_INVALID, "input", "input %zu is empty", i);
    e->text[i].n_token = (int)(t->len - from);
    return rc;
}

/* front query back [separator] document back; the second text begins behind the first `back`. */
static int add_pair(const struct loaded *l, const struct gen_request *r, size_t i,
                    const struct frame *f, const struct tokens *query, struct embedding *e,
                    struct gen_error *ge)
{
    struct tokens *t = &e->token;
    size_t from = t->len;
    int rc = push(t, f->front, &ge->err);
    for (size_t k = 0; k < query->len && rc == 0; k++)
        rc = push(t, query->id[k], &ge->err);
    rc = rc != 0 ? rc : push(t, f->back, &ge->err);
    rc = rc != 0 ? rc : push(t, tokenizer_pair_sep(l->tokenizer), &ge->err);
    e->text[i].second = (int)(t->len - from);
    rc = rc != 0 ? rc : push_text(l, json_str(json_array_get(r->inputs, i)), t, &ge->err);
    rc = rc != 0 ? rc : push(t, f->back, &ge->err);
    if (rc == 0 && e->text[i].second + 1 >= l->ready.n_ctx)
        rc = err_set_param(&ge->err, ERR_CONTEXT_LENGTH, "query",
                           "the query leaves no room for a document: the model takes at most %lld "
                           "tokens of both",
                           (long long)l->ready.n_ctx);
    rc = rc != 0 ? rc : fit(l, r, i, from, f->back, t, ge);
    e->text[i].n_token = (int)(t->len - from);
    return rc;
}

/* The query and a document in the words that a decoder was trained with. */
struct judged {
    struct buf text;    /* what stands before the document, and behind that each document */
    size_t front;       /* bytes of the former */
    struct buf back;    /* the text behind the document, which it keeps when it is cut, */
    struct tokens tail; /* and its tokens */
};

static int judged_init(const struct loaded *l, const struct gen_request *r, struct judged *j,
                       struct err *err)
{
    struct rank_prompt p;
    struct str query = {r->text, r->text_len};
    int rc = rank_prompt_find(l->gguf, &p, err);
    if (rc != 0)
        return rc;
    if (!rank_prompt_part(p.front, query, &j->text) || !rank_prompt_part(p.back, query, &j->back))
        return err_set_param(err, ERR_TOO_LARGE, "query", "the query is too long");
    j->front = j->text.len;
    return push_text(l, buf_str(&j->back), &j->tail, err);
}

/* Too long: the document's end goes, if it may, and the text behind it stays. */
static int fit_judged(const struct loaded *l, const struct gen_request *r, size_t i, size_t from,
                      const struct judged *j, struct tokens *t, struct gen_error *ge)
{
    size_t n_ctx = (size_t)l->ready.n_ctx;
    if (t->len - from <= n_ctx)
        return 0;
    struct tokens front;
    tokens_init(&front, TOKENS_MAX);
    int rc = push_text(l, str_sub(buf_str(&j->text), 0, j->front), &front, &ge->err);
    bool room = front.len + j->tail.len < n_ctx;
    tokens_release(&front);
    if (rc == 0 && !room)
        return err_set_param(&ge->err, ERR_CONTEXT_LENGTH, "query",
                             "the query leaves no room for a document: the model takes at most "
                             "%zu tokens of both and of what stands around them",
                             n_ctx);
    rc = rc != 0 ? rc : fit(l, r, i, from, TOKEN_NONE, t, ge);
    for (size_t k = 0; k < j->tail.len && rc == 0; k++)
        t->id[t->len - j->tail.len + k] = j->tail.id[k];
    return rc;
}

static int add_judged(const struct loaded *l, const struct gen_request *r, size_t i,
                      struct judged *j, struct embedding *e, struct gen_error *ge)
{
    struct tokens *t = &e->token;
    size_t from = t->len;
    j->text.len = j->front;
    if (!buf_add_str(&j->text, json_str(json_array_get(r->inputs, i))) ||
        !buf_add_str(&j->text, buf_str(&j->back)))
        return err_set_param(&ge->err, ERR_TOO_LARGE, "documents", "document %zu is too long", i);
    int rc = push_text(l, buf_str(&j->text), t, &ge->err);
    rc = rc != 0 ? rc : fit_judged(l, r, i, from, j, t, ge);
    e->text[i].n_token = (int)(t->len - from);
    return rc;
}

/* All pairs of a decoder that ranks. */
static int judge_all(const struct loaded *l, const struct gen_request *r, struct embedding *e,
                     struct gen_error *ge)
{
    struct judged j = {.front = 0};
    buf_init(&j.text, JUDGED_MAX);
    buf_init(&j.back, JUDGED_MAX);
    tokens_init(&j.tail, TOKENS_MAX);
    int rc = judged_init(l, r, &j, &ge->err);
    for (size_t i = 0; i < json_array_size(r->inputs) && rc == 0; i++)
        rc = add_judged(l, r, i, &j, e, ge);
    buf_release(&j.text);
    buf_release(&j.back);
    tokens_release(&j.tail);
    return rc;
}

/* All texts, or all pairs of an encoder. */
static int tokenize_all(const struct loaded *l, const struct gen_request *r, struct embedding *e,
                        struct gen_error *ge)
{
    struct frame f;
    struct tokens query;
    tokens_init(&query, TOKENS_MAX);
    int rc = find_frame(l, &f, &ge->err);
    if (rc == 0 && r->kind == GEN_RERANK)
        rc = push_text(l, (struct str){r->text, r->text_len}, &query, &ge->err);
    for (size_t i = 0; i < json_array_size(r->inputs) && rc == 0; i++)
        rc = r->kind == GEN_RERANK ? add_pair(l, r, i, &f, &query, e, ge)
                                   : add_input(l, r, i, &f, e, ge);
    tokens_release(&query);
    return rc;
}

static int tokenize(const struct loaded *l, const struct gen_request *r, struct embedding *e,
                    struct gen_error *ge)
{
    bool judged = r->kind == GEN_RERANK && !model_info(l->model)->is_encoder;
    int rc = judged ? judge_all(l, r, e, ge) : tokenize_all(l, r, e, ge);
    size_t at = 0; /* the array lies still now */
    for (int i = 0; i < e->job.n_text && rc == 0; i++) {
        e->text[i].token = e->token.id + at;
        at += (size_t)e->text[i].n_token;
    }
    return rc;
}

/* ---- birth and death ---- */

static size_t line_len(const struct embedding *e)
{
    return base64_len((size_t)e->job.n_dim * sizeof(float)) + 1;
}

/* What the client has already. */
static int resume(const struct gen_request *r, struct embedding *e, struct err *err)
{
    const struct gen_prior *prior = r->resume.prior;
    if (prior == NULL)
        return 0;
    int64_t len = (int64_t)line_len(e);
    int64_t n = prior->ended ? e->job.n_text : prior->text_len / len;
    if (n > e->job.n_text || (!prior->ended && prior->text_len % len != 0))
        return err_set_param(err, ERR_INVALID, "prior", "no such part of an answer");
    atomic_store(&e->job.n_done, (int)n);
    e->n_sent = (int)n;
    e->sent_end = prior->ended;
    return 0;
}

static int make(const struct loaded *l, const struct gen_request *r, struct embedding *e,
                struct gen_error *ge)
{
    int n = (int)json_array_size(r->inputs);
    e->job.n_text = n;
    e->job.n_dim = r->dimensions > 0 ? (int)r->dimensions : model_pooled_len(l->model);
    e->job.normalize = !r->raw && r->kind == GEN_EMBED;
    e->job.i_class = (int)r->priority;
    e->job.tenant = (uint32_t)r->tenant;
    e->job.owner = e;
    e->text = mem_try_array((size_t)n + 1, sizeof(*e->text)); /* of none there is one, too */
    e->out = mem_try_array((size_t)n + 1, (size_t)e->job.n_dim * sizeof(float));
    if (!e->text || !e->out)
        return err_set(&ge->err, ERR_NOMEM, "no memory for %d vectors", n);
    e->job.text = e->text;
    e->job.out = e->out;
    int rc = tokenize(l, r, e, ge);
    return rc != 0 ? rc : resume(r, e, &ge->err);
}

int embedding_new(const struct loaded *l, const struct gen_request *r, struct embedding **ret,
                  struct gen_error *ge)
{
    int rc = check_model(l, r, &ge->err);
    if (rc != 0)
        return rc;
    struct embedding *e = mem_zero(1, sizeof(*e));
    e->id = r->id;
    tokens_init(&e->token, TOKENS_MAX);
    rc = make(l, r, e, ge);
    if (rc != 0)
        embedding_free(e);
    else
        *ret = e;
    return rc;
}

void embedding_free(struct embedding *e)
{
    if (!e)
        return;
    tokens_release(&e->token);
    free(e->text);
    free(e->out);
    free(e);
}

int64_t embedding_n_tokens(const struct embedding *e)
{
    return (int64_t)e->token.len;
}

uint64_t embedding_bytes(const struct embedding *e)
{
    uint64_t each = sizeof(struct embed_text) + (uint64_t)e->job.n_dim * sizeof(float);
    return e->token.len * sizeof(token_id) + (uint64_t)e->job.n_text * each + sizeof(*e);
}

/* ---- at work ---- */

void embedding_begin(struct embedding *e, struct embedder *to)
{
    e->submit_ns = clock_ns();
    if (e->job.n_text > 0)
        embedder_submit(to, &e->job); /* with all done already it is over at once */
    else
        atomic_store(&e->job.is_over, true);
}

static bool is_finite(const struct embedding *e, int i)
{
    const float *v = e->out + (size_t)i * (size_t)e->job.n_dim;
    for (int k = 0; k < e->job.n_dim; k++)
        if (!isfinite(v[k]))
            return false;
    return true;
}

/* Vectors [n_sent, ...) that one frame holds. */
static bool send_lines(struct embedding *e, int n_done, struct outbox *out, struct err *err)
{
    struct buf lines;
    size_t each = line_len(e);
    int most = (int)(LINES_BYTES / each) + 1, n = n_done - e->n_sent;
    n = n < most ? n : most;
    buf_init(&lines, LINES_BYTES + LINE_BYTES_MAX);
    bool ok = true, finite = true;
    for (int i = e->n_sent; i < e->n_sent + n && ok; i++) {
        finite = finite && is_finite(e, i);
        ok = base64_write(e->out + (size_t)i * (size_t)e->job.n_dim,
                          (size_t)e->job.n_dim * sizeof(float), &lines) &&
             buf_add_char(&lines, '\n');
    }
    struct gen_delta d = {.id = e->id, .text = lines.ptr, .text_len = lines.len};
    ok = ok && finite && outbox_put(out, gen_delta_to_json(&d));
    buf_release(&lines);
    if (!ok)
        err_set(err, finite ? ERR_TOO_LARGE : ERR_INTERNAL,
                finite ? "vectors are too large to send"
                       : "the model computes values that are not finite for one of the inputs");
    e->n_sent += n;
    return ok;
}

static void send_started(struct embedding *e, struct outbox *out)
{
    e->told_started = true;
    outbox_put(out, json_pack("{s:s,s:I,s:I,s:f}", "t", "started", "id", (json_int_t)e->id,
                              "n_cached", (json_int_t)0, "queue_ms",
                              (double)(e->job.start_ns - e->submit_ns) * 1e-6));
}

bool embedding_look(struct embedding *e, struct outbox *out, struct err *err, bool *ret_failed)
{
    *ret_failed = false;
    int n_done = atomic_load(&e->job.n_done);
    if (n_done > e->n_sent && !e->told_started)
        send_started(e, out);
    while (e->n_sent < n_done && !*ret_failed) {
        if (outbox_is_full(out))
            return false;
        *ret_failed = !send_lines(e, n_done, out, err);
    }
    if (*ret_failed || e->n_sent < e->job.n_text || e->sent_end)
        return true;
    struct gen_end end = {.id = e->id, .reason = GEN_STOP};
    e->sent_end = true;
    outbox_put(out, gen_end_to_json(&end));
    return true;
}

bool embedding_is_over(const struct embedding *e)
{
    bool gone = atomic_load(&e->job.is_over);
    return gone && (e->sent_end || atomic_load(&e->job.cancel));
}

bool embedding_finish(const struct embedding *e, struct gen_done *ret)
{
    if (!e->sent_end)
        return false;
    bool ran = e->job.start_ns != 0;
    *ret = (struct gen_done){
        .id = e->id,
        .n_prompt = embedding_n_tokens(e),
        .queue_ms = ran ? (double)(e->job.start_ns - e->submit_ns) * 1e-6 : 0,
        .prefill_ms = ran ? (double)(e->job.end_ns - e->job.start_ns) * 1e-6 : 0,
    };
    return true;
}
