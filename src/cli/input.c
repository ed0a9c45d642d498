/*
 * input: see input.h.
 */
#include "cli/input.h"

#include <errno.h>
#include <unistd.h>

#define PIECE_BYTES 65536

int input_read(struct buf *out, const volatile sig_atomic_t *stop, struct err *err)
{
    char piece[PIECE_BYTES];
    for (;;) {
        ssize_t n = read(STDIN_FILENO, piece, sizeof(piece));
        if (n < 0 && errno == EINTR && (stop == NULL || *stop == 0))
            continue;
        if (n < 0 && errno == EINTR)
            return err_set(err, ERR_CANCELLED, "interrupted");
        if (n < 0)
            return err_set_errno(err, errno, "cannot read standard input");
        if (n == 0)
            return 0;
        if (!buf_add(out, piece, (size_t)n))
            return err_set(err, ERR_TOO_LARGE, "more than %zu MiB on standard input",
                           out->max >> 20);
    }
}
