/*
 * err: see err.h; CHECK's last words are here too.
 */
#include "base/err.h"

#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct err_name {
    int code;
    const char *word;
};

static const struct err_name err_names[] = {
#define X(name, value, word) {name, word},
    ERR_CODES(X)
#undef X
};

const char *err_word(int code)
{
    if (code == ERR_OK)
        return "ok";
    for (size_t i = 0; i < sizeof(err_names) / sizeof(err_names[0]); i++)
        if (err_names[i].code == code)
            return err_names[i].word;
    return "internal";
}

int err_code_of_word(const char *word)
{
    for (size_t i = 0; i < sizeof(err_names) / sizeof(err_names[0]); i++)
        if (strcmp(err_names[i].word, word) == 0)
            return err_names[i].code;
    return ERR_INTERNAL;
}

void err_clear(struct err *err)
{
    if (err) {
        err->code = ERR_OK;
        err->param[0] = err->text[0] = 0;
    }
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        err->code = code;
        err->param[0] = 0;
        vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
    }
    return code;
}

int err_set_param(struct err *err, int code, const char *param, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        err->code = code;
        snprintf(err->param, sizeof(err->param), "%s", param);
        vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
    }
    return code;
}

int err_set_errno(struct err *err, int errnum, const char *fmt, ...)
{
    if (err) {
        char reason[128];
        va_list ap;
        va_start(ap, fmt);
        err->code = ERR_IO;
        err->param[0] = 0;
        vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
        size_t n = strlen(err->text);
        snprintf(err->text + n, sizeof(err->text) - n, ": %s",
                 strerror_r(errnum, reason, sizeof(reason)));
    }
    return ERR_IO;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
    if (!err)
        return ERR_INTERNAL;
    char inner[sizeof(err->text)];
    memcpy(inner, err->text, sizeof(inner));
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    size_t n = strlen(err->text);
    size_t left = sizeof(err->text) - n;
    if (snprintf(err->text + n, left, ": %s", inner) >= (int)left)
        err->text[sizeof(err->text) - 1] = 0; /* cut, not lost: the context stands first */
    return err->code;
}

void check_failed(const char *cond, const char *file, int line)
{
    fprintf(stderr, "hearth: internal error: %s does not hold (%s:%d)\n", cond, file, line);
    abort();
}
