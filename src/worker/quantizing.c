/*
 * quantizing: see the header. Owns the frames; what is done is in model/quantize_model.
 */
#include "worker/quantizing.h"

#include "base/clock.h"
#include "model/quantize_model.h"

#include <sys/resource.h>

#define TELL_MS 200
#define NICE    10

struct telling {
    const struct quantize_plan *plan;
    const char *type;
    struct outbox *out;
    int64_t told_ms;
};

void quantizing_step_back(void)
{
    (void)setpriority(PRIO_PROCESS, 0, NICE);
}

/* A gateway that is gone ends the work. */
static bool tell(void *ctx, uint64_t done, uint64_t total)
{
    struct telling *t = ctx;
    int64_t now_ms = clock_ms();
    if (done < total && now_ms - t->told_ms < TELL_MS)
        return true;
    t->told_ms = now_ms;
    outbox_put(t->out, json_pack("{s:s,s:s,s:s,s:I,s:I}", "t", "quantizing", "from",
                                 quantize_plan_source(t->plan), "to", t->type, "done",
                                 (json_int_t)done, "total", (json_int_t)total));
    outbox_flush_all(t->out);
    return !t->out->is_broken;
}

static int write_file(const struct quantizing *q, const struct quantize_plan *plan,
                      const char *type, struct pool *pool, struct outbox *out, struct err *err)
{
    struct telling t = {.plan = plan, .type = type, .out = out};
    struct gguf_out *file;
    int rc = gguf_out_open_fd(quantize_plan_writer(plan), q->out_fd, q->out_bytes_max, &file, err);
    if (rc != 0)
        return rc;
    rc = quantize_plan_run(plan, pool, file, tell, &t, err);
    gguf_out_abort(file);
    return rc;
}

int quantizing_run(const struct quantizing *q, struct pool *pool, struct outbox *out,
                   struct err *err)
{
    const struct quant_mix *mix = quantize_mix_find(q->type);
    struct quantize_plan *plan = NULL;
    struct gguf *g = NULL;
    if (mix == NULL)
        return err_set(err, ERR_UNSUPPORTED, "files of the type %s are not made here", q->type);
    int rc = gguf_open_fds(q->fd, q->n_fds, &g, err);
    rc = rc != 0 ? rc : quantize_plan_new(g, mix, &plan, err);
    rc = rc != 0 ? rc : write_file(q, plan, mix->name, pool, out, err);
    quantize_plan_free(plan);
    gguf_free(g);
    if (rc == 0) {
        outbox_put(out, json_pack("{s:s,s:s}", "t", "quantized", "type", mix->name));
        outbox_flush_all(out);
    }
    return rc;
}
