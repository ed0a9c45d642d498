/*
 * session: one conversation with a model through a server: the messages, the parameters, and the
 * statistics of the last answer. Prints answers as they come; knows no line editing.
 */
#ifndef HEARTH_CLI_SESSION_H
#define HEARTH_CLI_SESSION_H

#include "base/buf.h"
#include "base/err.h"
#include "cli/client.h"

#include <jansson.h>
#include <stdio.h>

struct session {
    struct client client;
    const char *model;
    json_t *messages; /* without the system message */
    json_t *params;   /* {"temperature": 0.5, ...} as the request has them */
    char *system;     /* or NULL */
    const volatile sig_atomic_t *stop;
    bool terminal; /* the answer goes to a terminal: control characters are left out */

    /* the answer on its way, then the last one */
    struct buf answer;
    char finish[32];
    int64_t sent_ms, first_ms, last_ms;
    int64_t n_prompt, n_cached, n_answer; /* tokens; -1: the server did not say */
};

void session_init(struct session *s, const char *model);
void session_release(struct session *s);
void session_clear(struct session *s);
void session_set_system(struct session *s, const char *text); /* NULL or "": none */

/*
 * value NULL: back to the server's default. ERR_INVALID names what is wrong; ranges are the
 * server's business.
 */
int session_set(struct session *s, struct str name, const struct str *value, struct err *err)
    __attribute__((warn_unused_result));
/* The names that session_set knows, for help: "temperature", ...; NULL-terminated. */
const char *const *session_param_names(void);

/*
 * Asks and prints the answer to standard output. The question and what was answered stay in the
 * conversation, also when the answer was interrupted (ERR_CANCELLED); after any other error the
 * question is taken back.
 */
int session_ask(struct session *s, struct str question, struct err *err)
    __attribute__((warn_unused_result));
void session_print_stats(const struct session *s, FILE *out);

#endif
