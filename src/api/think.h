/*
 * think: the many names of one question, whether and how long a model thinks before it answers,
 * into gen.think, gen.think_max and the template's variable reasoning_effort.
 *
 * All have the form of api_field.take; `into` is a struct api_request.
 */
#ifndef HEARTH_API_THINK_H
#define HEARTH_API_THINK_H

#include "api/request.h"

/* "none" (no thinking), "minimal", "low", "medium", "high", "xhigh", "max" (OpenAI). Templates know
 * low, medium and high: what is beyond them becomes the nearest. */
int api_take_effort(const char *name, const json_t *value, void *into, struct err *err);
/* true, false, or an effort (Ollama's `think`, `enable_thinking`, `include_reasoning`). */
int api_take_think(const char *name, const json_t *value, void *into, struct err *err);
/* Tokens of thinking at most; -1: as many as it likes; 0: none. */
int api_take_think_max(const char *name, const json_t *value, void *into, struct err *err);
/* {"type": "enabled" | "adaptive" | "disabled" | "auto", "budget_tokens"?}: Anthropic's, and what
 * others took over from it. */
int api_take_thinking(const char *name, const json_t *value, void *into, struct err *err);
/* {"effort"?, "max_tokens"?, "enabled"?, "exclude"?: false, "summary"?}: OpenRouter's. */
int api_take_reasoning(const char *name, const json_t *value, void *into, struct err *err);

#endif
