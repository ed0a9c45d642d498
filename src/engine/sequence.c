/*
 * sequence: birth and death of jobs. What happens in between is the scheduler's.
 */
#include "engine/sequence.h"
#include "base/check.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static size_t blocks_for(int n_token)
{
    return ((size_t)n_token + KV_BLOCK_LEN - 1) / KV_BLOCK_LEN;
}

uint64_t job_bytes(int n_token_max, int n_seq)
{
    uint64_t each = sizeof(struct sequence) + (uint64_t)n_token_max * sizeof(int32_t) +
                    blocks_for(n_token_max) * sizeof(uint32_t);
    return sizeof(struct job) + (uint64_t)n_seq * each;
}

uint64_t job_draft_bytes(int n_token_max, int n_seq, int n_prediction)
{
    return (uint64_t)n_seq * draft_bytes(n_token_max, n_prediction) +
           (n_prediction > 0 ? prediction_bytes(n_prediction) : 0);
}

uint64_t job_draft_model_bytes(int n_token_max, int n_seq)
{
    return (uint64_t)n_seq * blocks_for(n_token_max + DRAFT_MAX) * sizeof(uint32_t);
}

int job_new(const int32_t *prompt, int n_prompt, int n_token_max, int n_seq, struct job **ret,
            struct err *err)
{
    CHECK(n_prompt >= 1 && n_prompt < n_token_max && n_seq >= 1);
    struct job *job = calloc(1, sizeof(*job) + (size_t)n_seq * sizeof(struct sequence));
    if (!job)
        return err_set(err, ERR_NOMEM, "no memory for a request");
    job->n_prompt = n_prompt;
    job->n_token_max = n_token_max;
    job->n_seq = n_seq;
    job->n_top = -1;
    for (int i = 0; i < n_seq; i++) {
        struct sequence *seq = &job->seq[i];
        seq->job = job;
        seq->index = i;
        seq->token = mem_try_array((size_t)n_token_max, sizeof(*seq->token));
        seq->block = mem_try_array(blocks_for(n_token_max), sizeof(*seq->block));
        if (!seq->token || !seq->block) {
            job_free(job);
            return err_set(err, ERR_NOMEM, "no memory for %d tokens in %d choices", n_token_max,
                           n_seq);
        }
        memcpy(seq->token, prompt, (size_t)n_prompt * sizeof(*prompt));
        seq->n_token = n_prompt;
        seq->n_scored = 1;
    }
    *ret = job;
    return 0;
}

int job_draft(struct job *job, const int32_t *prediction, int n_prediction, struct err *err)
{
    int rc = 0;
    if (n_prediction > 0)
        rc = prediction_new(prediction, n_prediction, &job->prediction, err);
    for (int i = 0; i < job->n_seq && rc == 0; i++) {
        struct sequence *seq = &job->seq[i];
        rc = draft_new(job->n_token_max, job->n_prompt, job->prediction, &seq->draft, err);
        if (rc == 0)
            draft_see(seq->draft, seq->token, seq->n_token);
    }
    return rc;
}

int job_draft_model(struct job *job, struct err *err)
{
    for (int i = 0; i < job->n_seq; i++) {
        struct shadow *w = &job->seq[i].shadow;
        w->block = mem_try_array(blocks_for(job->n_token_max + DRAFT_MAX), sizeof(*w->block));
        if (!w->block)
            return err_set(err, ERR_NOMEM, "no memory for a draft model's blocks");
    }
    return 0;
}

int job_guide(struct job *job, struct grammar *grammar, const struct vocabulary *v, struct err *err)
{
    int rc = 0;
    for (int i = 0; i < job->n_seq && rc == 0; i++)
        rc = guide_new(grammar, v, job->n_prompt, &job->seq[i].guide, err);
    return rc;
}

void job_force(struct job *job, int i_seq, const int32_t *token, int n)
{
    CHECK(i_seq >= 0 && i_seq < job->n_seq && n >= 0);
    struct sequence *seq = &job->seq[i_seq];
    CHECK(n < job->n_token_max - seq->n_token);
    if (n > 0)
        memcpy(seq->token + seq->n_token, token, (size_t)n * sizeof(*token));
    seq->n_token += n;
}

void job_free(struct job *job)
{
    if (!job)
        return;
    for (int i = 0; i < job->n_seq; i++) {
        free(job->seq[i].token);
        free(job->seq[i].block);
        draft_free(job->seq[i].draft);
        guide_free(job->seq[i].guide);
        free(job->seq[i].shadow.block);
    }
    prediction_free(job->prediction);
    think_budget_free(job->thinks);
    free(job);
}
