/*
 * packing: see packing.h.
 *
 * Invariant: while a commit runs on another thread (`busy`), only that thread touches the lease;
 * packing_free then leaves the rest to the end of the commit.
 */
#include "gateway/packing.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct packing {
    struct packing_opts o;
    char *name;
    struct pack_lease lease;
    uv_work_t work;
    struct err err; /* of the commit */
    bool told, busy, orphan;
};

/* Packed weights are about as large as the files; rounding to whole panels adds a little. */
static int64_t bytes_at_most(int64_t bytes)
{
    return bytes + bytes / 8 + (16 << 20);
}

struct packing *packing_new(const struct packing_opts *opts)
{
    char key[PACK_CACHE_KEY_LEN + 1];
    struct err err = {0};
    if (opts->cache == NULL)
        return NULL;
    if (pack_cache_key(opts->path, opts->n_path, key, &err) != 0) {
        log_warn("model %s: no cache of packed weights: %s", opts->name, err.text);
        return NULL;
    }
    struct packing *p = mem_zero(1, sizeof *p);
    p->o = *opts;
    p->o.path = NULL;
    p->name = str_dup(str_z(opts->name));
    p->work.data = p;
    pack_lease_take(opts->cache, key, bytes_at_most(opts->bytes), &p->lease, &err);
    if (err.code != 0 && p->lease.fd_in < 0)
        log_warn("model %s: its packed weights are not kept: %s", p->name, err.text);
    return p;
}

void packing_fill(const struct packing *p, struct process_opts *ret)
{
    ret->pack_in = p == NULL ? -1 : p->lease.fd_in;
    ret->pack_out = p == NULL ? -1 : p->lease.fd_out;
    ret->pack_key = p == NULL ? NULL : p->lease.key;
    ret->pack_bytes_max = p == NULL ? 0 : p->lease.bytes_max;
}

static void destroy(struct packing *p)
{
    pack_lease_release(&p->lease);
    free(p->name);
    free(p);
}

void packing_free(struct packing *p, bool suspect)
{
    if (p == NULL)
        return;
    p->orphan = true;
    if (p->busy)
        return;
    if (suspect && p->lease.fd_in >= 0) {
        log_warn("model %s: its file of packed weights is removed, for its worker died reading it",
                 p->name);
        pack_lease_discard(&p->lease);
    }
    destroy(p);
}

/* ---- to the disk ---- */

static void commit(uv_work_t *work)
{
    struct packing *p = work->data;
    if (pack_lease_commit(&p->lease, &p->err) != 0)
        CHECK(p->err.code != 0);
}

static void on_committed(uv_work_t *work, int status)
{
    struct packing *p = work->data;
    (void)status; /* never cancelled */
    p->busy = false;
    if (p->err.code == 0)
        log_info("model %s: packed weights are kept in %s", p->name, p->lease.path);
    else
        log_error("model %s: its packed weights are not kept: %s", p->name, p->err.text);
    if (p->orphan)
        destroy(p);
    else if (p->err.code == ERR_IO)
        p->o.on_lost(p->o.ctx);
}

/* What a worker says goes to a terminal perhaps: printable ASCII only. */
static void log_note(const char *name, struct str note)
{
    char text[512];
    snprintf(text, sizeof text, "%.*s", STR_ARG(str_sub(note, 0, sizeof text - 1)));
    for (char *c = text; *c != '\0'; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    if (text[0] != '\0')
        log_warn("model %s: %s", name, text);
}

int packing_on_frame(struct packing *p, const char *name, const json_t *frame, struct err *err)
{
    struct str from = STR(""), note = STR("");
    int64_t bytes = 0;
    double ms = 0;
    int rc = json_get_str(frame, "from", &from, err);
    rc = rc != 0 ? rc : json_get_str(frame, "note", &note, err);
    rc = rc != 0 ? rc : json_get_i64(frame, "bytes", 0, INT64_MAX, &bytes, err);
    rc = rc != 0 ? rc : json_get_f64(frame, "ms", 0, 1e12, &ms, err);
    if (rc != 0)
        return rc;
    bool mapped = str_eq_z(from, "mapped"), written = str_eq_z(from, "written");
    if (p != NULL && p->told)
        return err_set(err, ERR_INVALID, "packed weights are reported twice");
    if ((mapped && (p == NULL || p->lease.fd_in < 0)) ||
        (written && (p == NULL || p->lease.fd_out < 0)))
        return err_set(err, ERR_INVALID, "packed weights are said to be %.*s, without a file",
                       STR_ARG(from));
    log_note(name, note);
    if (mapped || written || str_eq_z(from, "memory"))
        log_info("model %s: %" PRId64 " MiB of packed weights %s in %.0f ms", name, bytes >> 20,
                 mapped    ? "mapped from the cache"
                 : written ? "written"
                           : "made in memory",
                 ms);
    if (p == NULL)
        return 0;
    p->told = true;
    if (written)
        p->busy = uv_queue_work(p->o.loop, &p->work, commit, on_committed) == 0;
    else if (!mapped)
        pack_lease_discard(&p->lease); /* not taken: it is of no use */
    return 0;
}
