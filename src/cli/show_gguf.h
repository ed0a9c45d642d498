/*
 * show_gguf: prints what is inside a GGUF file, for people or as JSON.
 *
 * Texts come from a file that anybody may have written: control characters never reach the
 * terminal, and bytes that are not UTF-8 are replaced.
 */
#ifndef HEARTH_CLI_SHOW_GGUF_H
#define HEARTH_CLI_SHOW_GGUF_H

#include "format/gguf.h"

#include <stdio.h>

/* The model in a dozen lines: architecture, sizes, tokenizer, whether this program can run it. */
void show_gguf_summary(const struct gguf *g, FILE *out);
/* A line per key, type and value; long values are cut. */
void show_gguf_metadata(const struct gguf *g, FILE *out);
/* A line per tensor: name, type, shape, bytes. */
void show_gguf_tensors(const struct gguf *g, FILE *out);
/* One object: version, parts, bytes, metadata, tensors. Arrays: type, length, first elements. */
void show_gguf_json(const struct gguf *g, FILE *out);
/* s with '?' for everything that could steer a terminal or is no UTF-8; lines and tabs stay. */
void show_text(struct str s, FILE *out);

#endif
