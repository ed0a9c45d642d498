/*
 * speculation: see the header. Costs are in ms, of a whole step.
 */
#include "engine/speculation.h"
#include "base/check.h"

#define PICKS_MAX    SPECULATION_TOKENS_MAX
#define GAIN_LEAST   1.05 /* below it, noise decides */
#define LONGER_MAX   1.5  /* where others decode, too: their tokens come no slower than that */
#define PREFILL_PART 0.1  /* of a step with prompts */
#define FIRST_SLOPE  0.1  /* of a step's cost for each token more, before any was measured */
#define LEARN_DOWN   0.25 /* weight of the newest measurement; what disturbs a step makes it */
#define LEARN_UP     0.05 /* longer, never shorter */
#define TRY_EVERY    256  /* steps in which likely guesses were too dear */
#define TRY_CHANCE   0.5f

struct offer {
    struct sequence *seq;
    int n_guess, n_picked;
    float chance[DRAFT_MAX];
};

struct choice {
    struct offer offer[SPECULATION_SEQS_MAX];
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

static void collect(const struct speculation *s, struct sequence *const *seq, int n_seq,
                    struct choice *c)
{
    for (int i = 0; i < n_seq && c->n_offer < SPECULATION_SEQS_MAX; i++) {
        struct offer *o = &c->offer[c->n_offer];
        int n_max = min_int(DRAFT_MAX, seq[i]->job->n_token_max - seq[i]->n_token - 1);
        *o = (struct offer){.seq = seq[i]};
        if (!seq[i]->draft || n_max <= 0)
            continue;
        draft_see(seq[i]->draft, seq[i]->token, seq[i]->n_token);
        CHECK(seq[i]->draft->n_seen == seq[i]->n_token); /* guesses come behind them */
        int n = draft_guess(seq[i]->draft, seq[i]->token, n_max, o->chance);
        while (o->n_guess < n && !is_eog(s, seq[i]->token[seq[i]->n_token + o->n_guess]))
            o->n_guess++;
        c->n_offer += o->n_guess > 0;
    }
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
    for (int i = 0; i < n; i++)
        c->offer[c->pick[i]].seq->n_draft++;
}

/* ---- what it costs ---- */

/* A step of n decoded tokens, without attention. Between measured ones along a line; beyond them
 * as steeply as up to there, so what was never tried looks good until it was. */
static double cost_of(const struct speculation *s, int n)
{
    int first = 0, below = 0, above = n;
    for (int i = n; i >= 1; i--) {
        first = s->ms[i] > 0 ? i : first;
        below = s->ms[i] > 0 && below == 0 ? i : below;
    }
    while (above <= SPECULATION_TOKENS_MAX && !(s->ms[above] > 0))
        above++;
    if (below == n)
        return s->ms[n];
    if (above <= SPECULATION_TOKENS_MAX) {
        if (below == 0)
            return s->ms[above];
        double slope = (s->ms[above] - s->ms[below]) / (above - below);
        return s->ms[below] + slope * (n - below);
    }
    if (below == 0)
        return 0;
    double slope = below > first ? (s->ms[below] - s->ms[first]) / (below - first)
                                 : FIRST_SLOPE * s->ms[below];
    return s->ms[below] + (slope > 0 ? slope : 0) * (n - below);
}

static double attention_ms(const struct speculation *s, double n_attended)
{
    return step_cost_of(s->cost, 0, n_attended) - step_cost_of(s->cost, 0, 0);
}

/* The step without guesses, and with the first i: what they add. */
struct price {
    double ms;
    int n_tokens;
    double n_attended;
};

static struct price price_of(const struct speculation *s, struct sequence *const *seq, int n_seq,
                             bool has_prefill)
{
    struct price p = {.n_tokens = n_seq};
    for (int i = 0; i < n_seq; i++)
        p.n_attended += seq[i]->n_token;
    p.ms = has_prefill ? s->step_ms : cost_of(s, n_seq) + attention_ms(s, p.n_attended);
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
        p->ms = cost_of(s, p->n_tokens) + attention_ms(s, p->n_attended);
    return p->ms - before;
}

/* ---- the choice ---- */

/* Picks guesses, the likeliest first, and returns after how many the step is at its best. */
static int choose(const struct speculation *s, struct choice *c, struct price p, int n_max,
                  bool has_prefill)
{
    double expected = p.n_tokens, least = p.ms, added = 0;
    double best_rate = GAIN_LEAST * expected / p.ms;
    double longest = has_prefill ? PREFILL_PART * p.ms : (LONGER_MAX - 1) * p.ms;
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
    if (c.n_offer == 0)
        return;
    struct price price = price_of(s, seq, n_seq, has_prefill);
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
    for (int i = 0; i < p->batch.n_seq; i++)
        s->n_accepted += (uint64_t)p->seq[i]->n_accepted;
    s->n_drafted += (uint64_t)p->n_draft;
    if (n != p->n_decode || n > SPECULATION_TOKENS_MAX || !(ms > 0))
        return;
    double rest = ms - attention_ms(s, p->n_attended), *known = &s->ms[n];
    rest = rest > ms / 10 ? rest : ms / 10;
    if (*known > 0 && rest > 2 * *known)
        rest = 2 * *known; /* disturbed */
    if (*known > 0)
        *known += (rest - *known) * (rest < *known ? LEARN_DOWN : LEARN_UP);
    else
        *known = rest;
}
