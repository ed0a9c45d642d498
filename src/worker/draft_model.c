/*
 * draft_model: see the header.
 */
#include "worker/draft_model.h"

#define MORE_PART 100 /* of all tokens, one may be without its like */
#define SHOWN     32  /* bytes of a token's text in an error */

static int refuse_token(size_t id, struct str ours, struct str draft, struct err *err)
{
    ours = str_sub(ours, 0, ours.len < SHOWN ? ours.len : SHOWN);
    draft = str_sub(draft, 0, draft.len < SHOWN ? draft.len : SHOWN);
    return err_set_param(err, ERR_INVALID, "draft-model",
                         "the draft model has another vocabulary: token %zu is '%.*s' in it and "
                         "'%.*s' in the model; take a smaller model of the same family",
                         id, STR_ARG(draft), STR_ARG(ours));
}

static int compare(const struct tokenizer *t, const struct tokenizer *draft, struct err *err)
{
    size_t n = tokenizer_n_vocab(t), n_draft = tokenizer_n_vocab(draft);
    size_t n_both = n < n_draft ? n : n_draft, n_more = n + n_draft - 2 * n_both;
    if (n_more > n_both / MORE_PART)
        return err_set_param(err, ERR_INVALID, "draft-model",
                             "the draft model has another vocabulary: %zu tokens, and the model "
                             "has %zu; take a smaller model of the same family",
                             n_draft, n);
    for (size_t i = 0; i < n_both; i++) {
        struct str ours = tokenizer_token_text(t, (token_id)i);
        struct str theirs = tokenizer_token_text(draft, (token_id)i);
        if (!str_eq(ours, theirs))
            return refuse_token(i, ours, theirs, err);
    }
    return 0;
}

int draft_model_check(const struct tokenizer *t, const struct gguf *draft, struct err *err)
{
    struct tokenizer *theirs;
    int rc = tokenizer_new(draft, &theirs, err);
    if (rc != 0)
        return err_wrap(err, "the draft model");
    rc = compare(t, theirs, err);
    tokenizer_free(theirs);
    return rc;
}
