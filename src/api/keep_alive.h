/*
 * keep_alive: how long a model stays in memory after its last request, as Ollama's clients say it:
 * a number of seconds, or a duration like "5m" or "1h30m"; 0: it goes when idle; negative: it
 * stays. Source: ollama/ollama api/types.go (Duration) and Go's time.ParseDuration.
 */
#ifndef HEARTH_API_KEEP_ALIVE_H
#define HEARTH_API_KEEP_ALIVE_H

#include "base/err.h"
#include "base/json.h"

#define KEEP_ALIVE_FOREVER (-1)

/* Milliseconds, or KEEP_ALIVE_FOREVER. A number without a unit is in seconds. */
bool keep_alive_text(struct str text, int64_t *ret_ms);
/* ERR_INVALID with err->param = name. */
int keep_alive_json(const char *name, const json_t *value, int64_t *ret_ms, struct err *err)
    __attribute__((warn_unused_result));

#endif
