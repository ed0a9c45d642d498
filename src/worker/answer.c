/*
 * answer: see the header.
 *
 * Invariants: deltas of a choice come before its end, its end before done; after has_failed or
 * is_cancelled nothing but the last frame is sent; the engine ends each sequence of the job once.
 */
#include "worker/answer.h"
#include "base/clock.h"
#include "base/mem.h"
#include "worker/prompt.h"
#include "worker/thinking.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ECHO_TOKENS       64 /* of a prompt with log probabilities, in one delta */
#define PROMPT_TOKENS_MAX (64u << 20)

/* ---- admission ---- */

/* Tokens of prompt and answer at most. A request that goes on must end where it would have. */
static int length_max(const struct answer *a, int64_t *ret, struct err *err)
{
    const struct gen_request *r = &a->request;
    int64_t n_max = r->resume.prior ? r->resume.n_ctx : a->model->ready.n_ctx;
    int64_t n_new = r->max_tokens > 0 ? r->max_tokens : 1;
    if (r->max_tokens >= 0 && a->n_prompt + n_new < n_max)
        n_max = a->n_prompt + n_new;
    if (n_max > a->model->ready.n_ctx || n_max <= a->n_prompt)
        return err_set(err, ERR_UNAVAILABLE,
                       "the model's worker process was started again with a context of %lld "
                       "tokens, too few to finish this request; send it again",
                       (long long)a->model->ready.n_ctx);
    *ret = n_max;
    return 0;
}

static int make_beams(struct answer *a, int n_token_max, struct err *err)
{
    const struct beam_limits limits = {
        .width = (int)a->request.sampling.beam_width,
        .length_penalty = a->request.sampling.length_penalty,
        .n_prompt = a->n_prompt,
        .n_token_max = n_token_max,
        .eog = a->model->eog,
        .n_eog = a->model->n_eog,
    };
    return beams_new(&limits, a->job, &a->beams, err);
}

static int make_job(struct answer *a, const struct tokens *prompt, struct err *err)
{
    const struct gen_request *r = &a->request;
    int64_t n_max = 0;
    int rc = length_max(a, &n_max, err);
    if (rc != 0)
        return rc;
    bool has_beams = r->sampling.beam_width > 0;
    int n_seq = r->max_tokens == 0 || has_beams ? 1 : (int)r->n;
    rc = job_new(prompt->id, a->n_prompt, has_beams ? a->n_prompt + 1 : (int)n_max, n_seq, &a->job,
                 err);
    if (rc != 0)
        return rc;
    struct job *job = a->job;
    job->owner = a;
    /* ---- for the scheduler and the prefix cache ---- */
    job->priority = (int)r->priority;
    job->tenant = (uint32_t)r->tenant;
    job->salt = r->salt;
    /* ---- */
    job->n_top = r->logprobs ? (int)r->top_logprobs : -1;
    job->score_prompt = r->logprobs && r->echo;
    job->ignore_eos = r->ignore_eos;
    job->min_tokens = (int)r->sampling.min_tokens;
    a->bytes = job_bytes((int)n_max, has_beams ? (int)r->sampling.beam_width : n_seq);
    rc = job_sampling_init(&a->sampling, a->model->texts, &r->sampling, &job->sampling, err);
    return rc == 0 && has_beams ? make_beams(a, (int)n_max, err) : rc;
}

/* The grammar that the answer keeps to. */
static int add_guides(struct answer *a, struct err *err)
{
    struct grammar *grammar;
    const struct vocabulary *v;
    int rc = forms_get(a->model->forms, &a->request, &a->place, &grammar, &v, err);
    bool must = a->request.constraint || a->request.tool_choice == GEN_TOOLS_REQUIRED ||
                tool_form_is_strict(&a->request);
    if (rc == ERR_LIMIT && !must)
        return 0; /* tools too many even for a grammar of their names are called without one */
    if (rc != 0)
        return rc;
    rc = job_guide(a->job, grammar, v, err);
    a->bytes += (uint64_t)a->job->n_seq * matcher_bytes(v);
    grammar_unref(grammar);
    return rc;
}

/* Guesses of what comes next; what the client foretold is counted in any case. */
static int add_drafts(struct answer *a, struct err *err)
{
    const struct gen_request *r = &a->request;
    struct job *job = a->job;
    struct tokens foretold;
    if (a->beams || (!r->prediction && a->model->speculate == SPECULATE_OFF))
        return 0;
    tokens_init(&foretold, PROMPT_TOKENS_MAX);
    int rc = 0;
    if (r->prediction)
        rc = tokenizer_encode(a->model->tokenizer, (struct str){r->prediction, r->prediction_len},
                              0, &foretold, err);
    if (rc == 0)
        rc = job_draft(job, foretold.id, (int)foretold.len, err);
    if (rc == 0 && a->model->drafter) {
        rc = job_draft_model(job, err);
        a->bytes += job_draft_model_bytes(job->n_token_max, job->n_seq);
    }
    a->bytes += job_draft_bytes(job->n_token_max, job->n_seq, (int)foretold.len);
    tokens_release(&foretold);
    return rc;
}

static int check_length(const struct answer *a, struct gen_error *e)
{
    int64_t n_ctx = a->model->ready.n_ctx;
    if (a->n_prompt < n_ctx)
        return 0;
    e->n_prompt = a->n_prompt;
    e->n_ctx = n_ctx;
    return err_set_param(&e->err, ERR_CONTEXT_LENGTH,
                         a->request.kind == GEN_CHAT ? "messages" : "prompt",
                         "the prompt has %d tokens, but the context holds %lld, one of them for "
                         "the answer: shorten the prompt",
                         a->n_prompt, (long long)n_ctx);
}

/* FNV-1a; guards against a template that names the time, not against anybody's will. */
static uint64_t hash_tokens(const struct tokens *t)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < t->len; i++)
        hash = (hash ^ (uint64_t)(uint32_t)t->id[i]) * 0x100000001b3u;
    return hash;
}

/* ---- a request that goes on ---- */

/* Tokens that an echo brings to each choice, before what is generated. */
static size_t n_echo_of(const struct answer *a)
{
    return a->request.echo ? (size_t)(a->n_prompt - a->has_bos) : 0;
}

static int check_same_prompt(const struct answer *a, struct err *err)
{
    const struct gen_resume *s = &a->request.resume;
    if (!s->prior || (s->n_prompt == a->n_prompt && s->prompt_hash == a->prompt_hash))
        return 0;
    return err_set(err, ERR_UNAVAILABLE,
                   "the model's worker process was started again, and the prompt of this request "
                   "now reads differently (its template names the time, or the model changed); "
                   "send the request again");
}

/* Counts what a choice met of the prediction in the n tokens that it drew in another life. */
static void count_foretold(struct answer *a, int i, const int32_t *token, size_t n)
{
    if (i >= a->job->n_seq || !a->job->prediction || n == 0)
        return;
    struct sequence *seq = &a->job->seq[i];
    memcpy(seq->token + a->n_prompt, token, n * sizeof(*token));
    draft_see(seq->draft, seq->token, a->n_prompt + (int)n);
    a->choice[i].n_foretold = seq->draft->n_foretold;
}

/* The generated tokens among those the client has. */
static int force_choice(struct answer *a, int i, struct err *err)
{
    const struct gen_prior *p = &a->request.resume.prior[i];
    struct choice *c = &a->choice[i];
    if (a->beams) { /* all is found again, and what the client has is dropped */
        c->skip_tokens = p->n_tokens;
        c->skip_bytes = p->text_len;
        return 0;
    }
    size_t n_echo = n_echo_of(a), n = p->n_tokens > n_echo ? p->n_tokens - n_echo : 0;
    size_t room = (size_t)(a->job->n_token_max - a->n_prompt);
    for (size_t k = 0; k < n; k++)
        if (p->tokens[n_echo + k] >= a->model->ready.n_vocab)
            return err_set_param(err, ERR_INVALID, "prior", "a token that does not exist");
    if (a->request.max_tokens == 0 ? n > 0 : n > room)
        return err_set_param(err, ERR_INVALID, "prior", "more tokens than the answer may have");
    c->skip_tokens = p->n_tokens;
    c->skip_bytes = p->text_len;
    c->skip_calls = p->n_calls;
    c->n_completion = (int64_t)n;
    c->runs = a->request.max_tokens != 0 && n < room;
    count_foretold(a, i, p->tokens + n_echo, n);
    if (c->runs) {
        job_force(a->job, i, p->tokens + n_echo, (int)n);
        a->job->seq[i].has_mu = p->has_mu;
        a->job->seq[i].mu = p->mu;
    }
    return 0;
}

/* Puts every choice where it stood for its client. */
static int answer_resume(struct answer *a, struct err *err)
{
    const struct gen_prior *prior = a->request.resume.prior;
    bool echoed = true;
    for (int i = 0; i < (int)a->request.n; i++) {
        struct choice *c = &a->choice[i];
        c->runs = a->beams || (i < a->job->n_seq && a->request.max_tokens != 0);
        if (!prior)
            continue;
        if (prior[i].ended) {
            c->has_ended = true;
            c->n_completion = prior[i].n_completion;
            c->n_reasoning = prior[i].n_reasoning;
            c->n_foretold = prior[i].n_foretold;
            c->runs = false;
            continue;
        }
        int rc = force_choice(a, i, err);
        if (rc != 0)
            return rc;
        echoed = echoed && prior[i].n_tokens >= n_echo_of(a);
    }
    if (prior && echoed)
        a->job->score_prompt = false; /* everybody has it */
    return 0;
}

/* What a shortened conversation leaves free for the answer, if it can. */
static int64_t room_of(const struct answer *a)
{
    int64_t n_ctx = a->model->ready.n_ctx, n = a->request.max_tokens;
    return n < 0 ? n_ctx / 8 : n < n_ctx / 4 ? n : n_ctx / 4;
}

/* A conversation that is too long, where the client would rather lose its oldest turns. */
static int shorten(struct answer *a, struct tokens *prompt, struct prompt_end *end, struct err *err)
{
    struct tokens less;
    struct prompt_end less_end = {0};
    int64_t n_dropped = 0, n_ctx = a->model->ready.n_ctx, room = room_of(a);
    tokens_init(&less, prompt->max);
    int rc = prompt_truncate(a->model, &a->request, (size_t)(n_ctx - room), &less, &less_end,
                             &n_dropped, err);
    if (rc == 0 && less.len == 0 && room > 0)
        rc = prompt_truncate(a->model, &a->request, (size_t)n_ctx, &less, &less_end, &n_dropped,
                             err);
    if (rc == 0 && less.len > 0) {
        struct tokens whole = *prompt;
        struct prompt_end whole_end = *end;
        *prompt = less;
        *end = less_end;
        less = whole;
        less_end = whole_end;
        a->n_dropped = n_dropped;
    }
    tokens_release(&less);
    prompt_end_release(&less_end);
    return rc;
}

/* What no server can give (more than the model was trained for) is not missed. */
static int check_context(const struct answer *a, struct err *err)
{
    const struct worker_ready *ready = &a->model->ready;
    int64_t wanted = a->request.n_ctx_min;
    if (ready->n_ctx_train > 0 && wanted > ready->n_ctx_train)
        wanted = ready->n_ctx_train;
    if (wanted <= ready->n_ctx)
        return 0;
    return err_set_param(
        err, ERR_UNSUPPORTED, "num_ctx",
        "a context of %lld tokens is not there: the model is loaded with %lld, for "
        "all requests; start the server with --ctx %lld, or ask for no more",
        (long long)wanted, (long long)ready->n_ctx, (long long)wanted);
}

/* What cannot both hold. */
static int check_together(const struct answer *a, struct err *err)
{
    const struct gen_request *r = &a->request;
    bool must = r->constraint || r->tool_choice == GEN_TOOLS_REQUIRED;
    if (must && json_array_size(r->sampling.banned) > 0)
        return err_set_param(err, ERR_UNSUPPORTED, "banned_strings",
                             "banned_strings is not supported together with an answer of a given "
                             "form, which may have no other way to go on");
    if (r->sampling.beam_width == 0)
        return 0;
    const char *with = r->constraint                  ? "response_format"
                       : form_is_wanted(r, &a->place) ? "tools"
                       : r->sampling.mirostat         ? "mirostat"
                       : r->logprobs                  ? "logprobs"
                       : r->echo                      ? "echo"
                       : r->prediction                ? "prediction"
                                                      : NULL;
    if (with)
        return err_set_param(err, ERR_UNSUPPORTED, with,
                             "%s is not supported together with beam search", with);
    if (r->n > r->sampling.beam_width)
        return err_set_param(err, ERR_INVALID, "n", "n is more than beam_width");
    return 0;
}

/* An answer of a chat in channels, if the request wants that. */
static void parse_streams(struct answer *a, const struct prompt_end *end)
{
    const struct gen_request *r = &a->request;
    const struct answer_options options = {.dialect = chat_dialect(a->model->chat),
                                           .tools = prompt_tools(r),
                                           .in_thought = end->in_thought,
                                           .must_call = prompt_tools(r) != NULL &&
                                                        r->tool_choice == GEN_TOOLS_REQUIRED};
    if (r->kind == GEN_CHAT && r->parse)
        a->place = (struct form_place){.dialect = options.dialect,
                                       .in_thought = end->in_thought && !end->in_call,
                                       .in_call = end->in_call,
                                       .in_final = end->in_final};
    for (int64_t i = 0; i < r->n && r->kind == GEN_CHAT && r->parse; i++)
        stream_parse(&a->choice[i].stream, &options, r->one_tool_call, buf_str(&end->begun));
}

/* Whatever steers the answer: the end of thoughts, and its form. Banned strings leave an answer
 * that may have a form (tools that may be called) free; check_together knows those that must. */
static int prepare_guides(struct answer *a, struct err *err)
{
    const struct gen_request *r = &a->request;
    int rc = thinking_budget(a->model, r, a->place.in_thought, &a->job->thinks, err);
    if (rc == 0 && a->job->thinks)
        a->bytes += think_budget_bytes((int)a->model->ready.n_vocab);
    bool is_free = json_array_size(r->sampling.banned) > 0;
    if (rc == 0 && !is_free && form_is_wanted(r, &a->place))
        rc = add_guides(a, err);
    return rc;
}

/* No tokens are drawn: vectors or scores of texts. */
static int prepare_embedding(struct answer *a, struct gen_error *e)
{
    int rc = embedding_new(a->model, &a->request, &a->embedding, e);
    if (rc != 0)
        return rc;
    a->n_prompt = (int)embedding_n_tokens(a->embedding);
    a->prompt_hash = hash_tokens(&a->embedding->token);
    a->bytes = embedding_bytes(a->embedding);
    return check_same_prompt(a, &e->err);
}

static int prepare(struct answer *a, struct tokens *prompt, struct gen_error *e)
{
    const struct gen_request *r = &a->request;
    if (r->kind == GEN_EMBED || r->kind == GEN_RERANK)
        return prepare_embedding(a, e);
    if (a->model->embedder)
        return err_set_param(
            &e->err, ERR_UNSUPPORTED, "model", "the model '%s' %s; it does not generate text",
            a->model->ready.name[0] != '\0' ? a->model->ready.name : a->model->ready.arch,
            model_info(a->model->model)->pooling == POOLING_RANK ? "scores documents for a query"
                                                                 : "gives embeddings");
    if (r->echo && r->kind == GEN_CHAT)
        return err_set_param(&e->err, ERR_INVALID, "echo", "echo is for completions, not chats");
    struct prompt_end end = {0};
    int rc = check_context(a, &e->err);
    rc = rc != 0 ? rc : prompt_tokens(a->model, r, prompt, &end, &e->err);
    if (rc == 0 && r->truncate && r->kind == GEN_CHAT &&
        prompt->len >= (size_t)a->model->ready.n_ctx)
        rc = shorten(a, prompt, &end, &e->err);
    a->has_bos = end.has_bos;
    if (rc == 0)
        parse_streams(a, &end);
    prompt_end_release(&end);
    if (rc != 0)
        return rc;
    a->n_prompt = (int)prompt->len;
    a->prompt_hash = hash_tokens(prompt);
    rc = check_together(a, &e->err);
    rc = rc != 0 ? rc : check_length(a, e);
    rc = rc != 0 ? rc : check_same_prompt(a, &e->err);
    rc = rc != 0 ? rc : make_job(a, prompt, &e->err);
    rc = rc != 0 ? rc : add_drafts(a, &e->err);
    rc = rc != 0 ? rc : prepare_guides(a, &e->err);
    return rc != 0 ? rc : answer_resume(a, &e->err);
}

static void init_streams(struct answer *a)
{
    struct gen_request *r = &a->request;
    for (int64_t i = 0; i < r->n; i++)
        stream_init(&a->choice[i].stream, a->model->tokenizer, r->stop, r->n_stop,
                    r->kind == GEN_CHAT && !r->constraint); /* each byte of it counts */
    stream_init(&a->echo, a->model->tokenizer, NULL, 0, true);
}

bool answer_new(const struct loaded *model, struct gen_request *r, struct answer **ret,
                struct gen_error *ret_error)
{
    *ret_error = (struct gen_error){.id = r->id};
    struct answer *a = mem_zero(1, sizeof(*a));
    a->model = model;
    a->request = *r;
    a->choice = mem_zero((size_t)r->n, sizeof(*a->choice));
    init_streams(a);
    struct tokens prompt;
    tokens_init(&prompt, PROMPT_TOKENS_MAX);
    int rc = prepare(a, &prompt, ret_error);
    tokens_release(&prompt);
    if (rc != 0) {
        gen_request_init(&a->request); /* stays the caller's */
        a->request.n = r->n;
        answer_free(a);
        return false;
    }
    gen_request_init(r);
    *ret = a;
    return true;
}

void answer_free(struct answer *a)
{
    if (!a)
        return;
    for (int64_t i = 0; i < a->request.n; i++)
        stream_release(&a->choice[i].stream);
    stream_release(&a->echo);
    embedding_free(a->embedding);
    job_free(a->job);
    job_sampling_release(&a->sampling);
    beams_free(a->beams);
    free(a->choice);
    gen_request_release(&a->request);
    free(a);
}

/* ---- frames ---- */

static void stop_computing(struct answer *a)
{
    if (a->embedding) {
        embedder_cancel(a->model->embedder, &a->embedding->job);
        return;
    }
    for (int i = 0; i < a->job->n_seq; i++)
        engine_cancel(a->model->engine, &a->job->seq[i]);
}

static void fail(struct answer *a, const struct err *err, struct outbox *out)
{
    if (a->has_failed)
        return;
    a->has_failed = true;
    stop_computing(a);
    struct gen_error e = {.id = a->request.id, .err = *err};
    outbox_put(out, gen_error_to_json(&e));
}

static bool is_silent(const struct answer *a)
{
    return a->is_cancelled || a->has_failed;
}

/* Takes off what the client has already; false when that is all of it. */
static bool drop_known(struct choice *c, struct gen_delta *d)
{
    size_t n = c->skip_tokens < d->n_tokens ? c->skip_tokens : d->n_tokens;
    size_t n_text = (uint64_t)c->skip_bytes < d->text_len ? (size_t)c->skip_bytes : d->text_len;
    bool skips_call = d->name != NULL && c->skip_calls > 0;
    if (n == 0 && n_text == 0 && !skips_call)
        return true;
    if (skips_call) {
        c->skip_calls--;
        d->name = NULL;
    }
    c->skip_tokens -= n;
    c->skip_bytes -= (int64_t)n_text;
    d->tokens += n;
    d->n_tokens -= n;
    d->text += n_text;
    d->text_len -= n_text;
    return d->n_tokens > 0 || d->text_len > 0 || d->name != NULL;
}

static void send_delta(struct answer *a, const struct gen_delta *whole, struct outbox *out)
{
    struct err err;
    struct gen_delta d = *whole; /* a view */
    struct choice *c = &a->choice[d.index];
    if (c->has_ended || !drop_known(c, &d))
        return;
    if (!outbox_put(out, gen_delta_to_json(&d))) {
        err_set(&err, ERR_TOO_LARGE, "a part of the answer is too large to send");
        fail(a, &err, out);
    }
}

static void send_text(struct answer *a, int index, bool all, struct outbox *out)
{
    struct gen_delta d = {0};
    while (!a->has_failed && stream_take(&a->choice[index].stream, all, &d)) {
        d.id = a->request.id;
        d.index = index;
        send_delta(a, &d, out);
        gen_delta_release(&d);
    }
}

static void send_end(struct answer *a, int index, enum gen_reason reason, struct outbox *out)
{
    struct choice *c = &a->choice[index];
    int i_stop = c->stream.i_stop;
    bool calls = c->stream.n_calls > 0 && reason == GEN_STOP;
    struct gen_end end = {
        .id = a->request.id,
        .index = index,
        .reason = i_stop >= 0 ? GEN_STOP
                  : calls     ? GEN_TOOL_CALLS
                              : reason,
        .stop = i_stop >= 0 ? a->request.stop[i_stop] : NULL,
        .n_completion = c->n_completion,
        .n_reasoning = c->stream.n_reasoning,
        .n_foretold = c->n_foretold,
    };
    c->n_reasoning = end.n_reasoning;
    c->has_ended = true;
    outbox_put(out, gen_end_to_json(&end));
}

/* ---- tokens with their log probabilities ---- */

static bool piece_of(const struct answer *a, int32_t id, char **ret, size_t *ret_n)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    bool ok = tokenizer_piece(a->model->tokenizer, id, true, &b);
    *ret_n = b.len;
    *ret = buf_steal(&b);
    buf_release(&b);
    return ok && *ret;
}

/* What the engine reports of one token, as the gateway wants it; owned by the caller. */
static int make_token(const struct answer *a, const struct sampler_result *r, struct gen_token *ret,
                      struct err *err)
{
    struct gen_token t = {.id = r->id, .logprob = r->logprob};
    t.has_mu = a->request.sampling.mirostat != 0;
    t.mu = r->mu;
    if (a->request.logprobs) {
        bool ok = piece_of(a, r->id, &t.bytes, &t.n_bytes);
        if (r->n_top > 0)
            t.top = mem_try_array((size_t)r->n_top, sizeof(*t.top));
        for (int i = 0; ok && t.top && i < r->n_top; i++) {
            struct gen_top *top = &t.top[t.n_top++];
            top->id = r->top[i].id;
            top->logprob = r->top[i].logprob;
            ok = piece_of(a, top->id, &top->bytes, &top->n_bytes);
        }
        if (!ok || (r->n_top > 0 && !t.top)) {
            struct gen_delta d = {.tokens = mem_alloc(sizeof(t)), .n_tokens = 1};
            d.tokens[0] = t;
            gen_delta_release(&d);
            return err_set(err, ERR_NOMEM, "no memory for log probabilities");
        }
    }
    *ret = t;
    return 0;
}

static int push(const struct answer *a, struct stream *s, const struct sampler_result *r,
                bool *ret_stopped, struct err *err)
{
    struct gen_token token;
    int rc = make_token(a, r, &token, err);
    return rc != 0 ? rc : stream_push(s, &token, ret_stopped, err);
}

/* ---- echo ---- */

/* Sends what the echo stream holds to every choice. */
static void send_echo(struct answer *a, bool all, struct outbox *out)
{
    struct gen_delta d = {0};
    if ((!all && a->echo.n_held < ECHO_TOKENS) || !stream_take(&a->echo, all, &d))
        return;
    d.id = a->request.id;
    for (d.index = 0; d.index < a->request.n && !is_silent(a); d.index++)
        send_delta(a, &d, out);
    gen_delta_release(&d);
}

/* One more token of the prompt, with its log probabilities. */
static void echo_token(struct answer *a, const struct sampler_result *r, struct outbox *out)
{
    struct err err;
    bool stopped;
    bool is_ours = a->n_echoed++ == 0 && a->has_bos;
    int rc = is_ours ? 0 : push(a, &a->echo, r, &stopped, &err);
    bool is_last = a->n_echoed == a->n_prompt;
    if (rc == 0 && is_last)
        rc = stream_finish(&a->echo, false, &err);
    if (rc != 0)
        fail(a, &err, out);
    else
        send_echo(a, is_last, out);
}

/*
 * The whole prompt at once, without log probabilities; a completion's text as it was written. With
 * log probabilities only for a client that has it all: then it is but measured and dropped.
 */
static void echo_plain(struct answer *a, struct outbox *out)
{
    struct err err;
    const int32_t *token = a->job->seq[0].token;
    int rc = 0;
    for (int i = a->has_bos; i < a->n_prompt && rc == 0; i++) {
        struct gen_token t = {.id = token[i], .logprob = NAN};
        bool stopped;
        rc = stream_push(&a->echo, &t, &stopped, &err);
    }
    rc = rc != 0 ? rc : stream_finish(&a->echo, false, &err);
    if (rc != 0) {
        fail(a, &err, out);
        return;
    }
    if (a->request.kind == GEN_TEXT && !a->request.logprobs) {
        buf_clear(&a->echo.text);
        buf_add(&a->echo.text, a->request.text, a->request.text_len);
        for (size_t i = 0; i < a->echo.n_held; i++)
            a->echo.held[i].end = 0;
    }
    send_echo(a, true, out);
}

/* ---- events ---- */

/* Nothing more comes of a choice: its last text and its end. */
static void finish_choice(struct answer *a, int index, enum gen_reason reason, struct outbox *out)
{
    struct err err;
    if (stream_finish(&a->choice[index].stream, reason == GEN_LENGTH, &err) != 0) {
        fail(a, &err, out);
        return;
    }
    send_text(a, index, true, out);
    send_end(a, index, reason, out);
}

/* The tokens that a choice has from its former life go the way of new ones. */
static void replay(struct answer *a, int index, struct outbox *out)
{
    const struct gen_prior *p = &a->request.resume.prior[index];
    struct choice *c = &a->choice[index];
    struct err err;
    bool stopped = false;
    for (size_t k = n_echo_of(a); k < p->n_tokens && !stopped && !a->has_failed; k++) {
        struct gen_token t = {.id = p->tokens[k], .logprob = NAN};
        if (stream_push(&c->stream, &t, &stopped, &err) != 0)
            fail(a, &err, out);
        else
            send_text(a, index, stopped, out);
    }
    if (a->has_failed)
        return;
    if (stopped)
        send_end(a, index, GEN_STOP, out);
    else if (!c->runs && a->request.max_tokens != 0)
        finish_choice(a, index, GEN_LENGTH, out);
    c->runs = c->runs && !stopped;
}

/* What is said before anything is computed; true when the engine has something to do. */
static bool begin(struct answer *a, struct outbox *out)
{
    bool runs = a->job->score_prompt;
    if (a->request.echo && !a->job->score_prompt)
        echo_plain(a, out);
    for (int i = 0; i < (int)a->request.n && !a->has_failed; i++) {
        if (a->request.resume.prior && !a->choice[i].has_ended && !a->beams)
            replay(a, i, out);
        runs = runs || a->choice[i].runs;
    }
    return runs && !a->has_failed;
}

void answer_begin(struct answer *a, struct outbox *out)
{
    const struct gen_accepted accepted = {a->request.id, a->n_prompt, a->prompt_hash, a->n_dropped};
    a->submit_ns = clock_ns();
    outbox_put(out, gen_accepted_to_json(&accepted));
    if (a->embedding) {
        embedding_begin(a->embedding, a->model->embedder);
        if (a->embedding->job.n_text == 0)
            answer_look(a, out);
        return;
    }
    if (!begin(a, out)) {
        a->n_engine_ended = a->job->n_seq; /* never submitted */
        a->start_ns = a->first_ns = a->last_ns = a->submit_ns;
        return;
    }
    engine_submit(a->model->engine, a->job);
    for (int i = 0; i < a->job->n_seq && a->request.max_tokens != 0 && !a->beams; i++)
        if (!a->choice[i].runs)
            engine_cancel(a->model->engine, &a->job->seq[i]);
}

static void on_started(struct answer *a, const struct engine_event *e, struct outbox *out)
{
    a->start_ns = a->first_ns = a->last_ns = e->time_ns;
    outbox_put(out, json_pack("{s:s,s:I,s:I,s:f}", "t", "started", "id", (json_int_t)a->request.id,
                              "n_cached", (json_int_t)e->n_cached, "queue_ms",
                              (double)(a->start_ns - a->submit_ns) * 1e-6));
    if (a->job->score_prompt) {
        struct sampler_result first = {.id = a->job->seq[0].token[0], .logprob = NAN};
        echo_token(a, &first, out);
    }
}

static void on_token(struct answer *a, const struct engine_event *e, struct outbox *out)
{
    int index = e->seq->index;
    struct choice *c = &a->choice[index];
    if (c->has_ended || a->request.max_tokens == 0)
        return;
    if (a->first_ns == a->start_ns)
        a->first_ns = e->time_ns;
    a->last_ns = e->time_ns;
    c->n_completion++;
    c->n_foretold = e->n_foretold;
    struct err err;
    bool stopped = false;
    if (push(a, &c->stream, &e->result, &stopped, &err) != 0) {
        fail(a, &err, out);
        return;
    }
    send_text(a, index, stopped, out);
    if (stopped) {
        send_end(a, index, GEN_STOP, out);
        engine_cancel(a->model->engine, e->seq);
    }
}

static void on_end(struct answer *a, const struct engine_event *e, struct outbox *out)
{
    int index = e->seq->index;
    struct choice *c = &a->choice[index];
    a->n_engine_ended++;
    if (c->has_ended || is_silent(a) || a->request.max_tokens == 0)
        return;
    if (e->end == ENGINE_END_STUCK) {
        struct err err;
        err_set(&err, ERR_LIMIT,
                "the answer could not go on as its grammar wants it: the grammar is too ambiguous, "
                "or too deeply nested, or the model has no token for what must come");
        fail(a, &err, out);
        return;
    }
    c->n_completion += e->end == ENGINE_END_EOG; /* the end token was computed too */
    finish_choice(a, index, e->end == ENGINE_END_LENGTH ? GEN_LENGTH : GEN_STOP, out);
}

/* ---- beam search ---- */

/* One of the best, whole. */
static void deliver_beam(struct answer *a, int index, struct outbox *out)
{
    struct choice *c = &a->choice[index];
    struct err err;
    int32_t *token;
    bool ended, stopped = false;
    int n = beams_result(a->beams, index, &token, &ended);
    if (n > 0 && !token) {
        err_set(&err, ERR_NOMEM, "no memory for an answer");
        fail(a, &err, out);
    }
    for (int k = 0; k < n && !stopped && !a->has_failed; k++) {
        struct gen_token t = {.id = token[k], .logprob = NAN};
        c->n_completion++;
        if (stream_push(&c->stream, &t, &stopped, &err) != 0)
            fail(a, &err, out);
    }
    free(token);
    if (a->has_failed)
        return;
    if (stopped) {
        send_text(a, index, true, out);
        send_end(a, index, GEN_STOP, out);
        return;
    }
    c->n_completion += ended;
    finish_choice(a, index, ended ? GEN_STOP : GEN_LENGTH, out);
}

/* All sequences of a step have ended: another one, or the answers. */
static void end_beam_step(struct answer *a, struct outbox *out)
{
    struct job *next = NULL;
    struct err err;
    if (is_silent(a))
        return;
    if (beams_step(a->beams, a->job, &next, &err) != 0) {
        fail(a, &err, out);
        return;
    }
    if (a->n_cached == 0)
        a->n_cached = a->job->seq[0].n_cached;
    if (next) {
        job_free(a->job);
        a->job = next;
        a->n_engine_ended = 0;
        engine_submit(a->model->engine, next);
        return;
    }
    for (int i = 0; i < (int)a->request.n && !a->has_failed; i++)
        if (!a->choice[i].has_ended)
            deliver_beam(a, i, out);
}

static void beam_event(struct answer *a, const struct engine_event *e, struct outbox *out)
{
    if (e->kind == ENGINE_STARTED && a->start_ns == 0 && !is_silent(a)) {
        on_started(a, e, out);
    } else if (e->kind == ENGINE_TOKEN) {
        beams_take(a->beams, e->seq->index, &e->result);
        a->first_ns = a->first_ns == a->start_ns ? e->time_ns : a->first_ns;
        a->last_ns = e->time_ns;
    } else if (e->kind == ENGINE_END && ++a->n_engine_ended == a->job->n_seq) {
        end_beam_step(a, out);
    }
}

void answer_event(struct answer *a, const struct engine_event *e, struct outbox *out)
{
    if (a->beams)
        beam_event(a, e, out);
    else if (e->kind == ENGINE_END)
        on_end(a, e, out);
    else if (is_silent(a))
        return;
    else if (e->kind == ENGINE_STARTED)
        on_started(a, e, out);
    else if (e->kind == ENGINE_SCORE)
        echo_token(a, &e->result, out);
    else
        on_token(a, e, out);
}

bool answer_look(struct answer *a, struct outbox *out)
{
    struct err err = {0};
    bool failed = false, all = true;
    if (!is_silent(a))
        all = embedding_look(a->embedding, out, &err, &failed);
    if (failed)
        fail(a, &err, out);
    return all;
}

void answer_cancel(struct answer *a)
{
    a->is_cancelled = true;
    stop_computing(a);
}

bool answer_is_over(const struct answer *a)
{
    if (a->embedding)
        return embedding_is_over(a->embedding);
    return a->n_engine_ended == a->job->n_seq;
}

static void finish_embedding(struct answer *a, struct outbox *out)
{
    struct gen_done done;
    struct err err;
    if (embedding_finish(a->embedding, &done)) {
        outbox_put(out, gen_done_to_json(&done));
        return;
    }
    err_set(&err, ERR_CANCELLED, "the request was cancelled");
    fail(a, &err, out);
}

void answer_finish(struct answer *a, struct outbox *out)
{
    struct err err;
    if (a->has_failed)
        return;
    if (a->embedding) {
        finish_embedding(a, out);
        return;
    }
    struct gen_done done = {
        .id = a->request.id,
        .n_prompt = a->n_prompt,
        .n_cached = a->beams ? a->n_cached : a->job->seq[0].n_cached, /* ours again */
        .queue_ms = (double)(a->start_ns - a->submit_ns) * 1e-6,
        .prefill_ms = (double)(a->first_ns - a->start_ns) * 1e-6,
        .decode_ms = (double)(a->last_ns - a->first_ns) * 1e-6,
    };
    bool all_ended = true;
    int n_prediction = a->job->prediction ? a->job->prediction->n : 0;
    for (int i = 0; i < (int)a->request.n; i++) {
        if (a->request.max_tokens == 0 && !a->is_cancelled && !a->choice[i].has_ended)
            send_end(a, i, GEN_LENGTH, out);
        done.n_completion += a->choice[i].n_completion;
        done.n_reasoning += a->choice[i].n_reasoning;
        done.n_foretold += a->choice[i].n_foretold;
        done.n_not_met += n_prediction - a->choice[i].n_foretold;
        all_ended = all_ended && a->choice[i].has_ended;
    }
    if (all_ended) {
        outbox_put(out, gen_done_to_json(&done));
        return;
    }
    err_set(&err, ERR_CANCELLED, "the request was cancelled");
    fail(a, &err, out);
}
