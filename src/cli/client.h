/*
 * client: talks to a running server over HTTP, for run, ps and stop; and starts a private server
 * where none runs.
 *
 * The options --host, --port and --api-key (HEARTH_HOST, ...) mean what they mean to `serve`.
 */
#ifndef HEARTH_CLI_CLIENT_H
#define HEARTH_CLI_CLIENT_H

#include "base/err.h"

#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

struct client {
    const char *host;
    int port;
    const char *api_key; /* or NULL */
};

void client_init(struct client *c);
/* Does a server answer there? */
bool client_alive(const struct client *c);
/*
 * body NULL: GET, else POST. *ret is the answer's JSON (NULL when it has none). An answer that is
 * no success is an error with the server's own text.
 */
int client_json(const struct client *c, const char *path, const json_t *body, json_t **ret,
                struct err *err) __attribute__((warn_unused_result));

struct client_stream {
    void (*event)(void *arg, const json_t *value); /* each "data:" of the event stream */
    void *arg;
    const volatile sig_atomic_t *stop; /* non-zero: leave; ERR_CANCELLED */
};
/* POSTs and reads a stream of server-sent events to its end. */
int client_stream(const struct client *c, const char *path, const json_t *body,
                  const struct client_stream *s, struct err *err)
    __attribute__((warn_unused_result));

#define CLIENT_SERVER_KEY_LEN 48 /* hexadecimal digits */
/* A server of our own: `hearth serve` on a free port of loopback, gone when we are. */
struct client_server {
    pid_t pid;
    char host[16];
    char key[CLIENT_SERVER_KEY_LEN + 1]; /* nobody else's requests are answered */
};
/* args: more options for serve, NULL-terminated. Waits until the model is loaded. */
int client_server_start(struct client_server *s, const char *model, const char *const *args,
                        struct client *ret_client, const volatile sig_atomic_t *stop,
                        struct err *err) __attribute__((warn_unused_result));
void client_server_stop(struct client_server *s);

#endif
