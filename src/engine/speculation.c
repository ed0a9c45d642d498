/*
 * speculation: see the header. Costs are in ms, of a whole step.
 */
#include "engine/speculation.h"
#include "base/check.h"

#define PICKS_MAX    SPECULATION_TOKENS_MAX
#define GAIN_LEAST   1.05 /* below it, noise decides */
#define LONGER_MAX   1.5  /* where others decode, too: their tokens come no slower than that */
#define PREFILL_PART 0.1  /* of a step with prompts */
#define TRY_EVERY    256  /* steps in which likely guesses were too dear */
#define TRY_CHANCE   0.5f
#define CHANCE_LEAST 0.05f           /* the draft model does not guess on beyond it */
#define READY_LAG    (DRAFT_MAX + 1) /* tokens that a sequence is behind that was just drafted for */
#define CATCH_UP     0.25 /* of a step is spent on texts that the draft model has not seen ... */
#define CATCH_UP_ONE 0.5  /* ... or so much when there is only one sequence */
#define CHUNK_LEAST  8
#define CHUNK_FIRST  32 /* when nothing is known of its cost */
#define ANSWER_LEAST                                                                               \
    64               /* tokens that an answer is taken to go on for; longer ones, as long again */
#define TRY_AFTER 64 /* steps without: the draft model is tried again, then after twice ... */
#define TRIES_MAX 3  /* ... that, and so often, ... */
#define TRY_PART  32 /* ... if catching up takes at most this part of the time since then */

struct offer {
    struct sequence *seq;
    int n_max, n_guess, n_picked;
    bool is_model; /* the draft model's guesses */
    float chance[DRAFT_MAX];
};

struct choice {
    struct offer offer[SPECULATION_SEQS_MAX]; /* [n_offer] one for each sequence */
    int n_offer;
    int pick[PICKS_MAX]; /* [n_pick] which offer's next guess */
    int n_pick;
};

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

/* ---- what there is ---- */

static bool is_eog(const struct speculation *s, int32_t id)
{
    for (int i = 0; i < s->n_eog; i++)
        if (s->eog[i] == id)
            return true;
    return false;
}

/* What must come next by the sequence's grammar is as good as known. */
static void offer_forced(struct offer *o)
{
    const struct guide *guide = o->seq->guide;
    for (o->n_guess = 0; o->n_guess < guide->n_forced && o->n_guess < o->n_max; o->n_guess++) {
        o->seq->token[o->seq->n_token + o->n_guess] = guide->forced[o->n_guess];
        o->chance[o->n_guess] = 1;
    }
}

static void collect(const struct speculation *s, struct sequence *const *seq, int n_seq,
                    struct choice *c)
{
    CHECK(n_seq <= SPECULATION_SEQS_MAX);
    c->n_offer = n_seq;
    for (int i = 0; i < n_seq; i++) {
        struct offer *o = &c->offer[i];
        int n_max = min_int(DRAFT_MAX, seq[i]->job->n_token_max - seq[i]->n_token - 1);
        *o = (struct offer){.seq = seq[i], .n_max = n_max};
        if (n_max > 0 && seq[i]->guide && seq[i]->guide->n_forced > 0) {
            offer_forced(o);
            continue;
        }
        if (!seq[i]->draft || n_max <= 0)
            continue;
        draft_see(seq[i]->draft, seq[i]->token, seq[i]->n_token);
        CHECK(seq[i]->draft->n_seen == seq[i]->n_token); /* guesses come behind them */
        int n = draft_guess(seq[i]->draft, seq[i]->token, n_max, o->chance);
        while (o->n_guess < n && !is_eog(s, seq[i]->token[seq[i]->n_token + o->n_guess]))
            o->n_guess++;
    }
}

static bool has_guesses(const struct choice *c)
{
    for (int i = 0; i < c->n_offer; i++)
        if (c->offer[i].n_guess > 0)
            return true;
    return false;
}

/* The likeliest guess that is left; NULL if there is none. */
static struct offer *likeliest(struct choice *c)
{
    struct offer *best = NULL;
    for (int i = 0; i < c->n_offer; i++) {
        struct offer *o = &c->offer[i];
        if (o->n_picked < o->n_guess &&
            (!best || o->chance[o->n_picked] > best->chance[best->n_picked]))
            best = o;
    }
    return best;
}

static void take(struct choice *c, int n)
{
    for (int i = 0; i < n; i++) {
        struct offer *o = &c->offer[c->pick[i]];
        o->seq->n_draft++;
        o->seq->is_draft_model = o->is_model;
    }
}

/* ---- what it costs ---- */

static double attention_ms(const struct speculation *s, double n_attended)
{
    return step_cost_of(s->cost, 0, n_attended) - step_cost_of(s->cost, 0, 0);
}

/* The step without guesses, and with the first i: what they add. */
struct price {
    double ms;
    double spent; /* of it, on guesses that there are now */
    int n_tokens;
    double n_attended;
};

static struct price price_of(const struct speculation *s, struct sequence *const *seq, int n_seq,
                             bool has_prefill)
{
    struct price p = {.n_tokens = n_seq};
    for (int i = 0; i < n_seq; i++)
        p.n_attended += seq[i]->n_token;
    p.ms = has_prefill ? s->step_ms : cost_curve_at(s->ms, n_seq) + attention_ms(s, p.n_attended);
    return p;
}

/* How much longer the step is with one token more. */
static double add_price(const struct speculation *s, struct price *p, const struct sequence *seq,
                        bool has_prefill)
{
    double before = p->ms;
    p->n_tokens++;
    p->n_attended += seq->n_token;
    if (has_prefill)
        p->ms += step_cost_of(s->cost, 1, seq->n_token) - step_cost_of(s->cost, 0, 0);
    else
        p->ms = p->spent + cost_curve_at(s->ms, p->n_tokens) + attention_ms(s, p->n_attended);
    return p->ms - before;
}

/* ---- the choice ---- */

/* Picks guesses, the likeliest first, and returns after how many the step is at its best. */
static int choose(const struct speculation *s, struct choice *c, struct price p, int n_max,
                  bool has_prefill)
{
    double expected = p.n_tokens, least = p.ms, added = 0;
    double best_rate = GAIN_LEAST * expected / p.ms;
    double longest = has_prefill ? PREFILL_PART * p.ms : (LONGER_MAX - 1) * (p.ms - p.spent);
    bool alone = !has_prefill && p.n_tokens == 1;
    int best = 0;
    struct offer *o;
    n_max = min_int(n_max, PICKS_MAX);
    while (c->n_pick < n_max && p.n_tokens < SPECULATION_TOKENS_MAX && (o = likeliest(c))) {
        expected += (double)o->chance[o->n_picked++];
        added += add_price(s, &p, o->seq, has_prefill);
        c->pick[c->n_pick++] = (int)(o - c->offer);
        double ms = p.ms > least ? p.ms : least;
        if (!alone && added > longest)
            break;
        if (expected / ms > best_rate) {
            best_rate = expected / ms;
            best = c->n_pick;
        }
    }
    return best;
}

/* ---- the draft model ---- */

struct candidate {
    struct offer *offer;
    double rate; /* of its guesses that hold */
};

/* For whom the draft model guesses, and how many tokens, at best. */
struct reach {
    int n_seq, depth;
    double gain; /* part by which that is faster than without; <= 0: it is not */
};

/* Those for whom the texts have no better guess, the likeliest first. */
static int find_candidates(struct speculation *s, struct choice *c, struct candidate *ret)
{
    int n = 0;
    drafter_sweep(s->drafter); /* some were preempted for others since the last step */
    for (int i = 0; i < c->n_offer; i++) {
        struct offer *o = &c->offer[i];
        if (!o->seq->shadow.block)
            continue;
        drafter_see(s->drafter, o->seq);
        double rate = (double)o->seq->shadow.mean.p;
        bool lost = o->n_guess > 0 && (s->mode == SPECULATE_ALWAYS || (double)o->chance[0] >= rate);
        if (!drafter_can(s->drafter, o->seq)) {
            drafter_drop(s->drafter, o->seq); /* what it has serves others, perhaps */
            continue;
        }
        if (o->n_max <= 0 || lost)
            continue;
        int at = n++;
        for (; at > 0 && ret[at - 1].rate < rate; at--)
            ret[at] = ret[at - 1];
        ret[at] = (struct candidate){o, rate};
    }
    return n;
}

/* How much longer the step is with n_seq guesses of the draft model in each of `depth` passes. */
static double guesses_ms(const struct speculation *s, const struct price *p, int n_seq, int depth,
                         double n_attended)
{
    int n = n_seq * depth;
    return cost_curve_at(s->ms, p->n_tokens + n) - cost_curve_at(s->ms, p->n_tokens) +
           attention_ms(s, n_attended * depth) + depth * drafter_ms(s->drafter, n_seq);
}

static struct reach find_reach(const struct speculation *s, const struct price *p,
                               const struct candidate *cand, int n, int n_max)
{
    double expected[DRAFT_MAX + 1] = {0}, n_attended = 0, plain = p->n_tokens / p->ms;
    struct reach best = {.gain = GAIN_LEAST - 1};
    for (int m = 1; m <= n; m++) {
        double power = 1, sum = 0;
        n_attended += cand[m - 1].offer->seq->n_token;
        for (int k = 1; k <= s->drafter->config.depth; k++) {
            power *= cand[m - 1].rate;
            expected[k] += sum += power;
            if (m * k > n_max || p->n_tokens + m * k > SPECULATION_TOKENS_MAX)
                break;
            double more = guesses_ms(s, p, m, k, n_attended);
            more = more > 0 ? more : 0;
            if (p->n_tokens > 1 && more > (LONGER_MAX - 1) * p->ms)
                continue;
            double gain = (p->n_tokens + expected[k]) / (p->ms + more) / plain - 1;
            if (gain > best.gain)
                best = (struct reach){m, k, gain};
        }
    }
    best.gain = best.n_seq > 0 ? best.gain : 0;
    return best;
}

/* Does it pay to compute what the draft model has not seen of this text? */
static bool is_worth_catching_up(const struct speculation *s, const struct price *p,
                                 const struct sequence *seq, const struct reach *reach)
{
    int lag = drafter_lag(seq), answer = seq->n_token - seq->job->n_prompt;
    if (lag <= READY_LAG)
        return true;
    int more = answer > ANSWER_LEAST ? answer : ANSWER_LEAST;
    more = min_int(more, seq->job->n_token_max - seq->n_token);
    double each = drafter_ms(s->drafter, COST_TOKENS_MAX) / COST_TOKENS_MAX;
    return lag * each <= more * p->ms * reach->gain / reach->n_seq;
}

/* One that lost, or whose costs were perhaps another's, is tried again: moved to the front. */
static bool choose_trial(const struct speculation *s, const struct price *p, struct candidate *cand,
                         int n)
{
    double each = drafter_ms(s->drafter, COST_TOKENS_MAX) / COST_TOKENS_MAX;
    for (int i = 0; i < n; i++) {
        const struct shadow *w = &cand[i].offer->seq->shadow;
        int lag = drafter_lag(cand[i].offer->seq);
        bool is_cheap = lag <= READY_LAG || lag * each * TRY_PART <= w->n_declined * p->ms;
        if (is_cheap && w->n_tries < TRIES_MAX && w->n_declined >= TRY_AFTER << w->n_tries) {
            struct candidate moved = cand[i];
            cand[i] = cand[0];
            cand[0] = moved;
            return true;
        }
    }
    return false;
}

/* Those that can guess at once first. Returns how many tokens a first pass may compute. */
static int arrange(struct speculation *s, struct sequence **seq, int n, int chunk)
{
    int n_ready = 0, n_tokens = 0;
    for (int i = 0; i < n; i++) {
        struct sequence *moved = seq[i];
        if (drafter_lag(moved) > READY_LAG)
            continue;
        n_tokens += drafter_lag(moved);
        seq[i] = seq[n_ready];
        seq[n_ready++] = moved;
    }
    n_tokens = n_ready < n && chunk > n_tokens ? chunk : n_tokens;
    return min_int(n_tokens > 0 ? n_tokens : 1, s->drafter->config.n_batch_max);
}

/* Who goes on after a guess: those for whom the next one may be of use. */
static int keep_going(const struct speculation *s, struct candidate *cand, int n, int depth)
{
    int n_kept = 0;
    for (int i = 0; i < n; i++) {
        const struct shadow *w = &cand[i].offer->seq->shadow;
        int last = w->n_guess - 1;
        if (w->n_guess == depth && depth < cand[i].offer->n_max && !is_eog(s, w->guess[last]) &&
            w->chance[last] >= CHANCE_LEAST)
            cand[n_kept++] = cand[i];
    }
    return n_kept;
}

/* Is one more guess for each of them worth its time, by how sure the ones before were? */
static bool is_pass_worth(const struct speculation *s, const struct price *p,
                          const struct candidate *cand, int n, int n_guessed)
{
    double expected = 0, n_attended = 0;
    int n_tokens = p->n_tokens + n_guessed;
    for (int i = 0; i < n; i++) {
        const struct shadow *w = &cand[i].offer->seq->shadow;
        expected += (double)w->chance[w->n_guess - 1] * cand[i].rate;
        n_attended += cand[i].offer->seq->n_token;
    }
    if (n_tokens + n > SPECULATION_TOKENS_MAX)
        return false;
    double more = cost_curve_at(s->ms, n_tokens + n) - cost_curve_at(s->ms, n_tokens) +
                  attention_ms(s, n_attended) + drafter_ms(s->drafter, n);
    return expected * p->ms >= more * p->n_tokens;
}

/* The guesses become offers. */
static void offer_guesses(const struct speculation *s, struct offer *o)
{
    struct shadow *w = &o->seq->shadow;
    if (w->n_guess == 0)
        return;
    o->is_model = true;
    w->n_declined = 0;
    for (o->n_guess = 0; o->n_guess < w->n_guess; o->n_guess++) {
        if (is_eog(s, w->guess[o->n_guess]))
            return;
        o->seq->token[o->seq->n_token + o->n_guess] = w->guess[o->n_guess];
        o->chance[o->n_guess] = w->chance[o->n_guess];
    }
}

/* Has the draft model guess for n candidates. p: NULL, or the passes after the first must pay. */
static void guess(struct speculation *s, struct candidate *cand, int n, int depth, int chunk,
                  const struct price *p)
{
    struct drafter *d = s->drafter;
    struct sequence *seq[SPECULATION_SEQS_MAX];
    struct offer *offer[SPECULATION_SEQS_MAX];
    int n_kept = 0, n_guessed = 0;
    for (int i = 0; i < n; i++) {
        if (!drafter_reserve(d, cand[i].offer->seq))
            continue;
        seq[n_kept] = cand[i].offer->seq;
        offer[n_kept] = cand[i].offer;
        cand[n_kept++] = cand[i];
    }
    n = n_kept;
    if (n == 0)
        return;
    drafter_pass(d, seq, n, arrange(s, seq, n, chunk));
    for (int k = 1; k < depth; k++) {
        n_kept = keep_going(s, cand, n_kept, k);
        n_guessed += n_kept;
        if (n_kept == 0 || (p && !is_pass_worth(s, p, cand, n_kept, n_guessed)))
            break;
        for (int i = 0; i < n_kept; i++)
            seq[i] = cand[i].offer->seq;
        drafter_pass(d, seq, n_kept, n_kept);
    }
    for (int i = 0; i < n; i++)
        offer_guesses(s, offer[i]);
}

/* Returns what it took, in ms. */
static double ask_drafter(struct speculation *s, struct choice *c, struct price p, int n_max)
{
    struct candidate cand[SPECULATION_SEQS_MAX];
    int n = find_candidates(s, c, cand), n_chosen = 0;
    int64_t before = s->drafter->spent_ns;
    struct reach reach = find_reach(s, &p, cand, n, n_max);
    for (int i = 0; i < n; i++)
        cand[i].offer->seq->shadow.n_declined++;
    bool is_trial = reach.n_seq == 0 && n_max > 0 && choose_trial(s, &p, cand, n);
    if (is_trial)
        reach = (struct reach){.n_seq = 1, .depth = 1};
    for (int i = 0; i < reach.n_seq; i++)
        if (is_trial || is_worth_catching_up(s, &p, cand[i].offer->seq, &reach))
            cand[n_chosen++] = cand[i];
    double part = p.n_tokens > 1 ? CATCH_UP : CATCH_UP_ONE;
    int chunk = drafter_ms(s->drafter, COST_TOKENS_MAX) > 0
                    ? cost_curve_tokens(s->drafter->ms, part * p.ms, CHUNK_LEAST)
                    : CHUNK_FIRST;
    struct shadow *tried = is_trial ? &cand[0].offer->seq->shadow : NULL;
    guess(s, cand, n_chosen, reach.depth, chunk, &p);
    if (tried)
        tried->n_tries += tried->n_guess > 0;
    return (double)(s->drafter->spent_ns - before) * 1e-6;
}

/* Whatever it costs; a little at a time. */
static void ask_always(struct speculation *s, struct choice *c)
{
    struct candidate cand[SPECULATION_SEQS_MAX];
    int n = find_candidates(s, c, cand);
    guess(s, cand, n, s->drafter->config.depth, CHUNK_FIRST, NULL);
}

/* Now and then guesses that were too dear are tried: the cost was perhaps another's. */
static int try_again(struct speculation *s, const struct choice *c, int best)
{
    if (best > 0 || c->n_pick == 0 || c->offer[c->pick[0]].chance[0] < TRY_CHANCE)
        return best;
    if (++s->n_declined % TRY_EVERY != 0)
        return best;
    return 1 + (int)(s->n_declined / TRY_EVERY % (uint32_t)c->n_pick);
}

void speculation_draft(void *ctx, struct sequence *const *seq, int n_seq, int n_max,
                       bool has_prefill)
{
    struct speculation *s = ctx;
    struct choice c;
    c.n_offer = c.n_pick = 0;
    if (s->mode == SPECULATE_OFF || n_seq > SPECULATION_SEQS_MAX)
        return;
    collect(s, seq, n_seq, &c);
    struct price price = price_of(s, seq, n_seq, has_prefill);
    if (s->drafter && s->mode == SPECULATE_ALWAYS)
        ask_always(s, &c);
    else if (s->drafter && !has_prefill && price.ms > 0)
        price.ms += price.spent = ask_drafter(s, &c, price, n_max);
    if (!has_guesses(&c))
        return;
    if (s->mode == SPECULATE_ALWAYS) {
        price = (struct price){.ms = 1};
        choose(s, &c, price, n_max, false);
        take(&c, c.n_pick);
        return;
    }
    if (!(price.ms > 0))
        return; /* nothing is known of its like */
    int best = choose(s, &c, price, n_max, has_prefill);
    take(&c, has_prefill ? best : try_again(s, &c, best));
}

void speculation_learn(struct speculation *s, const struct plan *p, double ms)
{
    int n = p->batch.n_tokens;
    for (int i = 0; i < p->batch.n_seq; i++) {
        const struct sequence *seq = p->seq[i];
        s->n_accepted += (uint64_t)seq->n_accepted;
        s->n_model_drafted += seq->is_draft_model ? (uint64_t)seq->n_draft : 0;
        s->n_model_accepted += seq->is_draft_model ? (uint64_t)seq->n_accepted : 0;
    }
    s->n_drafted += (uint64_t)p->n_draft;
    if (n != p->n_decode || n > SPECULATION_TOKENS_MAX || !(ms > 0))
        return;
    double rest = ms - attention_ms(s, p->n_attended);
    cost_curve_learn(s->ms, n, rest > ms / 10 ? rest : ms / 10);
}
