/*
 * quantize_model: see the header. Owns which tensors stay as they are; must not know processes or
 * libraries of models.
 */
#include "model/quantize_model.h"

#include "base/check.h"
#include "base/mem.h"
#include "tensor/quantize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_ELEMS    (1u << 16) /* of an item; a multiple of every block */
#define ITEMS_A_THREAD 4          /* between two looks at whether to go on */

struct piece {
    float *real;     /* [CHUNK_ELEMS] */
    uint8_t *blocks; /* [CHUNK_ELEMS * 4] */
};

struct quantize_plan {
    const struct gguf *g;
    struct gguf_writer *w;
    enum dtype *type; /* [n tensors] */
    enum dtype source;
    uint64_t n_bytes; /* of the source's tensors */
};

/* Every type that the mix may give: its own, those of more bits beside it, and those of rows that
 * blocks do not divide. */
const struct quant_mix *quantize_mix_find(const char *name)
{
    static const char *const made[] = {"F32",    "F16",    "BF16", "Q8_0", "Q6_K",
                                       "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_1",
                                       "Q4_K_M", "Q4_K_S", "Q4_0"};
    const struct quant_mix *mix = quant_mix_find(name);
    for (size_t i = 0; mix != NULL && i < ARRAY_LEN(made); i++)
        if (strcmp(mix->name, made[i]) == 0)
            return mix;
    return NULL;
}

/* ---- what becomes of each tensor ---- */

static bool is_float(enum dtype t)
{
    return t == DTYPE_F32 || t == DTYPE_F16 || t == DTYPE_BF16 || t == DTYPE_F64;
}

/* Read element by element, or so small that nothing is gained. */
static bool stays(const char *name, const struct gguf_tensor *t)
{
    static const char *const part[] = {
        "position_embd.",       "token_types.",       "pos_embd.",    "rel_b.", "ssm_conv1d.",
        "shortconv.conv",       "time_mix_",          "_norm.weight", "altup",  "laurel",
        "per_layer_model_proj", "ffn_gate_inp.weight"};
    struct str n = str_z(name);
    if (t->n_dims < 2 || !str_ends(n, STR("weight")) || !is_float(t->type))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(part); i++)
        if (str_find(n, str_z(part[i])) >= 0)
            return true;
    return false;
}

static uint64_t first_of(const struct gguf *g, const char *arch, const char *key, uint64_t other)
{
    char name[128];
    snprintf(name, sizeof name, "%s.%s", arch, key);
    const struct gguf_kv *kv = gguf_find(g, name);
    if (kv == NULL || kv->n == 0 || !gguf_type_is_int(kv->elem_type))
        return other;
    int64_t v = gguf_arr_i64(kv, 0);
    return v < 0 ? 0 : v > (1 << 20) ? 1 << 20 : (uint64_t)v;
}

static struct quant_model model_of(const struct gguf *g)
{
    struct str text = STR("");
    char arch[64];
    if (gguf_get_str(g, "general.architecture", &text, NULL) != 0)
        text = STR("");
    snprintf(arch, sizeof arch, "%.*s", (int)(text.len < 63 ? text.len : 63), text.ptr);
    struct quant_model m = {.n_layer = (int)first_of(g, arch, "block_count", 0),
                            .n_head = (int)first_of(g, arch, "attention.head_count", 0),
                            .n_expert = (int)first_of(g, arch, "expert_count", 0),
                            .tied = gguf_find_tensor(g, "output.weight") == NULL};
    m.n_head_kv = (int)first_of(g, arch, "attention.head_count_kv", (uint64_t)m.n_head);
    m.is_70b = strcmp(arch, "llama") == 0 && m.n_layer == 80 && m.n_head != m.n_head_kv;
    return m;
}

static int layer_of(const char *name)
{
    int layer;
    return sscanf(name, "blk.%6d.", &layer) == 1 && layer >= 0 ? layer : -1;
}

static int add_tensor(struct quantize_plan *p, const struct quant_mix *mix,
                      const struct quant_model *m, size_t i, struct err *err)
{
    const struct gguf_tensor *t = gguf_tensor_at(p->g, i);
    char name[128];
    snprintf(name, sizeof name, "%.*s", (int)(t->name.len < 127 ? t->name.len : 127), t->name.ptr);
    p->type[i] = t->type;
    if (t->n_dims >= 2 && dtype_info((uint32_t)t->type)->block_elems > 1)
        return err_set(err, ERR_UNSUPPORTED,
                       "the model is quantized already (tensor %s is %s); make %s of its F16, BF16 "
                       "or F32 form",
                       name, dtype_name(t->type), mix->name);
    if (!stays(name, t)) {
        const struct quant_tensor q = {
            .name = name, .layer = layer_of(name), .n_dims = t->n_dims, .n_in = t->dim[0]};
        p->type[i] = quant_mix_type(mix, false, m, &q);
        CHECK(quantize_can(p->type[i]));
    }
    gguf_put_tensor(p->w, name, p->type[i], t->n_dims, t->dim);
    p->n_bytes += t->n_bytes;
    return 0;
}

static void put_keys(struct quantize_plan *p, const struct quant_mix *mix)
{
    static const char *const own[] = {"general.file_type", "general.quantization_version",
                                      "general.alignment"};
    for (size_t i = 0; i < gguf_n_kv(p->g); i++) {
        const struct gguf_kv *kv = gguf_kv_at(p->g, i);
        bool leave = str_starts(kv->key, STR("split."));
        for (size_t k = 0; k < ARRAY_LEN(own); k++)
            leave = leave || str_eq_z(kv->key, own[k]);
        if (!leave)
            gguf_put_kv(p->w, kv);
    }
    gguf_put_u32(p->w, "general.quantization_version", 2);
    gguf_put_u32(p->w, "general.file_type", (uint32_t)mix->file_type);
}

/* The type that most elements of matrices have. */
static enum dtype type_of_source(const struct gguf *g)
{
    uint64_t n[DTYPE_END] = {0};
    enum dtype most = DTYPE_F32;
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        if (t->n_dims >= 2)
            n[t->type] += t->n_elems;
        if (n[t->type] > n[most])
            most = t->type;
    }
    return most;
}

int quantize_plan_new(const struct gguf *g, const struct quant_mix *mix, struct quantize_plan **ret,
                      struct err *err)
{
    struct quantize_plan *p = mem_zero(1, sizeof *p);
    *p = (struct quantize_plan){.g = g, .w = gguf_writer_new(), .source = type_of_source(g)};
    p->type = mem_try_array(gguf_n_tensors(g) + 1, sizeof *p->type);
    int rc = p->type == NULL ? err_set(err, ERR_NOMEM, "no memory for the list of tensors") : 0;
    const struct quant_model m = model_of(g);
    if (rc == 0)
        put_keys(p, mix);
    for (size_t i = 0; rc == 0 && i < gguf_n_tensors(g); i++)
        rc = add_tensor(p, mix, &m, i, err);
    if (rc == 0)
        rc = gguf_writer_layout(p->w, err);
    if (rc == 0)
        *ret = p;
    else
        quantize_plan_free(p);
    return rc;
}

void quantize_plan_free(struct quantize_plan *p)
{
    if (p == NULL)
        return;
    gguf_writer_free(p->w);
    free(p->type);
    free(p);
}

const struct gguf_writer *quantize_plan_writer(const struct quantize_plan *p)
{
    return p->w;
}

const char *quantize_plan_source(const struct quantize_plan *p)
{
    return dtype_name(p->source);
}

/* ---- the work ---- */

struct run {
    const struct quantize_plan *p;
    struct gguf_out *out;
    struct piece *piece; /* [n threads] */
    struct err *fault;   /* [n threads] */
    size_t i_tensor;
    uint64_t first; /* item of the tensor */
};

static uint64_t bytes_of(enum dtype t, uint64_t n)
{
    const struct dtype_info *info = dtype_info((uint32_t)t);
    return n / (uint64_t)info->block_elems * (uint64_t)info->block_bytes;
}

/* Rows are whole blocks, so a piece of any rows is as well. */
static void quantize_item(void *ctx, int i_item, int i_thread)
{
    const struct run *r = ctx;
    struct err *err = &r->fault[i_thread];
    const struct gguf_tensor *t = gguf_tensor_at(r->p->g, r->i_tensor);
    enum dtype to = r->p->type[r->i_tensor];
    uint64_t at = (r->first + (uint64_t)i_item) * CHUNK_ELEMS;
    size_t n = t->n_elems - at < CHUNK_ELEMS ? (size_t)(t->n_elems - at) : CHUNK_ELEMS;
    const uint8_t *from = t->data + bytes_of(t->type, at);
    const void *made = from;
    if (err->code != 0)
        return;
    if (to != t->type) {
        struct piece *own = &r->piece[i_thread];
        made = own->blocks;
        if (!dequantize_row(t->type, from, own->real, n) ||
            !quantize_row(to, own->real, own->blocks, n)) {
            err_set(err, ERR_CORRUPT,
                    "tensor %.*s cannot become %s: a weight is no number, or larger than %.0f",
                    STR_ARG(t->name), dtype_name(to), (double)QUANTIZE_ABS_MAX);
            return;
        }
    }
    (void)!gguf_out_write(r->out, r->i_tensor, bytes_of(to, at), made, (size_t)bytes_of(to, n),
                          err);
}

static int first_fault(const struct run *r, int n_threads, struct err *err)
{
    for (int i = 0; i < n_threads; i++)
        if (r->fault[i].code != 0) {
            if (err != NULL)
                *err = r->fault[i];
            return r->fault[i].code;
        }
    return 0;
}

static int run_tensor(struct run *r, struct pool *pool, uint64_t before, quantize_fn fn, void *ctx,
                      struct err *err)
{
    const struct gguf_tensor *t = gguf_tensor_at(r->p->g, r->i_tensor);
    uint64_t n_items = (t->n_elems + CHUNK_ELEMS - 1) / CHUNK_ELEMS;
    uint64_t step = (uint64_t)pool_n_threads(pool) * ITEMS_A_THREAD;
    for (r->first = 0; r->first < n_items; r->first += step) {
        uint64_t n = n_items - r->first < step ? n_items - r->first : step;
        uint64_t end = r->first + n == n_items ? t->n_elems : (r->first + n) * CHUNK_ELEMS;
        pool_run(pool, quantize_item, r, (int)n);
        int rc = first_fault(r, pool_n_threads(pool), err);
        if (rc != 0)
            return rc;
        if (fn != NULL && !fn(ctx, before + bytes_of(t->type, end), r->p->n_bytes))
            return err_set(err, ERR_CANCELLED, "stopped before the file was whole");
    }
    gguf_let_go(r->p->g, t->data, t->n_bytes, false);
    return 0;
}

static bool make_pieces(struct run *r, int n_threads)
{
    r->piece = mem_try_array((size_t)n_threads, sizeof *r->piece);
    r->fault = mem_try_array((size_t)n_threads, sizeof *r->fault);
    bool ok = r->piece != NULL && r->fault != NULL;
    for (int i = 0; ok && i < n_threads; i++) {
        r->piece[i].real = mem_try_array(CHUNK_ELEMS, sizeof(float));
        r->piece[i].blocks = mem_try_array(CHUNK_ELEMS, sizeof(float));
        ok = r->piece[i].real != NULL && r->piece[i].blocks != NULL;
    }
    return ok;
}

static void free_pieces(struct run *r, int n_threads)
{
    for (int i = 0; r->piece != NULL && i < n_threads; i++) {
        free(r->piece[i].real);
        free(r->piece[i].blocks);
    }
    free(r->piece);
    free(r->fault);
}

int quantize_plan_run(const struct quantize_plan *p, struct pool *pool, struct gguf_out *out,
                      quantize_fn fn, void *ctx, struct err *err)
{
    struct run r = {.p = p, .out = out};
    int n_threads = pool_n_threads(pool);
    uint64_t done = 0;
    int rc = make_pieces(&r, n_threads) ? 0 : err_set(err, ERR_NOMEM, "no memory to quantize in");
    for (size_t i = 0; rc == 0 && i < gguf_n_tensors(p->g); i++) {
        r.i_tensor = i;
        rc = run_tensor(&r, pool, done, fn, ctx, err);
        done += gguf_tensor_at(p->g, i)->n_bytes;
    }
    free_pieces(&r, n_threads);
    return rc;
}
