/*
 * create_files: what `hearth create` does with a model's files before the library has them: whether
 * a template works with them, and another type made of them.
 */
#ifndef HEARTH_CLI_CREATE_FILES_H
#define HEARTH_CLI_CREATE_FILES_H

#include "base/err.h"
#include "cli/progress.h"
#include "store/digest.h"

#include <signal.h>

/* path: [n] the model's parts, in order. ERR_INVALID says where the template does not work. */
int create_check_template(const char *const *path, int n, const char *template_text,
                          struct err *err) __attribute__((warn_unused_result));
/* A blob in `dir` of the type ("Q4_K_M"). ERR_CANCELLED once *stop is set; nothing is left then. */
int create_quantize(const char *dir, const char *const *path, int n, const char *type,
                    const volatile sig_atomic_t *stop, struct progress *progress,
                    char ret_digest[DIGEST_TEXT_LEN + 1], struct err *err)
    __attribute__((warn_unused_result));

#endif
