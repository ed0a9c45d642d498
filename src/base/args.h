/*
 * args: one table of options per command drives its flags, its environment variables, its keys in
 * the configuration file and its --help text.
 *
 * An option "port" of the command "serve" is set, strongest first, by
 *     --port 80, --port=80, -p 80 (when it has a letter)
 *     HEARTH_PORT=80 (an empty variable counts as unset)
 *     port = 80 in the section [serve], or before any section, of ~/.config/hearth/hearth.conf
 *     the same in /etc/hearth/hearth.conf
 * and else keeps what *ret held before. HEARTH_CONFIG names another file, read instead of both.
 * Each value is checked against its kind and range wherever it came from; the error names the
 * place.
 *
 *     int port = 11434;
 *     const struct arg_option option[] = {
 *         {"port", 'p', ARG_INT, "N", "port to listen on", &port, 0, 65535},
 *     };
 *     const struct args_spec spec = {
 *         .command = "serve", .usage = "[MODEL]", .summary = "Serve models over HTTP",
 *         .option = option, .n_option = ARRAY_LEN(option), .n_word_max = 1,
 *     };
 *     struct args args;
 *     int code;
 *     if (!args_take(&spec, argc, argv, &args, &code))
 *         return code;
 *     ... args.word[0 .. n_word) ...
 *     args_release(&args);
 *
 * Words and values borrow from argv, the environment and struct args: keep args until the end.
 * Not thread-safe (reads the environment).
 */
#ifndef HEARTH_BASE_ARGS_H
#define HEARTH_BASE_ARGS_H

#include "base/err.h"
#include "base/str.h"

#include <stdio.h>

enum arg_kind {
    ARG_BOOL,  /* bool: --x, --no-x, --x=yes|no|true|false|on|off|1|0 */
    ARG_INT,   /* int */
    ARG_I64,   /* int64_t */
    ARG_BYTES, /* int64_t: 512, 64k, 300m, 4g, 1t, also 4gb and 4gib; powers of 1024 */
    ARG_MS,    /* int, milliseconds: 250ms, 30s, 5m, 1h; a bare number is seconds */
    ARG_F64,   /* double, finite */
    ARG_STR,   /* const char *: not empty, unless may_be_empty */
    ARG_WORD,  /* int: which word of `value`, "auto|full|fast", counted from 0 */
};

struct arg_option {
    const char *name; /* "header-timeout"; HEARTH_HEADER_TIMEOUT; header-timeout = in the file */
    char letter;      /* 'p' for -p, or 0 */
    enum arg_kind kind;
    const char *value; /* how --help calls the value: "N", "SIZE"; NULL for ARG_BOOL */
    const char *help;  /* one line, no full stop */
    void *ret;         /* where the value goes; type as in enum arg_kind */
    int64_t min, max;  /* of numbers, inclusive; both 0 means the type's own range, from 0 up */
    bool may_be_empty; /* a text: empty says that there is none, whatever the file says */
    bool flag_only;    /* not in the environment or the file (what is asked of this one call) */
};

struct args_spec {
    const char *command; /* also the section in the file */
    const char *usage;   /* the words after the options: "MODEL [PROMPT]"; may be "" */
    const char *summary; /* one line, no full stop */
    const char *details; /* more lines for --help, or NULL */
    const struct arg_option *option;
    int n_option;
    int n_word_min, n_word_max; /* words that are not options; n_word_max < 0: any number */
};

struct args {
    char **word; /* [n_word], borrowed from argv */
    int n_word;
    bool help; /* --help or -h was given; nothing else was checked */
    char **owned;
    size_t n_owned, cap_owned;
};

/* argv[0] is the command's name. ERR_INVALID: wrong use, with the text for it. */
int args_parse(const struct args_spec *spec, int argc, char **argv, struct args *ret,
               struct err *err) __attribute__((warn_unused_result));
void args_release(struct args *a);
void args_help(const struct args_spec *spec, FILE *out);
/*
 * args_parse at the edge of a command: true means go on. False: the command returns *ret_code, for
 * help was printed (0) or the wrong use was reported on standard error (2); nothing to release.
 */
bool args_take(const struct args_spec *spec, int argc, char **argv, struct args *ret, int *ret_code)
    __attribute__((warn_unused_result));

/* One value alone, as the table would read it. ERR_INVALID says what is wrong with it. */
int args_value(const struct arg_option *option, struct str text, struct err *err);
/* The name nearest to a mistyped word, or NULL when none is near. */
const char *args_nearest(const char *word, const char *const *name, int n_name);

#endif
