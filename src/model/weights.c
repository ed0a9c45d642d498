/*
 * weights: see weights.h.
 */
#include "model/weights.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct loader {
    const struct gguf *g;
    const struct hparams *h;
    const struct kernels *kernels;
    struct weights *w;
    struct err *err;
    char name[96]; /* of the tensor at hand */
};

/* "blk.3.attn_q.weight"; layer < 0: a tensor that stands outside the layers. */
static const struct gguf_tensor *tensor(struct loader *l, int layer, const char *what)
{
    if (layer < 0)
        snprintf(l->name, sizeof(l->name), "%s", what);
    else
        snprintf(l->name, sizeof(l->name), "blk.%d.%s", layer, what);
    return gguf_find_tensor(l->g, l->name);
}

static int missing(struct loader *l)
{
    return err_set_param(l->err, ERR_CORRUPT, l->name, "tensor %s is missing", l->name);
}

static int wrong_shape(struct loader *l, const struct gguf_tensor *t, int n_in, int n_out)
{
    return err_set_param(l->err, ERR_CORRUPT, l->name,
                         "tensor %s has the shape %llu x %llu x %llu x %llu; the hyperparameters "
                         "ask for %d x %d",
                         l->name, (unsigned long long)t->dim[0], (unsigned long long)t->dim[1],
                         (unsigned long long)t->dim[2], (unsigned long long)t->dim[3], n_in, n_out);
}

/* n_row rows as float copies. *ret is NULL when they are absent and optional. */
static int table(struct loader *l, int layer, const char *what, int n, int n_row, bool optional,
                 const float **ret)
{
    const struct gguf_tensor *t = tensor(l, layer, what);
    *ret = NULL;
    if (t == NULL)
        return optional ? 0 : missing(l);
    size_t n_all = (size_t)n * (size_t)n_row;
    if (t->dim[0] != (uint64_t)n || t->n_elems != n_all)
        return wrong_shape(l, t, n, n_row);
    struct weights *w = l->w;
    size_t max = 16 * (N_LAYER_MAX + 1);
    if (!mem_grow((void **)&w->vector, &w->cap_vector, w->n_vector + 1, max, sizeof(float *)))
        return err_set(l->err, ERR_NOMEM, "out of memory for the model's vectors");
    float *copy = mem_try_aligned(n_all * sizeof(float));
    if (copy == NULL)
        return err_set(l->err, ERR_NOMEM, "out of memory for tensor %s", l->name);
    w->vector[w->n_vector++] = copy;
    if (t->data == NULL)
        return err_set(l->err, ERR_INVALID, "the file was opened without its tensors' data");
    if (!dequantize_row(t->type, t->data, copy, n_all))
        return err_set_param(l->err, ERR_UNSUPPORTED, l->name,
                             "tensor %s has the type %s, which holds no real numbers", l->name,
                             dtype_name(t->type));
    *ret = copy;
    return 0;
}

/* A vector as a float copy. */
static int vector(struct loader *l, int layer, const char *what, int n, bool optional,
                  const float **ret)
{
    return table(l, layer, what, n, 1, optional, ret);
}

static int norm(struct loader *l, int layer, const char *what, struct norm *ret)
{
    char name[64];
    snprintf(name, sizeof(name), "%s.weight", what);
    int rc = vector(l, layer, name, l->h->n_embd, false, &ret->w);
    snprintf(name, sizeof(name), "%s.bias", what);
    return rc != 0 ? rc : vector(l, layer, name, l->h->n_embd, false, &ret->b);
}

static int matrix(struct loader *l, int layer, const char *what, int n_in, int n_out,
                  struct matrix *ret)
{
    const struct gguf_tensor *t = tensor(l, layer, what);
    if (t == NULL)
        return missing(l);
    if (t->dim[0] != (uint64_t)n_in || t->dim[1] != (uint64_t)n_out ||
        t->n_elems != (uint64_t)n_in * (uint64_t)n_out)
        return wrong_shape(l, t, n_in, n_out);
    uint64_t stride = 0;
    if (l->kernels->mul[t->type] == NULL || !dtype_row_bytes(t->type, t->dim[0], &stride))
        return err_set_param(l->err, ERR_UNSUPPORTED, l->name,
                             "tensor %s has the type %s, which cannot be multiplied here", l->name,
                             dtype_name(t->type));
    /* Activations are quantized in blocks of 32. */
    if (l->kernels->mul_takes_a8[t->type] && n_in % 32 != 0)
        return err_set_param(l->err, ERR_CORRUPT, l->name,
                             "tensor %s has %d columns; quantized ones come in multiples of 32",
                             l->name, n_in);
    if (t->data == NULL)
        return err_set(l->err, ERR_INVALID, "the file was opened without its tensors' data");
    *ret = (struct matrix){
        .data = t->data, .stride = (size_t)stride, .type = t->type, .n_in = n_in, .n_out = n_out};
    return 0;
}

/* With the bias of the same name: "attn_q" has attn_q.weight and perhaps attn_q.bias. */
static int matrix_bias(struct loader *l, int layer, const char *what, int n_in, int n_out,
                       bool bias_needed, struct matrix *ret)
{
    char name[64];
    snprintf(name, sizeof(name), "%s.weight", what);
    int rc = matrix(l, layer, name, n_in, n_out, ret);
    if (rc != 0)
        return rc;
    snprintf(name, sizeof(name), "%s.bias", what);
    return vector(l, layer, name, n_out, !bias_needed, &ret->bias);
}

/* Takes the first n rows of a fused matrix into *ret. */
static void take_rows(struct matrix *from, int n, struct matrix *ret)
{
    *ret = *from;
    ret->n_out = n;
    from->data += (size_t)n * from->stride;
    from->n_out -= n;
    if (from->bias != NULL)
        from->bias += n;
}

static int load_qkv(struct loader *l, int i, struct layer *ly)
{
    const struct hparams *h = l->h;
    bool bias = h->arch->qkv_bias;
    int n_q = h->n_head * h->head_dim; /* at most N_EMBD_QKV_MAX each, checked */
    int n_kv = h->n_head_kv * h->head_dim;
    int rc;
    if (tensor(l, i, "attn_qkv.weight") != NULL) {
        struct matrix qkv;
        if ((rc = matrix_bias(l, i, "attn_qkv", h->n_embd, n_q + 2 * n_kv, bias, &qkv)) != 0)
            return rc;
        take_rows(&qkv, n_q, &ly->q);
        take_rows(&qkv, n_kv, &ly->k);
        ly->v = qkv;
    } else if ((rc = matrix_bias(l, i, "attn_q", h->n_embd, n_q, bias, &ly->q)) != 0 ||
               (rc = matrix_bias(l, i, "attn_k", h->n_embd, n_kv, bias, &ly->k)) != 0 ||
               (rc = matrix_bias(l, i, "attn_v", h->n_embd, n_kv, bias, &ly->v)) != 0)
        return rc;
    if (h->arch->qk_norm &&
        ((rc = vector(l, i, "attn_q_norm.weight", h->head_dim, false, &ly->q_norm)) != 0 ||
         (rc = vector(l, i, "attn_k_norm.weight", h->head_dim, false, &ly->k_norm)) != 0))
        return rc;
    return matrix_bias(l, i, "attn_output", n_q, h->n_embd, false, &ly->attn_output);
}

static int load_ffn(struct loader *l, int i, struct layer *ly)
{
    const struct hparams *h = l->h;
    int rc;
    if (tensor(l, i, "ffn_gate.weight") == NULL) { /* gate's rows stand before up's in ffn_up */
        struct matrix both;
        if ((rc = matrix_bias(l, i, "ffn_up", h->n_embd, 2 * h->n_ff, false, &both)) != 0)
            return rc;
        take_rows(&both, h->n_ff, &ly->gate);
        ly->up = both;
    } else if ((rc = matrix_bias(l, i, "ffn_gate", h->n_embd, h->n_ff, false, &ly->gate)) != 0 ||
               (rc = matrix_bias(l, i, "ffn_up", h->n_embd, h->n_ff, false, &ly->up)) != 0)
        return rc;
    return matrix_bias(l, i, "ffn_down", h->n_ff, h->n_embd, false, &ly->down);
}

static int load_layer(struct loader *l, int i, struct layer *ly)
{
    int n = l->h->n_embd;
    bool post = l->h->arch->post_norm;
    int rc;
    if ((rc = vector(l, i, "attn_norm.weight", n, false, &ly->attn_norm)) != 0 ||
        (rc = load_qkv(l, i, ly)) != 0 ||
        (rc = vector(l, i, "ffn_norm.weight", n, false, &ly->ffn_norm)) != 0)
        return rc;
    if (post &&
        ((rc = vector(l, i, "post_attention_norm.weight", n, false, &ly->attn_post_norm)) != 0 ||
         (rc = vector(l, i, "post_ffw_norm.weight", n, false, &ly->ffn_post_norm)) != 0))
        return rc;
    return load_ffn(l, i, ly);
}

/* With a gate as decoders have it, or without. */
static int load_encoder_ffn(struct loader *l, int i, struct layer *ly)
{
    const struct hparams *h = l->h;
    int rc = 0;
    if (tensor(l, i, "ffn_gate.weight") != NULL)
        rc = matrix_bias(l, i, "ffn_gate", h->n_embd, h->n_ff, false, &ly->gate);
    rc = rc != 0 ? rc : matrix_bias(l, i, "ffn_up", h->n_embd, h->n_ff, false, &ly->up);
    return rc != 0 ? rc : matrix_bias(l, i, "ffn_down", h->n_ff, h->n_embd, false, &ly->down);
}

static int load_encoder_layer(struct loader *l, int i, struct layer *ly)
{
    int rc = load_qkv(l, i, ly);
    rc = rc != 0 ? rc : norm(l, i, "attn_output_norm", &ly->attn_out);
    rc = rc != 0 ? rc : load_encoder_ffn(l, i, ly);
    return rc != 0 ? rc : norm(l, i, "layer_output_norm", &ly->ffn_out);
}

/* Some files have the one layer as cls, others as cls.output; decoders have no other. */
static int load_head(struct loader *l, struct rank_head *head)
{
    int n = l->h->n_embd, n_label = l->h->n_label;
    bool two = gguf_find_tensor(l->g, "cls.output.weight") != NULL;
    int rc = 0;
    if (two && l->h->arch->encoder &&
        (rc = table(l, -1, "cls.weight", n, n, true, &head->dense)) == 0 && head->dense != NULL)
        rc = vector(l, -1, "cls.bias", n, true, &head->dense_bias);
    rc = rc != 0 ? rc
                 : table(l, -1, two ? "cls.output.weight" : "cls.weight", n, n_label, false,
                         &head->output);
    return rc != 0 ? rc
                   : vector(l, -1, two ? "cls.output.bias" : "cls.bias", n_label, true,
                            &head->output_bias);
}

static int load_encoder(struct loader *l)
{
    const struct hparams *h = l->h;
    struct weights *w = l->w;
    int rc = 0;
    if (h->arch->learned_positions)
        rc = table(l, -1, "position_embd.weight", h->n_embd, h->n_ctx_train, false, &w->position);
    if (rc == 0 && h->n_type > 0)
        rc = table(l, -1, "token_types.weight", h->n_embd, h->n_type, false, &w->type);
    rc = rc != 0 ? rc : norm(l, -1, "token_embd_norm", &w->embd_norm);
    for (int i = 0; i < h->n_layer && rc == 0; i++)
        rc = load_encoder_layer(l, i, &w->layer[i]);
    return rc != 0 || h->pooling != POOLING_RANK ? rc : load_head(l, &w->head);
}

static int load_rope(struct loader *l, int n_ctx)
{
    const struct hparams *h = l->h;
    const float **f = &l->w->rope_factor;
    int rc = vector(l, -1, "rope_freqs.weight", h->n_rot / 2, true, f);
    if (rc == 0 && *f == NULL)
        rc = vector(l, -1,
                    n_ctx > h->rope_n_ctx_orig ? "rope_factors_long.weight"
                                               : "rope_factors_short.weight",
                    h->n_rot / 2, true, f);
    if (rc != 0)
        return rc;
    for (int i = 0; *f != NULL && i < h->n_rot / 2; i++)
        if (!isfinite((*f)[i]) || (*f)[i] <= 0.0f)
            return err_set_param(l->err, ERR_CORRUPT, l->name,
                                 "tensor %s has the factor %g; factors are positive", l->name,
                                 (double)(*f)[i]);
    if (*f == NULL && h->rope_kind == ROPE_LONGROPE)
        return missing(l);
    return 0;
}

static int load_all(struct loader *l, int n_ctx)
{
    const struct hparams *h = l->h;
    struct weights *w = l->w;
    int rc;
    w->layer = mem_try_array((size_t)h->n_layer, sizeof(*w->layer));
    if (w->layer == NULL)
        return err_set(l->err, ERR_NOMEM, "out of memory for %d layers", h->n_layer);
    if ((rc = matrix(l, -1, "token_embd.weight", h->n_embd, h->n_vocab, &w->embd)) != 0)
        return rc;
    if (h->arch->encoder)
        return load_encoder(l);
    w->output = w->embd;
    if (tensor(l, -1, "output.weight") != NULL &&
        (rc = matrix_bias(l, -1, "output", h->n_embd, h->n_vocab, false, &w->output)) != 0)
        return rc;
    if ((rc = vector(l, -1, "output_norm.weight", h->n_embd, false, &w->output_norm)) != 0 ||
        (rc = load_rope(l, n_ctx)) != 0)
        return rc;
    for (int i = 0; i < h->n_layer; i++)
        if ((rc = load_layer(l, i, &w->layer[i])) != 0)
            return rc;
    return h->pooling == POOLING_RANK ? load_head(l, &w->head) : 0;
}

int weights_load(const struct gguf *g, const struct hparams *h, const struct kernels *kernels,
                 int n_ctx, struct weights *ret, struct err *err)
{
    *ret = (struct weights){.layer = NULL};
    struct loader l = {.g = g, .h = h, .kernels = kernels, .w = ret, .err = err};
    int rc = load_all(&l, n_ctx);
    if (rc != 0)
        weights_release(ret);
    return rc;
}

void weights_release(struct weights *w)
{
    for (size_t i = 0; i < w->n_vector; i++)
        mem_free_aligned(w->vector[i]);
    free(w->vector);
    free(w->layer);
    *w = (struct weights){.layer = NULL};
}
