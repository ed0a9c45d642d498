/*
 * scheduler: see the header.
 *
 * Invariants between steps:
 *  - a running sequence has n_computed < n_token, and its table covers n_computed
 *  - a waiting or held sequence has no blocks
 *  - refs[b] is the number of tables that hold block b
 *  - running is ordered by rank, then age
 */
#include "engine/scheduler.h"
#include "base/check.h"
#include "base/mem.h"
#include "engine/block_table.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_MIN  8  /* of prefill that a step takes even when decodes fill the budget ... */
#define CHUNK_PART 8  /* ... or this part of the budget, if that is more */
#define LOWER_PART 16 /* of the room for prompts is left to lower ranks */
#define DECODE_PART                                                                                \
    2.0                 /* ... or so many times what those cost who decode and are no more urgent  \
                         */
#define CROWD_MAX   3.0 /* so many wait for a first token for each who decodes: budget.alone */
#define WAIT_LEAST  256 /* tokens that a prompt is taken to have waited: short ones go first */
#define CHUNK_ROUND 8   /* tokens: kernels like whole groups of columns */
#define DRAFT_PART  2   /* of the tokens of a step that are not needed may be guesses */

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

/* ---- birth and death ---- */

uint64_t scheduler_bytes(const struct scheduler_limits *limits, uint32_t n_blocks)
{
    const struct plan *p = NULL;
    uint64_t each_seq = 3 * sizeof(struct sequence *) + sizeof(*p->batch_seq) + sizeof(*p->copy);
    uint64_t each_out = sizeof(*p->row) + sizeof(*p->out_row);
    return (uint64_t)limits->n_seq_max * each_seq + (uint64_t)limits->n_out_max * each_out +
           (uint64_t)limits->n_batch_max * sizeof(*p->token) + fair_queue_bytes() +
           prefix_cache_bytes(n_blocks);
}

int scheduler_init(struct scheduler *s, const struct scheduler_limits *limits, uint32_t n_blocks,
                   struct err *err)
{
    CHECK(limits->n_seq_max >= 1 && limits->n_batch_max > limits->n_seq_max &&
          limits->n_out_max > limits->n_seq_max);
    *s = (struct scheduler){.limits = *limits};
    int rc = prefix_cache_init(&s->cache, n_blocks, err);
    rc = rc != 0 ? rc : fair_queue_init(&s->waiting, err);
    if (rc != 0) {
        scheduler_release(s);
        return rc;
    }
    struct plan *p = &s->plan;
    size_t n_seq = (size_t)limits->n_seq_max;
    s->running = mem_try_array(n_seq, sizeof(struct sequence *));
    s->prefill = mem_try_array(n_seq, sizeof(struct sequence *));
    p->seq = mem_try_array(n_seq, sizeof(struct sequence *));
    p->batch_seq = mem_try_array(n_seq, sizeof(*p->batch_seq));
    p->copy = mem_try_array(n_seq, sizeof(*p->copy));
    p->row = mem_try_array((size_t)limits->n_out_max, sizeof(*p->row));
    p->out_row = mem_try_array((size_t)limits->n_out_max, sizeof(*p->out_row));
    p->token = mem_try_array((size_t)limits->n_batch_max, sizeof(*p->token));
    if (!s->running || !s->prefill || !p->seq || !p->batch_seq || !p->copy || !p->row ||
        !p->out_row || !p->token) {
        scheduler_release(s);
        return err_set(err, ERR_NOMEM, "no memory for the scheduler");
    }
    return 0;
}

void scheduler_release(struct scheduler *s)
{
    prefix_cache_release(&s->cache);
    fair_queue_release(&s->waiting);
    free(s->running);
    free(s->prefill);
    free(s->plan.seq);
    free(s->plan.batch_seq);
    free(s->plan.copy);
    free(s->plan.row);
    free(s->plan.out_row);
    free(s->plan.token);
    *s = (struct scheduler){0};
}

/* ---- the running ones ---- */

static bool is_before(const struct sequence *a, const struct sequence *b)
{
    return a->rank != b->rank ? a->rank < b->rank : sequence_is_older(a, b);
}

static void run_insert(struct scheduler *s, struct sequence *seq)
{
    int at = s->n_running++;
    for (; at > 0 && is_before(seq, s->running[at - 1]); at--)
        s->running[at] = s->running[at - 1];
    s->running[at] = seq;
    seq->state = SEQUENCE_RUNNING;
}

static void run_remove(struct scheduler *s, struct sequence *seq)
{
    int i = 0;
    while (s->running[i] != seq)
        i++;
    memmove(&s->running[i], &s->running[i + 1],
            (size_t)(s->n_running - i - 1) * sizeof(struct sequence *));
    s->n_running--;
}

static void wait(struct scheduler *s, struct sequence *seq)
{
    seq->state = SEQUENCE_WAITING;
    fair_queue_insert(&s->waiting, seq);
}

/* Other copies of this step that begin with what copy i would have written begin with its source.
 */
static void forget_copy(struct scheduler *s, int i)
{
    struct plan *p = &s->plan;
    struct block_pool *pool = &s->cache.pool;
    const struct plan_copy gone = p->copy[i];
    p->n_copy--;
    for (; i < p->n_copy; i++) {
        p->copy[i] = p->copy[i + 1];
        if (p->copy[i].from != gone.to)
            continue;
        p->copy[i].from = gone.from;
        block_pool_ref(pool, gone.from);
        block_pool_unref(pool, gone.to);
    }
    block_pool_unref(pool, gone.from);
}

/* A sequence gives up its blocks, and what is yet to be copied into one of them. */
static void drop_blocks(struct scheduler *s, struct sequence *seq)
{
    for (int i = s->plan.n_copy - 1; i >= 0; i--)
        if (s->plan.copy[i].seq == seq)
            forget_copy(s, i);
    block_table_drop(&s->cache, seq);
}

/* The last running sequence gives up its blocks and waits. */
static struct sequence *preempt(struct scheduler *s)
{
    struct sequence *victim = s->running[s->n_running - 1];
    drop_blocks(s, victim);
    run_remove(s, victim);
    victim->was_preempted = true;
    wait(s, victim);
    s->stats.n_preempted++;
    return victim;
}

/* ---- jobs come and go ---- */

void scheduler_add(struct scheduler *s, struct job *job)
{
    CHECK((uint64_t)job->n_token_max <= (uint64_t)s->cache.pool.n_blocks * KV_BLOCK_LEN);
    job->arrival = ++s->n_arrived;
    for (int i = 0; i < job->n_seq; i++) {
        fair_queue_enter(&s->waiting, &job->seq[i]);
        job->seq[i].state = SEQUENCE_HELD;
        job->seq[i].since = s->n_computed;
    }
    s->n_held += job->n_seq - 1;
    wait(s, &job->seq[0]);
}

/* Lets the held sequences of a job go. */
static void release_held(struct scheduler *s, struct job *job)
{
    for (int i = 1; i < job->n_seq; i++) {
        if (job->seq[i].state == SEQUENCE_HELD) {
            s->n_held--;
            wait(s, &job->seq[i]);
        }
    }
}

void scheduler_remove(struct scheduler *s, struct sequence *seq)
{
    enum sequence_state was = seq->state;
    drop_blocks(s, seq);
    if (was == SEQUENCE_WAITING)
        fair_queue_remove(&s->waiting, seq);
    else if (was == SEQUENCE_RUNNING)
        run_remove(s, seq);
    else if (was == SEQUENCE_HELD)
        s->n_held--;
    fair_queue_leave(&s->waiting, seq);
    seq->state = SEQUENCE_ENDED;
    if (seq->index == 0)
        release_held(s, seq->job);
}

/* ---- what need not be computed ---- */

/* Log probabilities of prompt tokens are wanted from this sequence, and not all are reported. */
static bool wants_scores(const struct sequence *seq)
{
    return seq->job->score_prompt && seq->index == 0 && seq->n_scored < seq->job->n_prompt;
}

/* The positions [from, n_computed) were found. */
static void count_found(struct scheduler *s, struct sequence *seq, int from)
{
    int new = min_int(seq->n_computed, seq->job->n_prompt) - max_int(from, seq->n_reached);
    seq->n_reached = max_int(seq->n_reached, seq->n_computed);
    if (new <= 0)
        return;
    seq->n_cached += new;
    if (seq->index == 0)
        s->stats.n_cached_tokens += (uint64_t) new;
}

/* The running sequence of the same job that has the prompt's tokens [0, n) computed. */
static const struct sequence *sibling_with(const struct sequence *seq, int n)
{
    for (int i = 0; i < seq->job->n_seq; i++)
        if (i != seq->index && seq->job->seq[i].n_computed >= n)
            return &seq->job->seq[i];
    return NULL;
}

/*
 * A block of which this sequence can use the beginning, but which is not its to write into: the
 * prompt's last one, from another choice; or the last block of a text that is cached to its end, of
 * which one token must be computed again. *ret_n: up to where.
 */
static uint32_t find_part(const struct scheduler *s, const struct sequence *seq, int *ret_n)
{
    int n = min_int(seq->job->n_prompt, seq->n_token - 1), full = n / KV_BLOCK_LEN;
    if (seq->n_computed == full * KV_BLOCK_LEN && n > seq->n_computed) {
        const struct sequence *sibling = sibling_with(seq, n);
        if (sibling) {
            *ret_n = n;
            return sibling->block[full];
        }
    }
    *ret_n = seq->n_token - 1;
    bool is_last = seq->n_computed + KV_BLOCK_LEN == seq->n_token;
    return is_last ? block_table_next(&s->cache, seq) : BLOCK_NONE;
}

/* The source is held until it was copied: it may be of one who is preempted before that. */
static void copy_part(struct scheduler *s, struct sequence *seq)
{
    struct plan *p = &s->plan;
    struct block_pool *pool = &s->cache.pool;
    int n, from = seq->n_computed;
    uint32_t block = find_part(s, seq, &n);
    if (block == BLOCK_NONE || p->n_copy == s->limits.n_seq_max)
        return;
    block_pool_ref(pool, block);
    if (block_table_extend(&s->cache, seq, n) < n) {
        block_pool_unref(pool, block);
        return;
    }
    p->copy[p->n_copy++] = (struct plan_copy){seq->block[seq->n_block - 1], block, seq};
    seq->n_computed = n;
    count_found(s, seq, from);
}

/* ---- admission ---- */

/* May the sequence run beside the first n_stay running ones, and if the others gave their blocks
 * back, without taking what those will soon need? */
static bool fits(const struct scheduler *s, const struct sequence *seq, int n_stay)
{
    const struct block_pool *pool = &s->cache.pool;
    int64_t need = blocks_for(seq->n_token + 1) - seq->n_block;
    for (int i = 0; i < n_stay; i++) {
        int n = blocks_for(s->running[i]->n_token + 1) - s->running[i]->n_block;
        need += n > 0 ? n : 0;
    }
    int64_t have = (int64_t)pool->n_free + pool->n_idle;
    for (int i = n_stay; i < s->n_running && have < need; i++)
        for (int b = 0; b < s->running[i]->n_block; b++)
            have += pool->refs[s->running[i]->block[b]] == 1;
    return need <= have;
}

static void start(struct scheduler *s, struct sequence *seq, int rank)
{
    bool uses_cache = !wants_scores(seq);
    if (seq->n_reached == 0 && seq->index == 0) {
        seq->n_match = block_table_match(&s->cache, seq);
        s->stats.n_lookups += uses_cache;
        s->stats.n_hits += uses_cache && seq->n_shared > 0;
    }
    count_found(s, seq, 0);
    if (uses_cache)
        copy_part(s, seq);
    fair_queue_admit(&s->waiting, seq);
    seq->rank = rank;
    seq->was_preempted = false;
    run_insert(s, seq);
}

/* With what the cache has of it, and in the place of running ones of a lower rank if need be. */
static bool try_admit(struct scheduler *s, const struct fair_choice *choice)
{
    struct sequence *seq = choice->seq;
    int n_stay = s->n_running;
    while (n_stay > 0 && s->running[n_stay - 1]->rank > choice->rank)
        n_stay--;
    if (n_stay == s->limits.n_seq_max)
        return false;
    if (!wants_scores(seq))
        block_table_find(&s->cache, seq);
    if (n_stay > 0 && !fits(s, seq, n_stay)) {
        block_table_drop(&s->cache, seq);
        return false;
    }
    while (s->n_running > n_stay &&
           (s->n_running == s->limits.n_seq_max || !fits(s, seq, s->n_running)))
        preempt(s);
    start(s, seq, choice->rank);
    return true;
}

static bool admit_one(struct scheduler *s)
{
    struct fair_choice choice[2];
    int n = fair_queue_choose(&s->waiting, choice);
    for (int i = 0; i < n; i++) {
        if (try_admit(s, &choice[i]))
            return true;
        if (choice[i].is_last_call)
            return false;
    }
    return false;
}

static void admit(struct scheduler *s)
{
    while (s->waiting.n > 0) {
        bool is_full = s->n_running == s->limits.n_seq_max;
        if (is_full && s->running[s->n_running - 1]->rank == 0)
            return;
        if (!admit_one(s))
            return;
    }
}

/* ---- the plan ---- */

static bool is_decoding(const struct sequence *seq)
{
    return seq->n_token - seq->n_computed == 1 && !wants_scores(seq);
}

static void add_row(struct plan *p, struct sequence *seq, int row, int position)
{
    int next = position + 1;
    enum plan_row_kind kind = next < seq->n_token    ? ROW_SCORE
                              : next == seq->n_token ? ROW_NEXT
                                                     : ROW_DRAFT;
    p->out_row[p->batch.n_out] = row;
    p->row[p->batch.n_out++] = (struct plan_row){seq, position, kind};
}

/* Adds the next n tokens of a sequence, and the rows of logits that are wanted of them. */
static void plan_tokens(struct scheduler *s, struct sequence *seq, int n)
{
    struct plan *p = &s->plan;
    int first = p->batch.n_tokens, pos0 = seq->n_computed;
    memcpy(&p->token[first], &seq->token[pos0], (size_t)n * sizeof(*p->token));
    p->seq[p->batch.n_seq] = seq;
    p->batch_seq[p->batch.n_seq++] =
        (struct batch_seq){.block = seq->block, .pos0 = pos0, .n_tokens = n, .i_token = first};
    p->batch.n_tokens += n;
    p->n_attended += (pos0 + 0.5 * n) * n;
    if (wants_scores(seq))
        for (int at = pos0; at < pos0 + n && at < seq->job->n_prompt - 1; at++)
            if (at + 1 >= seq->n_scored)
                add_row(p, seq, first + at - pos0, at);
    for (int at = seq->n_token - 1; at < pos0 + n; at++)
        add_row(p, seq, first + at - pos0, at);
}

/* As many guesses as there are blocks for, without taking one that somebody needs. */
static int draft_room(struct scheduler *s, struct sequence *seq)
{
    const struct block_pool *pool = &s->cache.pool;
    int want = seq->n_token + seq->n_draft, have = seq->n_block * KV_BLOCK_LEN;
    if (want > have && pool->n_free + pool->n_idle > (uint32_t)s->n_running)
        have = block_table_extend(&s->cache, seq, want);
    return min_int(want, have) - seq->n_token;
}

/* In the order of running, so a victim, always the last, is never in the plan already. */
static void plan_decodes(struct scheduler *s)
{
    for (int i = 0; i < s->n_running; i++) {
        struct sequence *seq = s->running[i];
        if (!is_decoding(seq))
            continue;
        while (block_table_extend(&s->cache, seq, seq->n_token) < seq->n_token)
            if (preempt(s) == seq)
                return;
        seq->n_draft = draft_room(s, seq);
        plan_tokens(s, seq, 1 + seq->n_draft);
        s->plan.n_decode += 1 + seq->n_draft;
        s->plan.n_draft += seq->n_draft;
    }
}

/* Asks for guesses. Every running sequence keeps its row of logits, and prompts some room. */
static void draft(struct scheduler *s, const struct step_budget *b)
{
    int n = 0;
    for (int i = 0; i < s->n_running; i++) {
        struct sequence *seq = s->running[i];
        seq->n_draft = seq->n_accepted = 0;
        if (is_decoding(seq))
            s->prefill[n++] = seq;
    }
    int n_max = min_int(s->limits.n_out_max - s->n_running,
                        (s->limits.n_batch_max - s->n_running) / DRAFT_PART);
    if (n < s->n_running)
        n_max /= 2; /* scores want rows of logits, too */
    if (b->draft && n > 0 && n_max > 0)
        b->draft(b->draft_ctx, s->prefill, n, n_max, n < s->n_running);
}

/* What is left for prompts, in the units of step_budget. */
struct room {
    double left, per_position;
    int n_tokens; /* at most so many, too */
    int n_after;  /* sequences with something to compute that were not planned yet */
};

/* How many tokens from a position on cost no more than `cost`; at least one. */
static int tokens_for(double cost, int position, double per_position)
{
    double each = 1 + per_position * position;
    double n = 2 * cost / (each + sqrt(each * each + 2 * per_position * cost));
    return n < 1 ? 1 : n > 1e6 ? 1000000 : (int)n;
}

/* A chunk of a prompt for at most `share` of the room, as rows of logits and blocks allow. */
static void plan_chunk(struct scheduler *s, struct sequence *seq, double share, int most,
                       struct room *room)
{
    int rest = seq->n_token - seq->n_computed;
    int n = min_int(tokens_for(share, seq->n_computed, room->per_position), most);
    if (n < rest && n > CHUNK_ROUND)
        n = n / CHUNK_ROUND * CHUNK_ROUND;
    n = min_int(n, rest);
    /* one row of logits stays for each sequence that comes after */
    if (wants_scores(seq))
        n = min_int(n, s->limits.n_out_max - s->plan.batch.n_out - room->n_after);
    n = block_table_extend(&s->cache, seq, seq->n_computed + n) - seq->n_computed;
    if (n <= 0)
        return;
    double before = s->plan.n_attended;
    plan_tokens(s, seq, n);
    room->left -= n + room->per_position * (s->plan.n_attended - before);
    room->n_tokens -= n;
}

/* Does its next block come from the disk, for this sequence or for another one? */
static bool is_loading(struct scheduler *s, struct sequence *seq)
{
    if (!s->cache.disk)
        return false;
    if (seq->n_loading > 0) {
        int from = seq->n_computed;
        int n = block_table_take_loaded(&s->cache, seq);
        s->stats.n_disk_tokens += (uint64_t)n * KV_BLOCK_LEN;
        seq->n_match = max_int(seq->n_match, min_int(seq->n_computed, seq->job->n_prompt));
        count_found(s, seq, from);
        if (seq->n_loading > 0)
            return true;
        block_table_find(&s->cache, seq);
        count_found(s, seq, from);
    }
    for (int i = 0; i < s->n_running; i++)
        if (s->running[i]->n_loading > 0 && block_table_is_next_of(seq, s->running[i]))
            return true;
    bool begins = block_table_load(&s->cache, seq);
    s->stats.n_disk_hits += begins;
    return begins;
}

/*
 * Does seq have to compute its next block itself? Not if it can be found by now, in memory or on
 * the disk, nor if one of the first n of s->prefill is about to compute it.
 */
static bool must_compute(struct scheduler *s, struct sequence *seq, int n)
{
    if (wants_scores(seq))
        return true;
    if (seq->n_loading == 0) {
        int from = seq->n_computed;
        block_table_find(&s->cache, seq);
        count_found(s, seq, from);
    }
    if (is_loading(s, seq))
        return false;
    for (int i = 0; i < n; i++)
        if (block_table_is_next_of(seq, s->prefill[i]))
            return false;
    return true;
}

/* How long it waits for what it needs; many of one tenant count as one that is as much longer. */
static double urgency_of(const struct scheduler *s, struct sequence *const *all, int n,
                         const struct sequence *seq)
{
    int n_same = 0;
    for (int i = 0; i < n; i++)
        n_same += all[i]->job->tenant == seq->job->tenant;
    double waited = (double)(s->n_computed - seq->since) + WAIT_LEAST;
    return waited / ((double)(seq->n_token - seq->n_computed) * n_same);
}

/* Chunks for the n of one rank, which come by age: sorted by urgency, but half for the oldest. */
static void plan_chunks(struct scheduler *s, struct sequence **seq, int n, struct room *room)
{
    const struct sequence *oldest = n > 0 ? seq[0] : NULL;
    double kept = room->left / 2;
    for (int i = 0; i < n; i++)
        seq[i]->urgency = urgency_of(s, seq, n, seq[i]);
    for (int i = 1; i < n; i++) {
        struct sequence *moved = seq[i];
        int at = i;
        for (; at > 0 && moved->urgency > seq[at - 1]->urgency; at--)
            seq[at] = seq[at - 1];
        seq[at] = moved;
    }
    for (int i = 0; i < n && room->left > 0 && room->n_tokens > 0; i++) {
        room->n_after--;
        if (seq[i] == oldest)
            kept = 0;
        int most = kept > 0 ? room->n_tokens / 2 : room->n_tokens;
        if (room->left > kept && most > 0)
            plan_chunk(s, seq[i], room->left - kept, most, room);
    }
}

static int count_prefills(const struct scheduler *s, int from)
{
    int n = 0;
    for (int i = from; i < s->n_running; i++)
        n += !is_decoding(s->running[i]);
    return n;
}

static void plan_prefills(struct scheduler *s, struct room *room)
{
    int n = 0;
    for (int lo = 0, hi; lo < s->n_running && room->left > 0; lo = hi) {
        int from = n, rank = s->running[lo]->rank;
        for (hi = lo; hi < s->n_running && s->running[hi]->rank == rank; hi++)
            if (!is_decoding(s->running[hi]) && must_compute(s, s->running[hi], n))
                s->prefill[n++] = s->running[hi];
        int n_lower = count_prefills(s, hi);
        double kept = n_lower > 0 ? room->left / LOWER_PART : 0;
        room->left -= kept;
        room->n_after = n - from + n_lower;
        plan_chunks(s, &s->prefill[from], n - from, room);
        room->left = (room->left > 0 ? room->left : 0) + kept;
    }
}

/* See struct step_budget. */
static double budget_for(const struct scheduler *s, const struct step_budget *b)
{
    int n_decode = s->plan.n_decode - s->plan.n_draft;    /* sequences */
    int n_first = s->n_running - n_decode + s->waiting.n; /* who wait for their first token */
    if (n_decode == 0)
        return b->alone;
    double crowd = (n_first - 1) / (CROWD_MAX * (n_decode + 1));
    crowd = crowd < 0 ? 0 : crowd > 1 ? 1 : crowd;
    return b->with_decode + crowd * (b->alone - b->with_decode);
}

/*
 * Tokens of prompts that a step takes even when decodes fill the budget. While prompts wait decodes
 * slow down to a third at the most, whatever they see, and by no more than two steps' time without
 * any; else more and more would wait, since an answer cannot end before its prompt was read. More
 * urgent decodes are not slowed down so.
 */
static double least_for_prompts(const struct scheduler *s, const struct step_budget *b, double all)
{
    double least = all / CHUNK_PART > CHUNK_MIN ? all / CHUNK_PART : CHUNK_MIN;
    int rank = INT_MAX;
    for (int i = 0; i < s->n_running && rank == INT_MAX; i++)
        if (!is_decoding(s->running[i]))
            rank = s->running[i]->rank;
    double decodes = 0; /* what they cost, in the units of step_budget */
    for (int i = 0; i < s->n_running; i++)
        if (is_decoding(s->running[i]) && s->running[i]->rank >= rank)
            decodes += 1 + b->per_position * s->running[i]->n_token;
    double fair = fmin(DECODE_PART * decodes, 2 * b->alone);
    return fair > least ? fair : least;
}

static struct room room_for(const struct scheduler *s, const struct step_budget *b)
{
    const struct plan *p = &s->plan;
    double all = budget_for(s, b);
    double least = least_for_prompts(s, b, all);
    double left = all - p->n_decode - b->per_position * p->n_attended;
    return (struct room){
        .left = left > least ? left : least,
        .per_position = b->per_position,
        .n_tokens = min_int(s->limits.n_batch_max - p->n_decode, b->n_prefill_max),
    };
}

static void look_at_disk(struct scheduler *s)
{
    disk_tier_reap(s->cache.disk, &s->cache.pool);
    if (disk_tier_is_stuck(s->cache.disk))
        for (int i = 0; i < s->n_running; i++)
            block_table_give_up(&s->cache, s->running[i]);
}

bool scheduler_is_loading(const struct scheduler *s)
{
    for (int i = 0; i < s->n_running; i++)
        if (s->running[i]->n_loading > 0)
            return true;
    return s->cache.disk && disk_tier_n_orphans(s->cache.disk) > 0;
}

const struct plan *scheduler_plan(struct scheduler *s, const struct step_budget *budget)
{
    struct plan *p = &s->plan;
    if (s->cache.disk)
        look_at_disk(s);
    admit(s);
    draft(s, budget);
    for (;;) {
        p->batch = (struct batch){.token = p->token, .seq = p->batch_seq, .out_row = p->out_row};
        p->n_decode = p->n_draft = 0;
        p->n_attended = 0;
        plan_decodes(s);
        struct room room = room_for(s, budget);
        plan_prefills(s, &room);
        if (p->batch.n_tokens > 0 || s->n_running == 0 || scheduler_is_loading(s))
            return p;
        preempt(s); /* prefills hold all blocks, and none can go on */
    }
}

void scheduler_commit(struct scheduler *s)
{
    struct plan *p = &s->plan;
    while (p->n_copy > 0)
        block_pool_unref(&s->cache.pool, p->copy[--p->n_copy].from);
    for (int i = 0; i < p->batch.n_seq; i++) {
        struct sequence *seq = p->seq[i];
        seq->n_computed += p->batch_seq[i].n_tokens - seq->n_draft + seq->n_accepted;
        seq->n_token += seq->n_accepted;
        s->n_computed += (uint64_t)p->batch_seq[i].n_tokens;
        seq->n_reached = max_int(seq->n_reached, seq->n_computed);
        block_table_publish(&s->cache, seq);
        fair_queue_charge(&s->waiting, seq);
        if (seq->index == 0 && s->n_held > 0 && seq->n_computed >= seq->job->n_prompt)
            release_held(s, seq->job);
    }
}
