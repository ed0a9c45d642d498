/*
 * banner: what a person at the terminal sees: progress while the model loads (on standard error,
 * when that is a terminal), then where the server is and how to stop it (on standard output).
 */
#include "gateway/server.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void banner_url(const struct server *s, char *out, size_t size)
{
    const char *host = s->opts.host;
    if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
        host = "127.0.0.1"; /* reachable from here under this one */
    bool v6 = strchr(host, ':') != NULL;
    snprintf(out, size, "http://%s%s%s:%d", v6 ? "[" : "", host, v6 ? "]" : "", s->port);
}

static void write_bytes(char out[24], int64_t bytes)
{
    if (bytes >= (int64_t)1 << 30)
        snprintf(out, 24, "%.2f GiB", (double)bytes / (double)(1 << 30));
    else
        snprintf(out, 24, "%.1f MiB", (double)bytes / (double)(1 << 20));
}

void banner_progress(struct server *s, const struct slot *slot)
{
    int percent = (int)(slot->fraction * 100);
    if (s->opts.quiet || !isatty(STDERR_FILENO) || percent == s->shown)
        return;
    s->shown = percent;
    fprintf(stderr, "\rloading %s: %-6s %3d %%  ", slot->name, slot->stage, percent);
}

void banner_ready(struct server *s, const struct slot *slot)
{
    char url[300];
    if (s->opts.quiet)
        return;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K");
    banner_url(s, url, sizeof url);
    printf("Hearth %s serves at %s/\n", HEARTH_VERSION, url);
    if (slot != NULL) {
        const struct worker_ready *r = &slot->ready;
        char weights[24], kv[24], scratch[24], sum[24];
        write_bytes(weights, r->weight_bytes);
        write_bytes(kv, r->kv_bytes);
        write_bytes(scratch, r->scratch_bytes);
        write_bytes(sum, r->weight_bytes + r->kv_bytes + r->scratch_bytes);
        printf("  model   %s (%s, %.1f M parameters, %s)\n", slot->name, r->arch,
               (double)r->n_params / 1e6, r->file_type);
        printf("  memory  weights %s + keys and values (%s) %s + scratch %s = %s\n", weights,
               r->kv_type, kv, scratch, sum);
        printf("  room    %" PRId64 " tokens of context, %" PRId64 " requests at once, %" PRId64
               " threads (%s)\n",
               r->n_ctx, r->n_seq_max, r->n_threads, r->kernel);
    } else {
        printf("  model   none yet: a request loads the one it names\n");
    }
    printf("  API     %s/v1 (OpenAI), %s (Ollama, Anthropic, llama-server)%s\n", url, url,
           s->opts.api_key != NULL ? ", with the API key" : "");
    printf("  stop    Ctrl-C\n");
    fflush(stdout);
}
