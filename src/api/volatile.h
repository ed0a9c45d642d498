/*
 * volatile: what coding agents put into their prompts that differs in every request and means
 * nothing to a model, taken out before the template is applied: else no prefix is found again.
 *
 * Two things, each with evidence (docs/prefix-cache.md), in texts of the role system alone:
 * - at the head of the first system text: a line `x-anthropic-billing-header: ...cch=<hex>;...`;
 * - anywhere in a system text: `<total_tokens>N tokens left</total_tokens>`. A system message that
 *   is nothing else is left out.
 * Nothing else is touched: dates and what a person wrote may matter.
 */
#ifndef HEARTH_API_VOLATILE_H
#define HEARTH_API_VOLATILE_H

#include "base/err.h"
#include "base/json.h"

struct api_volatile {
    int64_t n_billing, n_budget; /* that were taken out */
};

/* messages: as templates take them (struct api_request); changed in place. Adds to *ret. */
int api_volatile_remove(json_t *messages, struct api_volatile *ret, struct err *err)
    __attribute__((warn_unused_result));

#endif
