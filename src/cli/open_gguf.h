/*
 * open_gguf: what a person calls a model, opened as a GGUF, for the commands that look into the
 * user's own files.
 */
#ifndef HEARTH_CLI_OPEN_GGUF_H
#define HEARTH_CLI_OPEN_GGUF_H

#include "format/gguf.h"
#include "store/store.h"

/*
 * name: a path (of a split model: its first part), or a name in the library. ret_found, if not
 * NULL, gets what the library knows (of a plain file: its name and path only); release it.
 */
int cli_gguf_open(const char *name, struct gguf **ret, struct store_model *ret_found,
                  struct err *err) __attribute__((warn_unused_result));

#endif
