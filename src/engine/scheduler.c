/*
 * scheduler: see the header.
 *
 * Invariants between steps:
 *  - a running or waiting sequence has n_computed < n_token, and its table covers n_computed
 *  - only the last block of a table may be partly filled; shared blocks are full
 *  - refs[b] is the number of tables that hold block b
 *  - running and waiting are ordered by age; a held sequence has no blocks
 */
#include "engine/scheduler.h"
#include "base/check.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_MIN 16 /* tokens of prefill that a step takes even when decodes fill the budget */

static int blocks_for(int n_token)
{
    return (n_token + KV_BLOCK_LEN - 1) / KV_BLOCK_LEN;
}

static bool is_older(const struct sequence *a, const struct sequence *b)
{
    if (a->job->arrival != b->job->arrival)
        return a->job->arrival < b->job->arrival;
    return a->index < b->index;
}

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

/* ---- birth and death ---- */

int scheduler_init(struct scheduler *s, const struct scheduler_limits *limits, uint32_t n_blocks,
                   struct err *err)
{
    CHECK(limits->n_seq_max >= 1 && limits->n_batch_max > limits->n_seq_max &&
          limits->n_out_max > limits->n_seq_max);
    *s = (struct scheduler){.limits = *limits};
    int rc = block_pool_init(&s->pool, n_blocks, err);
    if (rc != 0)
        return rc;
    struct plan *p = &s->plan;
    s->running = mem_try_array((size_t)limits->n_seq_max, sizeof(struct sequence *));
    p->seq = mem_try_array((size_t)limits->n_seq_max, sizeof(struct sequence *));
    p->batch_seq = mem_try_array((size_t)limits->n_seq_max, sizeof(*p->batch_seq));
    p->row = mem_try_array((size_t)limits->n_out_max, sizeof(*p->row));
    p->out_row = mem_try_array((size_t)limits->n_out_max, sizeof(*p->out_row));
    p->token = mem_try_array((size_t)limits->n_batch_max, sizeof(*p->token));
    if (!s->running || !p->seq || !p->batch_seq || !p->row || !p->out_row || !p->token) {
        scheduler_release(s);
        return err_set(err, ERR_NOMEM, "no memory for the scheduler");
    }
    return 0;
}

void scheduler_release(struct scheduler *s)
{
    block_pool_release(&s->pool);
    free(s->running);
    free(s->plan.seq);
    free(s->plan.batch_seq);
    free(s->plan.row);
    free(s->plan.out_row);
    free(s->plan.token);
    *s = (struct scheduler){0};
}

/* ---- the waiting queue ---- */

static void wait_insert(struct scheduler *s, struct sequence *seq)
{
    struct sequence *before = s->waiting_tail;
    while (before && is_older(seq, before))
        before = before->prev;
    seq->prev = before;
    seq->next = before ? before->next : s->waiting_head;
    *(seq->prev ? &seq->prev->next : &s->waiting_head) = seq;
    *(seq->next ? &seq->next->prev : &s->waiting_tail) = seq;
    seq->state = SEQUENCE_WAITING;
    s->n_waiting++;
}

static void wait_remove(struct scheduler *s, struct sequence *seq)
{
    *(seq->prev ? &seq->prev->next : &s->waiting_head) = seq->next;
    *(seq->next ? &seq->next->prev : &s->waiting_tail) = seq->prev;
    seq->prev = seq->next = NULL;
    s->n_waiting--;
}

/* ---- blocks ---- */

static void blocks_drop(struct scheduler *s, struct sequence *seq)
{
    for (int i = 0; i < seq->n_block; i++)
        block_pool_unref(&s->pool, seq->block[i]);
    seq->n_block = 0;
    seq->n_computed = 0;
}

/* Takes back the blocks that the youngest waiting sequence holds; false when none holds any. */
static bool reclaim(struct scheduler *s)
{
    for (struct sequence *seq = s->waiting_tail; seq; seq = seq->prev) {
        if (seq->n_block > 0) {
            blocks_drop(s, seq);
            return true;
        }
    }
    return false;
}

/* Blocks for positions [0, n_token), from what is free or can be reclaimed; how many it got. */
static int blocks_extend(struct scheduler *s, struct sequence *seq, int n_token)
{
    while (seq->n_block < blocks_for(n_token)) {
        if (block_pool_take(&s->pool, &seq->block[seq->n_block]))
            seq->n_block++;
        else if (!reclaim(s))
            break;
    }
    return min_int(n_token, seq->n_block * KV_BLOCK_LEN);
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

/* The youngest running sequence gives up its blocks and waits. */
static struct sequence *preempt(struct scheduler *s)
{
    struct sequence *victim = s->running[s->n_running - 1];
    blocks_drop(s, victim);
    run_remove(s, victim);
    wait_insert(s, victim);
    s->n_preempted++;
    return victim;
}

/* ---- jobs come and go ---- */

void scheduler_add(struct scheduler *s, struct job *job)
{
    CHECK((uint64_t)job->n_token_max <= (uint64_t)s->pool.n_blocks * KV_BLOCK_LEN);
    job->arrival = ++s->n_arrived;
    wait_insert(s, &job->seq[0]);
    for (int i = 1; i < job->n_seq; i++) {
        job->seq[i].state = SEQUENCE_HELD;
        s->n_held++;
    }
}

/* Lets the held sequences of a job go. leader: whose prompt blocks they share, or NULL. */
static void release_held(struct scheduler *s, struct job *job, const struct sequence *leader)
{
    int n_share = leader ? (job->n_prompt - 1) / KV_BLOCK_LEN : 0;
    for (int i = 1; i < job->n_seq; i++) {
        struct sequence *seq = &job->seq[i];
        if (seq->state != SEQUENCE_HELD)
            continue;
        for (int b = 0; b < n_share; b++) {
            seq->block[b] = leader->block[b];
            block_pool_ref(&s->pool, seq->block[b]);
        }
        seq->n_block = n_share;
        seq->n_computed = n_share * KV_BLOCK_LEN;
        s->n_held--;
        wait_insert(s, seq);
    }
}

void scheduler_remove(struct scheduler *s, struct sequence *seq)
{
    enum sequence_state was = seq->state;
    blocks_drop(s, seq);
    if (was == SEQUENCE_WAITING)
        wait_remove(s, seq);
    else if (was == SEQUENCE_RUNNING)
        run_remove(s, seq);
    else if (was == SEQUENCE_HELD)
        s->n_held--;
    seq->state = SEQUENCE_ENDED;
    if (seq->index == 0)
        release_held(s, seq->job, NULL);
}

/* ---- admission ---- */

/* May the sequence run beside the others without taking what they will soon need? */
static bool fits(const struct scheduler *s, const struct sequence *seq)
{
    int64_t need = blocks_for(seq->n_token + 1) - seq->n_block;
    for (int i = 0; i < s->n_running; i++) {
        int n = blocks_for(s->running[i]->n_token + 1) - s->running[i]->n_block;
        need += n > 0 ? n : 0;
    }
    int64_t have = s->pool.n_free;
    for (const struct sequence *w = seq->next; w && have < need; w = w->next)
        for (int b = 0; b < w->n_block; b++)
            have += s->pool.refs[w->block[b]] == 1;
    return need <= have;
}

static void admit(struct scheduler *s)
{
    while (s->waiting_head && s->n_running < s->limits.n_seq_max) {
        struct sequence *seq = s->waiting_head;
        if (s->n_running > 0 && !fits(s, seq))
            return;
        wait_remove(s, seq);
        int at = s->n_running++;
        for (; at > 0 && is_older(seq, s->running[at - 1]); at--)
            s->running[at] = s->running[at - 1];
        s->running[at] = seq;
        seq->state = SEQUENCE_RUNNING;
    }
}

/* ---- the plan ---- */

/* Log probabilities of prompt tokens are wanted from this sequence, and not all are reported. */
static bool wants_scores(const struct sequence *seq)
{
    return seq->job->score_prompt && seq->index == 0 && seq->n_scored < seq->job->n_prompt;
}

static bool is_decoding(const struct sequence *seq)
{
    return seq->n_token - seq->n_computed == 1 && !wants_scores(seq);
}

static void add_row(struct plan *p, struct sequence *seq, int row, int position)
{
    p->out_row[p->batch.n_out] = row;
    p->row[p->batch.n_out++] = (struct plan_row){seq, position};
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
    if (wants_scores(seq))
        for (int at = pos0; at < pos0 + n && at < seq->job->n_prompt - 1; at++)
            if (at + 1 >= seq->n_scored)
                add_row(p, seq, first + at - pos0, at);
    if (pos0 + n == seq->n_token)
        add_row(p, seq, first + n - 1, pos0 + n - 1);
}

/* Oldest first, so a victim, always the youngest, is never in the plan already. */
static void plan_decodes(struct scheduler *s)
{
    for (int i = 0; i < s->n_running; i++) {
        struct sequence *seq = s->running[i];
        if (!is_decoding(seq))
            continue;
        while (blocks_extend(s, seq, seq->n_token) < seq->n_token)
            if (preempt(s) == seq)
                return;
        plan_tokens(s, seq, 1);
        s->plan.n_decode++;
    }
}

/* How much of `room` tokens the sequence can use: its need, rows of logits, blocks. */
static int chunk_of(struct scheduler *s, struct sequence *seq, int room, int rows)
{
    int n = min_int(seq->n_token - seq->n_computed, room);
    if (wants_scores(seq))
        n = min_int(n, rows);
    return blocks_extend(s, seq, seq->n_computed + n) - seq->n_computed;
}

/* Each prefilling sequence gets an equal share of the room; what one leaves goes to the next. */
static void plan_prefills(struct scheduler *s, int room)
{
    int left = s->n_running - s->plan.n_decode;
    int turn = s->turn++;
    for (int k = 0; k < s->n_running && room > 0; k++) {
        struct sequence *seq = s->running[(turn + k) % s->n_running];
        if (is_decoding(seq))
            continue;
        int share = left > 1 ? (room + left - 1) / left : room;
        /* one row of logits stays for each sequence that comes after */
        int rows = s->limits.n_out_max - s->plan.batch.n_out - (left - 1);
        left--;
        int n = chunk_of(s, seq, share, rows);
        if (n <= 0)
            continue;
        plan_tokens(s, seq, n);
        room -= n;
    }
    s->turn %= 1 << 20;
}

const struct plan *scheduler_plan(struct scheduler *s, int budget)
{
    struct plan *p = &s->plan;
    admit(s);
    for (;;) {
        p->batch = (struct batch){.token = p->token, .seq = p->batch_seq, .out_row = p->out_row};
        p->n_decode = 0;
        plan_decodes(s);
        int room = min_int(budget, s->limits.n_batch_max) - p->n_decode;
        room = room < CHUNK_MIN ? CHUNK_MIN : room;
        plan_prefills(s, min_int(room, s->limits.n_batch_max - p->n_decode));
        if (p->batch.n_tokens > 0 || s->n_running == 0)
            return p;
        preempt(s); /* prefills hold all blocks, and none can go on */
    }
}

void scheduler_commit(struct scheduler *s)
{
    struct plan *p = &s->plan;
    for (int i = 0; i < p->batch.n_seq; i++) {
        struct sequence *seq = p->seq[i];
        seq->n_computed += p->batch_seq[i].n_tokens;
        if (seq->index == 0 && s->n_held > 0 && seq->n_computed >= seq->job->n_prompt)
            release_held(s, seq->job, seq);
    }
}
