/*
 * server: the gateway's parts, for its own files. gateway.h is what others see.
 */
#ifndef HEARTH_GATEWAY_SERVER_H
#define HEARTH_GATEWAY_SERVER_H

#include "api/errors.h"
#include "api/openai.h"
#include "gateway/callers.h"
#include "gateway/gateway.h"
#include "gateway/http.h"
#include "gateway/metrics.h"
#include "gateway/models.h"
#include "gateway/request_log.h"
#include "gateway/traces.h"

struct errand;
struct inspection;
struct state;
struct ledger;
struct batches;
struct response_runs;
struct conversation_lock;

struct server {
    struct gateway_opts opts;
    uv_loop_t loop;
    struct http *http;
    struct models models;
    struct state *state;  /* what outlives the server; NULL: off, */
    struct err state_err; /* for this reason */
    struct ledger *ledger;
    struct batches *batches;         /* NULL without state */
    struct response_runs *runs;      /* likewise */
    struct conversation_lock *locks; /* conversations.h */
    int n_uploads, n_blob_uploads;
    struct errand *errands;         /* errand.h */
    struct inspection *inspections; /* inspection.h */
    int n_errands;
    struct metrics metrics;
    struct callers callers;
    struct traces traces;
    struct request_log *request_log; /* or NULL */
    char startup_name[512];          /* the library's name of the model named at start, or "" */
    bool announced;                  /* the banner was printed */
    int port;
    bool loopback; /* bound to a loopback address: Host is checked, a key is not needed */
    bool draining; /* no new requests; the running ones are finished */
    bool stopping;
    bool models_stopped;
    int64_t start_ms;
    uv_signal_t signals[2];
    uv_timer_t timer;
    int64_t drain_end_ms;
    struct err fatal; /* why the loop was ended; code 0: as asked */
    int shown;        /* of the loading progress, in percent */
};

/* routes.c */
struct route;
/* What is known of an exchange from its head to its end: its tag. */
struct visit {
    const struct route *route;
    struct caller caller;
    struct trace *trace;  /* of routes that generate, else NULL */
    struct callers *asks; /* ask_begin counted it there, and it is not over; or NULL */
};
struct visit *routes_visit(const struct exchange *x);
void routes_on_head(struct exchange *x, void *ctx);
void routes_on_request(struct exchange *x, void *ctx);
void routes_on_over(struct exchange *x, void *ctx);
void routes_write_error(struct exchange *x, int err_code, const char *text, struct buf *out);
enum api_dialect routes_dialect(const struct exchange *x);
/* Answers with the error in the dialect of the route. counts may be NULL. */
void reply_error(struct exchange *x, const struct err *err, const struct api_counts *counts);
/* Answers with the body, which is released; an error when it overflowed. inventory.c */
void reply_json(struct exchange *x, int status, struct buf *body);

/* access.c: who may ask. 0 or ERR_AUTH, ERR_DENIED. */
int access_check_host(const struct server *s, const char *host, struct err *err);
int access_check_origin(const char *origin, const char *host, struct err *err);
/* Whose key the exchange bears; ret may be NULL. */
int access_identify(struct server *s, const struct exchange *x, struct caller *ret,
                    struct err *err);

/* completions.c */
/* Serves one call of an endpoint, from its body to the end of its answer. */
void completions_serve(struct server *s, struct exchange *x, const struct api_endpoint *endpoint);
/* Who keeps the answer of a call; both functions may be NULL. */
struct call;
struct call_keeper {
    void *ctx;
    const char *id; /* of the answer; NULL: a new one */
    /* All of the answer is there and its end was not told. True: completions_go_on follows, unless
     * `over` came first; until then the answer stays as it is. */
    bool (*complete)(void *ctx, struct call *c, struct api_answer *a);
    /* The call is over, in whatever way: the last that is heard of it. a: NULL when the request was
     * refused. */
    void (*over)(void *ctx, struct api_answer *a);
};
/* body: a new reference, taken over; NULL: the exchange's own. keeper: copied; may be NULL. */
void completions_serve_body(struct server *s, struct exchange *x,
                            const struct api_endpoint *endpoint, json_t *body,
                            const struct call_keeper *keeper);
void completions_go_on(struct call *c);
/* In place of completions_go_on. */
void completions_fail(struct call *c, const struct err *err);
/* The class that a request asks for, by its key and its header. ERR_INVALID. */
int completions_priority(const struct exchange *x, const struct caller *who, int64_t *ret,
                         struct err *err) __attribute__((warn_unused_result));
void completions_chat(struct server *s, struct exchange *x);
void completions_text(struct server *s, struct exchange *x);

/* embedding_routes.c */
void embeddings_openai(struct server *s, struct exchange *x);
void embeddings_ollama(struct server *s, struct exchange *x);
void embeddings_ollama_one(struct server *s, struct exchange *x);
void embeddings_llama(struct server *s, struct exchange *x);
void embeddings_rerank(struct server *s, struct exchange *x);

/* files.c, batches.c: the routes of /v1/files and /v1/batches. */
void files_collection(struct server *s, struct exchange *x);
void files_one(struct server *s, struct exchange *x);
void batches_collection(struct server *s, struct exchange *x);
void batches_one(struct server *s, struct exchange *x);

/* inventory.c */
/* A model that is served under its path, not out of the library; or NULL. */
const struct slot *inventory_path_slot(const struct server *s);
void inventory_models(struct server *s, struct exchange *x);
void inventory_model(struct server *s, struct exchange *x);
void inventory_tags(struct server *s, struct exchange *x);
void inventory_ps(struct server *s, struct exchange *x);
void inventory_health(struct server *s, struct exchange *x);
void inventory_metrics(struct server *s, struct exchange *x);
void inventory_version(struct server *s, struct exchange *x);
void inventory_openapi(struct server *s, struct exchange *x);

/* ollama_routes.c: the routes of Ollama's API that generate, load and unload. */
void ollama_serve_generate(struct server *s, struct exchange *x);
void ollama_serve_chat(struct server *s, struct exchange *x);

/* A body that must be an object: a new reference; NULL with the reason. */
json_t *ollama_body(struct exchange *x, struct err *err);

/* library_routes.c: the routes of Ollama's API that are about models and not about text. */
void library_show(struct server *s, struct exchange *x);
void library_create(struct server *s, struct exchange *x);
void library_copy(struct server *s, struct exchange *x);
void library_delete(struct server *s, struct exchange *x);
/* OpenAI's DELETE /v1/models/{id}. */
void library_delete_named(struct server *s, struct exchange *x, const char *name);
void library_pull(struct server *s, struct exchange *x);
void library_push(struct server *s, struct exchange *x);
void library_account(struct server *s, struct exchange *x);

/* blob_upload.c: HEAD and POST /api/blobs/{digest}. */
void blob_upload_begin(struct server *s, struct exchange *x); /* from the head of a POST */
void blob_upload_serve(struct server *s, struct exchange *x);

/* requests.c: GET /v1/requests and /v1/requests/{id}. */
void requests_list(struct server *s, struct exchange *x);
void requests_one(struct server *s, struct exchange *x);

/*
 * ask.c: a question counts as a request of its key: begun before a model is looked for, which may
 * load it, and over when its answer is there, or the exchange is. API_ERR_RATE: beyond the key's
 * limits; Retry-After is set. The tokens it reads are on nobody's account: none is computed.
 */
int ask_begin(struct server *s, struct exchange *x, struct err *err)
    __attribute__((warn_unused_result));
void ask_over(struct exchange *x);
/* One small question to the worker of a model; the answer comes later. The owner of the
 * exchange is the asking from now on: fn answers it, once, unless the client leaves. err: code 0,
 * or why there is no text. */
typedef void (*ask_fn)(struct server *s, struct exchange *x, void *ctx, struct str text,
                       const struct err *err);
/* frame: a new reference; its "id" is filled in here. free_ctx may be NULL. */
void ask_worker(struct server *s, struct exchange *x, struct slot *slot, json_t *frame, ask_fn fn,
                void *ctx, void (*free_ctx)(void *ctx));
/* The same for answers that are more than a text: fn gets the frame, or NULL and why. */
typedef void (*ask_frame_fn)(struct server *s, struct exchange *x, void *ctx, const json_t *frame,
                             const struct err *err);
void ask_worker_frame(struct server *s, struct exchange *x, struct slot *slot, json_t *frame,
                      ask_frame_fn fn, void *ctx, void (*free_ctx)(void *ctx));

/* counting.c: how many tokens the prompt of a request has, as its endpoint parses it. Answered as
 * {"object": object, "input_tokens": N}; object may be NULL: without it. */
void counting_serve(struct server *s, struct exchange *x, const struct api_endpoint *endpoint,
                    const char *object);
void counting_serve_body(struct server *s, struct exchange *x, const struct api_endpoint *endpoint,
                         const json_t *body, const char *object);

/* anthropic_routes.c: the routes of Anthropic's dialect. */
void anthropic_serve_messages(struct server *s, struct exchange *x);
void anthropic_serve_count(struct server *s, struct exchange *x);
/* message_batches.c: /v1/messages/batches and what is below it. */
void message_batches_collection(struct server *s, struct exchange *x);
void message_batches_one(struct server *s, struct exchange *x);
void anthropic_list_models(struct server *s, struct exchange *x);
void anthropic_show_model(struct server *s, struct exchange *x);

/* llama_routes.c: what llama-server's clients ask beside OpenAI's routes. */
void llama_serve_completion(struct server *s, struct exchange *x);
void llama_serve_infill(struct server *s, struct exchange *x);
void llama_serve_tokenize(struct server *s, struct exchange *x);
void llama_serve_detokenize(struct server *s, struct exchange *x);
void llama_serve_template(struct server *s, struct exchange *x);
void llama_serve_count(struct server *s, struct exchange *x);
void llama_serve_props(struct server *s, struct exchange *x);
void llama_serve_slots(struct server *s, struct exchange *x);

/* banner.c: what a person at the terminal sees. */
void banner_progress(struct server *s, const struct slot *slot);
void banner_ready(struct server *s, const struct slot *slot);
void banner_url(const struct server *s, char *out, size_t size);

/* listen.c: a listening socket and the port it got; errors say what to do. */
int listen_open(const char *host, int port, int *ret_fd, int *ret_port, bool *ret_loopback,
                struct err *err) __attribute__((warn_unused_result));

#endif
