/*
 * packed: see packed.h. Work is cut into pieces (model/pack_file.h) that the pool's threads take:
 * a piece is packed, or checked, while it lies in a thread's cache.
 *
 * Invariant: a file's header is written last, when all its panels are; before that its first bytes
 * are zero and no reader accepts it. What the disk has of it after a crash is the business of who
 * handed in the descriptor.
 */
#include "model/packed.h"

#include "base/clock.h"
#include "base/mem.h"
#include "model/pack_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROUNDS 64                  /* progress is told so many times */
#define AHEAD  16                  /* pieces: 8 MiB */
#define HUGE   ((uint64_t)2 << 20) /* bytes of a huge page, where the system has them */

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14; before it, the pages come when they are read */
#endif

struct piece {
    uint32_t i_entry;
    int panel, n; /* panels [panel, panel + n) of it */
};

struct packer {
    const struct gguf *g;
    const struct model_opts *o;
    const struct kernels *kernels;
    struct pack_table table;
    size_t cap_entries, cap_matrices;
    struct matrix **matrix; /* [table.n] */
    struct piece *piece;    /* [n_pieces] those of a matrix stand together, in order */
    uint64_t *hash;         /* [n_pieces] */
    int n_pieces;
    uint8_t *buffer; /* [n_threads][buffer_bytes], 64-byte aligned */
    size_t buffer_bytes;
    uint8_t *base;          /* of the mapping that is read or packed into */
    int fd;                 /* the file that is written, or -1 */
    uint64_t populate_from; /* of that file: it has its pages up to here */
    int base_piece;         /* the first of the round */
    const char *stage;
    atomic_int failed; /* an errno, or -1: a panel is not the model's */
};

/* ---- what is packed ---- */

/* Packed rows are only worth it where this level has a kernel of its own for them. */
static bool is_packed(const struct kernels *k, enum dtype t)
{
    return pack_has(t) && k->mul_packed[t] != NULL &&
           (k->level == CPU_GENERIC || k->mul_packed[t] != kernels_get(CPU_GENERIC)->mul_packed[t]);
}

static int add(struct packer *p, struct matrix *m, int i_layer, const char *what, struct err *err)
{
    if (m->data == NULL || !is_packed(p->kernels, m->type))
        return 0; /* the model has no such matrix, or it stays as it is */
    struct pack_table *t = &p->table;
    const size_t max = 16 * (N_LAYER_MAX + 1);
    if (!mem_grow((void **)&t->entry, &p->cap_entries, t->n + 1, max, sizeof(*t->entry)) ||
        !mem_grow((void **)&p->matrix, &p->cap_matrices, t->n + 1, max, sizeof(*p->matrix)))
        return err_set(err, ERR_NOMEM, "no memory for the list of packed weights");
    struct pack_entry *e = &t->entry[t->n];
    *e = (struct pack_entry){.type = m->type, .n_out = m->n_out, .n_in = m->n_in};
    if (i_layer < 0)
        snprintf(e->name, sizeof(e->name), "%s", what);
    else
        snprintf(e->name, sizeof(e->name), "blk.%d.%s", i_layer, what);
    p->matrix[t->n++] = m;
    return 0;
}

/* In the order in which a step uses them. */
static int collect(struct packer *p, struct weights *w, int n_layer, struct err *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < n_layer; i++) {
        struct layer *l = &w->layer[i];
        struct {
            struct matrix *m;
            const char *name;
        } all[] = {{&l->q, "attn_q"},      {&l->k, "attn_k"},
                   {&l->v, "attn_v"},      {&l->attn_output, "attn_output"},
                   {&l->gate, "ffn_gate"}, {&l->up, "ffn_up"},
                   {&l->down, "ffn_down"}};
        for (size_t j = 0; rc == 0 && j < ARRAY_LEN(all); j++)
            rc = add(p, all[j].m, i, all[j].name, err);
    }
    rc = rc != 0 ? rc : add(p, &w->output, -1, "output", err);
    return rc != 0 ? rc : pack_table_lay_out(&p->table, err);
}

static int cut(struct packer *p, struct err *err)
{
    size_t n = 0, max = 0;
    for (size_t i = 0; i < p->table.n; i++) {
        const struct pack_entry *e = &p->table.entry[i];
        size_t bytes = (size_t)pack_piece_panels(e) * pack_panel_bytes(e->type, e->n_in);
        max = bytes > max ? bytes : max;
        n += (size_t)pack_pieces(e);
    }
    size_t buffers;
    p->piece = mem_try_array(n + 1, sizeof(*p->piece));
    p->hash = mem_try_array(n + 1, sizeof(*p->hash));
    p->buffer_bytes = max;
    if (n > INT32_MAX || !size_mul(max, (size_t)pool_n_threads(p->o->pool), &buffers) ||
        p->piece == NULL || p->hash == NULL || (p->buffer = mem_try_aligned(buffers)) == NULL)
        return err_set(err, ERR_NOMEM, "no memory to pack weights in");
    for (size_t i = 0; i < p->table.n; i++) {
        const struct pack_entry *e = &p->table.entry[i];
        int n_panels = (e->n_out - 1) / PACK_ROWS + 1, step = pack_piece_panels(e);
        for (int at = 0; at < n_panels; at += step)
            p->piece[p->n_pieces++] =
                (struct piece){(uint32_t)i, at, step < n_panels - at ? step : n_panels - at};
    }
    return 0;
}

/* ---- one piece ---- */

static void fail_with(struct packer *p, int why)
{
    int none = 0;
    atomic_compare_exchange_strong(&p->failed, &none, why);
}

static void pack_rows(const struct pack_entry *e, const struct matrix *m, int panel, int n,
                      uint8_t *ret)
{
    size_t bytes = pack_panel_bytes(e->type, e->n_in);
    for (int i = 0; i < n; i++) {
        int row = (panel + i) * PACK_ROWS;
        int n_row = e->n_out - row < PACK_ROWS ? e->n_out - row : PACK_ROWS;
        pack_panel(e->type, ret + i * bytes, m->data + (size_t)row * m->stride, m->stride, n_row,
                   e->n_in);
    }
}

static void write_at(struct packer *p, const uint8_t *bytes, size_t len, uint64_t at)
{
    while (len > 0) {
        ssize_t n = pwrite(p->fd, bytes, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            fail_with(p, n < 0 ? errno : EIO);
            return;
        }
        bytes += n;
        len -= (size_t)n;
        at += (uint64_t)n;
    }
}

/* Where n panels of a matrix are in the model file, and how much. */
static const uint8_t *rows_of(const struct packer *p, uint32_t i_entry, int panel, int n,
                              size_t *ret_len)
{
    const struct matrix *m = p->matrix[i_entry];
    size_t row = (size_t)panel * PACK_ROWS, end = (size_t)(panel + n) * PACK_ROWS;
    end = end < (size_t)m->n_out ? end : (size_t)m->n_out;
    *ret_len = (end - row) * m->stride;
    return m->data + row * m->stride;
}

/* The model file's pages of n panels are not needed any more. */
static void let_go(const struct packer *p, uint32_t i_entry, int panel, int n)
{
    size_t len;
    const uint8_t *data = rows_of(p, i_entry, panel, n, &len);
    gguf_let_go(p->g, data, len, p->fd >= 0);
}

/* From a cold disk: what comes so much later is read while the pieces before it are packed. */
static void fetch_ahead(const struct packer *p, int i)
{
    for (int next = i + AHEAD; next < i + 2 * AHEAD && next < p->n_pieces; next++) {
        const struct piece *c = &p->piece[next];
        size_t len;
        const uint8_t *data = rows_of(p, c->i_entry, c->panel, c->n, &len);
        gguf_fetch(p->g, data, len);
    }
}

/* Again, for a fault brings in pages around it, of pieces that another thread was done with. */
static void let_go_round(struct packer *p, int n)
{
    int first = p->base_piece, end = p->base_piece + n;
    for (int i = first + 1; i <= end; i++)
        if (i == end || p->piece[i].i_entry != p->piece[first].i_entry) {
            const struct piece *a = &p->piece[first], *b = &p->piece[i - 1];
            let_go(p, a->i_entry, a->panel, b->panel + b->n - a->panel);
            first = i;
        }
}

static void pack_item(void *ctx, int i_item, int i_thread)
{
    struct packer *p = ctx;
    int i = p->base_piece + i_item;
    const struct piece *c = &p->piece[i];
    const struct pack_entry *e = &p->table.entry[c->i_entry];
    const struct matrix *m = p->matrix[c->i_entry];
    size_t bytes = pack_panel_bytes(e->type, e->n_in);
    uint64_t at = e->offset + (uint64_t)c->panel * bytes;
    if (atomic_load_explicit(&p->failed, memory_order_relaxed) != 0)
        return;
    if (i % AHEAD == 0)
        fetch_ahead(p, i);
    if (p->fd < 0) {
        pack_rows(e, m, c->panel, c->n, p->base + (at - p->table.head_bytes));
    } else {
        uint8_t *buffer = p->buffer + (size_t)i_thread * p->buffer_bytes;
        pack_rows(e, m, c->panel, c->n, buffer);
        p->hash[i] = pack_hash(buffer, (size_t)c->n * bytes);
        write_at(p, buffer, (size_t)c->n * bytes, at);
    }
    let_go(p, c->i_entry, c->panel, c->n);
}

/*
 * The fault of a mapping that asked for huge pages reads whole ones, and the next ones ahead, where
 * the file system has them; MADV_WILLNEED would read the same bytes to 4 KiB pages, for as long as
 * the file stays in memory.
 */
static void check_item(void *ctx, int i_item, int i_thread)
{
    struct packer *p = ctx;
    int i = p->base_piece + i_item;
    const struct piece *c = &p->piece[i];
    const struct pack_entry *e = &p->table.entry[c->i_entry];
    size_t bytes = pack_panel_bytes(e->type, e->n_in);
    uint8_t *at = p->base + e->offset + (size_t)c->panel * bytes;
    size_t len = (size_t)c->n * bytes, skew = (uintptr_t)at % PACK_FILE_ALIGN;
    (void)i_thread;
    madvise(at - skew, len + skew, MADV_POPULATE_READ);
    p->hash[i] = pack_hash(at, len);
}

/* One panel of a matrix, chosen by its hash, must be what the model's own rows make. */
static void compare_item(void *ctx, int i_item, int i_thread)
{
    struct packer *p = ctx;
    const struct pack_entry *e = &p->table.entry[i_item];
    size_t bytes = pack_panel_bytes(e->type, e->n_in);
    int n_panels = (e->n_out - 1) / PACK_ROWS + 1;
    int panel = (int)(e->hash % (uint64_t)n_panels);
    uint8_t *buffer = p->buffer + (size_t)i_thread * p->buffer_bytes;
    pack_rows(e, p->matrix[i_item], panel, 1, buffer);
    if (memcmp(buffer, p->base + e->offset + (size_t)panel * bytes, bytes) != 0)
        fail_with(p, -1);
    let_go(p, (uint32_t)i_item, panel, 1);
}

/*
 * Of a file that is made, before it is written to: where a file system keeps files in huge pages, a
 * mapping's fault makes one, while a write makes pages no larger than itself. Elsewhere the pages
 * are only made earlier. From 4 KiB pages weights are read a third slower (docs/performance.md).
 */
static void populate_item(void *ctx, int i_item, int i_thread)
{
    struct packer *p = ctx;
    uint64_t at = p->populate_from + (uint64_t)i_item * HUGE;
    uint64_t left = p->table.file_bytes - at;
    (void)i_thread;
    madvise(p->base + at, (size_t)(left < HUGE ? left : HUGE), MADV_POPULATE_READ);
}

/* The pages of pieces up to `end`. */
static void populate(struct packer *p, int end)
{
    const struct piece *c = &p->piece[end - 1];
    const struct pack_entry *e = &p->table.entry[c->i_entry];
    uint64_t to = e->offset + (uint64_t)(c->panel + c->n) * pack_panel_bytes(e->type, e->n_in);
    if (to <= p->populate_from)
        return;
    int n = (int)((to - p->populate_from - 1) / HUGE + 1);
    pool_run(p->o->pool, populate_item, p, n);
    p->populate_from += (uint64_t)n * HUGE;
}

static void each_piece(struct packer *p, pool_fn fn)
{
    int step = (p->n_pieces - 1) / ROUNDS + 1;
    for (p->base_piece = 0; p->base_piece < p->n_pieces; p->base_piece += step) {
        int left = p->n_pieces - p->base_piece;
        if (p->o->progress != NULL)
            p->o->progress(p->o->progress_ctx, p->stage, (double)p->base_piece / p->n_pieces);
        if (p->fd >= 0)
            populate(p, p->base_piece + (left < step ? left : step));
        pool_run(p->o->pool, fn, p, left < step ? left : step);
        if (fn == pack_item)
            let_go_round(p, left < step ? left : step);
    }
}

/* The hash of a matrix: of its pieces' hashes. The first piece of a matrix is at *i_piece. */
static uint64_t join_hashes(const struct packer *p, const struct pack_entry *e, int *i_piece)
{
    int n = pack_pieces(e);
    uint64_t hash = pack_hash(p->hash + *i_piece, (size_t)n * sizeof(*p->hash));
    *i_piece += n;
    return hash;
}

/* ---- a file that is there ---- */

static int check_file(struct packer *p, size_t len, struct err *err)
{
    int rc = pack_table_read(&p->table, p->base, len, err);
    if (rc != 0)
        return rc;
    p->stage = "load";
    each_piece(p, check_item);
    int i_piece = 0;
    for (size_t i = 0; i < p->table.n; i++) {
        const struct pack_entry *e = &p->table.entry[i];
        if (join_hashes(p, e, &i_piece) != e->hash)
            return err_set(err, ERR_CORRUPT, "%s in it is damaged", e->name);
    }
    pool_run(p->o->pool, compare_item, p, (int)p->table.n);
    if (atomic_load(&p->failed) != 0)
        return err_set(err, ERR_CORRUPT, "it holds other weights than the model file");
    return 0;
}

static int map_file(struct packer *p, int fd, struct err *err)
{
    struct stat st;
    size_t len = (size_t)p->table.file_bytes;
    if (fstat(fd, &st) != 0)
        return err_set_errno(err, errno, "it cannot be read");
    if (!S_ISREG(st.st_mode) || st.st_size < (off_t)p->table.head_bytes)
        return err_set(err, ERR_CORRUPT, "it is not a file of packed weights");
    if ((uint64_t)st.st_size != p->table.file_bytes)
        return err_set(err, ERR_CORRUPT, "it has %lld bytes, not %zu", (long long)st.st_size, len);
    void *base = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return err_set_errno(err, errno, "it cannot be mapped");
    madvise(base, len, MADV_HUGEPAGE);
    p->base = base;
    return 0;
}

static int unmap_unless(struct packer *p, int rc)
{
    if (rc != 0 && p->base != NULL) {
        munmap(p->base, (size_t)p->table.file_bytes);
        p->base = NULL;
    }
    return rc;
}

static int use_file(struct packer *p, int fd, struct err *err)
{
    int rc = map_file(p, fd, err);
    return unmap_unless(p, rc != 0 ? rc : check_file(p, (size_t)p->table.file_bytes, err));
}

/* ---- a file to be ---- */

static int write_header(struct packer *p, struct err *err)
{
    uint8_t *head = mem_try_array((size_t)p->table.head_bytes, 1);
    int i_piece = 0;
    if (head == NULL)
        return err_set(err, ERR_NOMEM, "no memory for its header");
    for (size_t i = 0; i < p->table.n; i++)
        p->table.entry[i].hash = join_hashes(p, &p->table.entry[i], &i_piece);
    pack_table_write(&p->table, head);
    write_at(p, head, (size_t)p->table.head_bytes, 0);
    free(head);
    return 0;
}

/* Space is reserved first: a page whose place on the disk is missing would be lost after it was
 * taken for written. */
static int make_file(struct packer *p, int fd, struct err *err)
{
    while (fallocate(fd, 0, 0, (off_t)p->table.file_bytes) != 0)
        if (errno != EINTR)
            return err_set_errno(err, errno, "%llu MiB cannot be reserved for it",
                                 (unsigned long long)(p->table.file_bytes >> 20) + 1);
    int rc = map_file(p, fd, err);
    if (rc != 0)
        return rc;
    p->fd = fd;
    p->stage = "pack";
    each_piece(p, pack_item);
    rc = atomic_load(&p->failed) == 0 ? write_header(p, err) : 0;
    p->fd = -1;
    int failed = atomic_exchange(&p->failed, 0);
    if (rc == 0 && failed != 0)
        rc = err_set_errno(err, failed, "it cannot be written");
    return unmap_unless(p, rc);
}

/* ---- memory ---- */

static int use_memory(struct packer *p, size_t *ret_len, struct err *err)
{
    size_t len = (size_t)(p->table.file_bytes - p->table.head_bytes);
    void *base = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return err_set(err, ERR_NOMEM, "no memory for %zu MiB of packed weights", len >> 20);
    madvise(base, len, MADV_HUGEPAGE);
    p->base = base;
    p->stage = "pack";
    each_piece(p, pack_item);
    mprotect(base, len, PROT_READ);
    *ret_len = len;
    return 0;
}

/* ---- the order of the ways ---- */

static void note(struct pack_report *r, const char *what, const struct err *why)
{
    size_t n = strlen(r->note);
    snprintf(r->note + n, sizeof(r->note) - n, "%s%s: %.200s", n > 0 ? "; " : "", what, why->text);
}

static int obtain(struct packer *p, struct packed *ret, struct err *err)
{
    static const struct pack_files none = {.fd_in = -1, .fd_out = -1};
    const struct pack_files *f = p->o->pack != NULL ? p->o->pack : &none;
    struct pack_report *r = &ret->report;
    struct err why = {0};
    ret->len = (size_t)p->table.file_bytes;
    if (f->fd_in >= 0) {
        if (use_file(p, f->fd_in, &why) == 0) {
            r->from = PACK_MAPPED;
            return 0;
        }
        atomic_store(&p->failed, 0);
        note(r, "the file of packed weights is not used", &why);
    }
    if (f->fd_out >= 0) {
        if (make_file(p, f->fd_out, &why) == 0) {
            r->from = PACK_WRITTEN;
            return 0;
        }
        note(r, "no file of packed weights is made", &why);
    }
    r->from = PACK_MEMORY;
    return use_memory(p, &ret->len, err);
}

static void point(struct packer *p, const struct packed *to)
{
    size_t skip = to->report.from == PACK_MEMORY ? (size_t)p->table.head_bytes : 0;
    for (size_t i = 0; i < p->table.n; i++) {
        const struct pack_entry *e = &p->table.entry[i];
        p->matrix[i]->panels = to->base + e->offset - skip;
        p->matrix[i]->panel_bytes = pack_panel_bytes(e->type, e->n_in);
    }
}

int packed_load(const struct gguf *g, struct weights *w, int n_layer, const struct model_opts *o,
                struct packed *ret, struct err *err)
{
    struct packer p = {.g = g, .o = o, .kernels = o->kernels, .fd = -1};
    int64_t start = clock_ns();
    *ret = (struct packed){.report = {.from = PACK_NOTHING}};
    if (o->pack != NULL)
        memcpy(p.table.key, o->pack->key, sizeof(p.table.key));
    int rc = collect(&p, w, n_layer, err);
    if (rc == 0 && p.table.n > 0) {
        rc = cut(&p, err);
        rc = rc != 0 ? rc : obtain(&p, ret, err);
        if (rc == 0) {
            ret->base = p.base;
            ret->report.bytes = p.table.file_bytes - p.table.head_bytes;
            point(&p, ret);
        }
    }
    ret->report.ms = (double)(clock_ns() - start) * 1e-6;
    free(p.table.entry);
    free(p.matrix);
    free(p.piece);
    free(p.hash);
    mem_free_aligned(p.buffer);
    return rc;
}

void packed_release(struct packed *p)
{
    if (p->base != NULL)
        munmap(p->base, p->len);
    *p = (struct packed){0};
}
