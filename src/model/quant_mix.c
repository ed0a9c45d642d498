/*
 * quant_mix: see quant_mix.h. Owns the rules; must not know files or weights.
 */
#include "model/quant_mix.h"

#include "base/mem.h"
#include "base/str.h"

#include <string.h>

/* By general.file_type's numbers. */
enum file_type {
    FT_NONE = -1,
    FT_F32 = 0,
    FT_F16 = 1,
    FT_Q4_0 = 2,
    FT_Q4_1 = 3,
    FT_Q8_0 = 7,
    FT_Q5_0 = 8,
    FT_Q5_1 = 9,
    FT_Q2_K = 10,
    FT_Q3_K_S = 11,
    FT_Q3_K_M = 12,
    FT_Q3_K_L = 13,
    FT_Q4_K_S = 14,
    FT_Q4_K_M = 15,
    FT_Q5_K_S = 16,
    FT_Q5_K_M = 17,
    FT_Q6_K = 18,
    FT_IQ2_XXS = 19,
    FT_IQ2_XS = 20,
    FT_Q2_K_S = 21,
    FT_IQ3_XS = 22,
    FT_IQ3_XXS = 23,
    FT_IQ1_S = 24,
    FT_IQ4_NL = 25,
    FT_IQ3_S = 26,
    FT_IQ3_M = 27,
    FT_IQ2_S = 28,
    FT_IQ2_M = 29,
    FT_IQ4_XS = 30,
    FT_IQ1_M = 31,
    FT_BF16 = 32,
    FT_TQ1_0 = 36,
    FT_TQ2_0 = 37,
    FT_MXFP4_MOE = 38,
};

static const struct quant_mix mixes[] = {
    {"F32", FT_F32, DTYPE_F32, NULL},
    {"F16", FT_F16, DTYPE_F16, NULL},
    {"BF16", FT_BF16, DTYPE_BF16, NULL},
    {"Q8_0", FT_Q8_0, DTYPE_Q8_0, NULL},
    {"Q6_K", FT_Q6_K, DTYPE_Q6_K, NULL},
    {"Q5_K_M", FT_Q5_K_M, DTYPE_Q5_K, "Q5_K"},
    {"Q5_K_S", FT_Q5_K_S, DTYPE_Q5_K, NULL},
    {"Q5_1", FT_Q5_1, DTYPE_Q5_1, NULL},
    {"Q5_0", FT_Q5_0, DTYPE_Q5_0, NULL},
    {"Q4_K_M", FT_Q4_K_M, DTYPE_Q4_K, "Q4_K"},
    {"Q4_K_S", FT_Q4_K_S, DTYPE_Q4_K, NULL},
    {"Q4_1", FT_Q4_1, DTYPE_Q4_1, NULL},
    {"Q4_0", FT_Q4_0, DTYPE_Q4_0, NULL},
    {"IQ4_NL", FT_IQ4_NL, DTYPE_IQ4_NL, NULL},
    {"IQ4_XS", FT_IQ4_XS, DTYPE_IQ4_XS, NULL},
    {"MXFP4", FT_NONE, DTYPE_MXFP4, NULL},
    {"MXFP4_MOE", FT_MXFP4_MOE, DTYPE_MXFP4, NULL},
    {"Q3_K_L", FT_Q3_K_L, DTYPE_Q3_K, NULL},
    {"Q3_K_M", FT_Q3_K_M, DTYPE_Q3_K, "Q3_K"},
    {"Q3_K_S", FT_Q3_K_S, DTYPE_Q3_K, NULL},
    {"IQ3_M", FT_IQ3_M, DTYPE_IQ3_S, NULL},
    {"IQ3_S", FT_IQ3_S, DTYPE_IQ3_S, NULL},
    {"IQ3_XS", FT_IQ3_XS, DTYPE_IQ3_S, NULL},
    {"IQ3_XXS", FT_IQ3_XXS, DTYPE_IQ3_XXS, NULL},
    {"Q2_K", FT_Q2_K, DTYPE_Q2_K, NULL},
    {"Q2_K_S", FT_Q2_K_S, DTYPE_Q2_K, NULL},
    {"IQ2_M", FT_IQ2_M, DTYPE_IQ2_S, NULL},
    {"IQ2_S", FT_IQ2_S, DTYPE_IQ2_XS, NULL},
    {"IQ2_XS", FT_IQ2_XS, DTYPE_IQ2_XS, NULL},
    {"IQ2_XXS", FT_IQ2_XXS, DTYPE_IQ2_XXS, NULL},
    {"TQ2_0", FT_TQ2_0, DTYPE_TQ2_0, NULL},
    {"TQ1_0", FT_TQ1_0, DTYPE_TQ1_0, NULL},
    {"IQ1_M", FT_IQ1_M, DTYPE_IQ1_M, NULL},
    {"IQ1_S", FT_IQ1_S, DTYPE_IQ1_S, NULL},
};

int quant_mix_count(void)
{
    return (int)ARRAY_LEN(mixes);
}

const struct quant_mix *quant_mix_at(int i)
{
    return &mixes[i];
}

const struct quant_mix *quant_mix_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(mixes); i++)
        if (str_eq_nocase(str_z(name), str_z(mixes[i].name)) ||
            (mixes[i].alias != NULL && str_eq_nocase(str_z(name), str_z(mixes[i].alias))))
            return &mixes[i];
    return NULL;
}

/* ---- the rules ---- */

struct rule {
    const struct quant_mix *mix;
    const struct quant_model *m;
    int layer, n_layer;
};

static bool is(const struct rule *r, enum file_type ft)
{
    return r->mix->file_type == (int)ft;
}

static bool among(const struct rule *r, const enum file_type *ft, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (is(r, ft[i]))
            return true;
    return false;
}
#define AMONG(r, ...)                                                                              \
    among(r, (const enum file_type[]){__VA_ARGS__},                                                \
          sizeof((const enum file_type[]){__VA_ARGS__}) / sizeof(enum file_type))

/* The files of under three bits, which have rules of their own. */
static bool is_tiny(const struct rule *r)
{
    return AMONG(r, FT_IQ1_S, FT_IQ1_M, FT_IQ2_XXS, FT_IQ2_XS, FT_IQ2_S, FT_IQ2_M);
}

static bool is_iq2_upper(const struct rule *r)
{
    return AMONG(r, FT_IQ2_S, FT_IQ2_M);
}

/* The first and last eighth of the layers, and every third between. */
static bool more_bits(const struct rule *r)
{
    int eighth = r->n_layer / 8;
    return r->layer < eighth || r->layer >= 7 * r->n_layer / 8 || (r->layer - eighth) % 3 == 2;
}

static bool gqa4(const struct rule *r)
{
    return r->m->n_head_kv > 0 && r->m->n_head / r->m->n_head_kv >= 4;
}

static enum dtype output_type(const struct rule *r, uint64_t n_in)
{
    const struct dtype_info *info = dtype_info((uint32_t)r->mix->base);
    if (r->mix->base == DTYPE_MXFP4 || r->mix->base == DTYPE_Q8_0 ||
        n_in % (uint64_t)info->block_elems != 0)
        return DTYPE_Q8_0;
    if (is_tiny(r) || is(r, FT_IQ3_XXS))
        return DTYPE_Q5_K;
    return DTYPE_Q6_K;
}

static enum dtype embedding_type(const struct rule *r)
{
    if (AMONG(r, FT_IQ2_XXS, FT_IQ2_XS, FT_IQ1_S, FT_IQ1_M))
        return DTYPE_Q2_K;
    if (is_iq2_upper(r) || is(r, FT_IQ3_XXS))
        return DTYPE_IQ3_S;
    if (AMONG(r, FT_TQ1_0, FT_TQ2_0))
        return DTYPE_Q4_K;
    return r->mix->base == DTYPE_MXFP4 ? DTYPE_Q8_0 : r->mix->base;
}

static enum dtype v_type_dense(const struct rule *r)
{
    if (is(r, FT_Q2_K))
        return gqa4(r) ? DTYPE_Q4_K : DTYPE_Q3_K;
    if (AMONG(r, FT_Q2_K_S, FT_IQ3_XXS, FT_IQ3_XS, FT_IQ3_S))
        return gqa4(r) ? DTYPE_Q4_K : r->mix->base;
    if (is(r, FT_IQ3_M))
        return DTYPE_Q4_K;
    if (is(r, FT_Q3_K_M))
        return r->layer < 2 ? DTYPE_Q5_K : DTYPE_Q4_K;
    if (is(r, FT_Q3_K_L))
        return DTYPE_Q5_K;
    if (AMONG(r, FT_IQ4_NL, FT_IQ4_XS))
        return gqa4(r) ? DTYPE_Q5_K : r->mix->base;
    if (AMONG(r, FT_Q4_K_M, FT_Q5_K_M) && more_bits(r))
        return DTYPE_Q6_K;
    if (is(r, FT_Q4_K_S) && r->layer < 4)
        return DTYPE_Q5_K;
    return r->mix->base;
}

static enum dtype v_type(const struct rule *r)
{
    if (is_tiny(r)) {
        if (gqa4(r) || r->m->n_expert >= 4)
            return DTYPE_Q4_K;
        return is_iq2_upper(r) ? DTYPE_IQ3_S : DTYPE_Q2_K;
    }
    if (r->m->n_expert == 8)
        return DTYPE_Q8_0;
    enum dtype t = v_type_dense(r);
    if (r->m->is_70b && (t == DTYPE_Q3_K || t == DTYPE_Q4_K))
        return DTYPE_Q5_K;
    return t;
}

static enum dtype q_or_k_type(const struct rule *r, bool k)
{
    if (k && r->m->n_expert == 8)
        return is_tiny(r) ? DTYPE_Q4_K : DTYPE_Q8_0;
    if (is(r, FT_IQ3_XS))
        return DTYPE_IQ3_XXS;
    return is(r, FT_IQ3_XXS) ? DTYPE_IQ2_S : r->mix->base;
}

static enum dtype attn_output_type(const struct rule *r)
{
    if (r->m->n_expert == 8) {
        bool five =
            is_tiny(r) || AMONG(r, FT_Q2_K, FT_IQ3_XS, FT_IQ3_XXS, FT_Q3_K_S, FT_Q3_K_M, FT_IQ4_NL,
                                FT_Q4_K_S, FT_Q4_K_M, FT_IQ3_S, FT_IQ3_M, FT_IQ4_XS);
        return five ? DTYPE_Q5_K : r->mix->base;
    }
    if (AMONG(r, FT_IQ1_S, FT_IQ1_M))
        return DTYPE_IQ2_XXS;
    if (is_iq2_upper(r) || is(r, FT_IQ3_XXS))
        return DTYPE_IQ3_S;
    if (is(r, FT_Q2_K))
        return DTYPE_Q3_K;
    if (AMONG(r, FT_Q3_K_M, FT_IQ3_M))
        return DTYPE_Q4_K;
    return is(r, FT_Q3_K_L) ? DTYPE_Q5_K : r->mix->base;
}

static enum dtype ffn_down_type(const struct rule *r)
{
    bool first_eighth = r->layer < r->n_layer / 8;
    if (is_tiny(r)) {
        if (!first_eighth)
            return r->mix->base;
        return is_iq2_upper(r) ? DTYPE_IQ3_S : DTYPE_Q2_K;
    }
    if (is(r, FT_Q2_K))
        return DTYPE_Q3_K;
    if (is(r, FT_Q2_K_S))
        return first_eighth ? DTYPE_Q4_K : r->mix->base;
    if (is(r, FT_Q3_K_M))
        return r->layer < r->n_layer / 16 ? DTYPE_Q5_K : DTYPE_Q4_K;
    if (is(r, FT_IQ3_M))
        return first_eighth || (r->m->n_expert == 8 && more_bits(r)) ? DTYPE_Q4_K : r->mix->base;
    if (is(r, FT_Q3_K_L))
        return DTYPE_Q5_K;
    if (AMONG(r, FT_Q4_K_M, FT_Q5_K_M))
        return more_bits(r) ? DTYPE_Q6_K : r->mix->base;
    if (AMONG(r, FT_IQ4_NL, FT_IQ4_XS, FT_Q4_K_S))
        return first_eighth ? DTYPE_Q5_K : r->mix->base;
    return r->mix->base;
}

static enum dtype gate_or_up_type(const struct rule *r)
{
    bool middle = r->layer >= r->n_layer / 8 && r->layer < 7 * r->n_layer / 8;
    return is(r, FT_IQ3_XS) && middle ? DTYPE_IQ3_XXS : r->mix->base;
}

static bool has(const char *name, const char *part)
{
    return strstr(name, part) != NULL;
}

static enum dtype mixed_type(const struct rule *r, const struct quant_tensor *t)
{
    const char *n = t->name;
    bool embedding = strcmp(n, "token_embd.weight") == 0;
    if (strcmp(n, "output.weight") == 0 || (embedding && r->m->tied))
        return output_type(r, t->n_in);
    if (is(r, FT_MXFP4_MOE)) /* llama.cpp asks for a third dimension, which MLA's matrices have */
        return t->n_dims > 2 ? DTYPE_MXFP4 : DTYPE_Q8_0;
    if (embedding)
        return embedding_type(r);
    if (has(n, "attn_v.weight") || has(n, "attn_kv_b.weight"))
        return v_type(r);
    if (has(n, "attn_k.weight") || has(n, "attn_q.weight"))
        return q_or_k_type(r, has(n, "attn_k.weight"));
    if (has(n, "attn_output.weight"))
        return attn_output_type(r);
    if (has(n, "ffn_down"))
        return ffn_down_type(r);
    if (has(n, "ffn_gate") || has(n, "ffn_up"))
        return gate_or_up_type(r);
    return r->mix->base;
}

/* For rows that the blocks of the type do not divide. */
static enum dtype fallback(enum dtype t, uint64_t n_in)
{
    const struct dtype_info *info = dtype_info((uint32_t)t);
    if (n_in % (uint64_t)info->block_elems == 0)
        return t;
    if (n_in % 32 != 0)
        return DTYPE_F16;
    switch (t) {
    case DTYPE_Q2_K:
    case DTYPE_Q3_K:
    case DTYPE_TQ1_0:
    case DTYPE_TQ2_0:
        return DTYPE_Q4_0;
    case DTYPE_Q4_K:
        return DTYPE_Q5_0;
    case DTYPE_Q5_K:
        return DTYPE_Q5_1;
    case DTYPE_Q6_K:
        return DTYPE_Q8_0;
    default: /* the codebook types */
        return DTYPE_IQ4_NL;
    }
}

static bool stays_f32(const struct quant_tensor *t)
{
    return t->n_dims < 2 || has(t->name, "_norm.weight") || has(t->name, "ffn_gate_inp.weight");
}

enum dtype quant_mix_type(const struct quant_mix *mix, bool pure, const struct quant_model *m,
                          const struct quant_tensor *t)
{
    if (stays_f32(t))
        return DTYPE_F32;
    const struct rule r = {.mix = mix, .m = m, .layer = t->layer, .n_layer = m->n_layer};
    bool quantized = dtype_info((uint32_t)mix->base)->block_elems > 1;
    enum dtype type = quantized && !pure ? mixed_type(&r, t) : mix->base;
    return fallback(type, t->n_in);
}
