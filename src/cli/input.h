/*
 * input: standard input, whole, for the commands that read one.
 */
#ifndef HEARTH_CLI_INPUT_H
#define HEARTH_CLI_INPUT_H

#include "base/buf.h"
#include "base/err.h"

#include <signal.h>

/* Appends all of it. stop: NULL, or a signal ends the reading once it is not 0. ERR_TOO_LARGE past
 * out->max, ERR_CANCELLED, ERR_IO. */
int input_read(struct buf *out, const volatile sig_atomic_t *stop, struct err *err)
    __attribute__((warn_unused_result));

#endif
