/*
 * llama_text: bodies and answers of llama-server's small questions about texts and tokens.
 */
#include "api/fields.h"
#include "api/llama.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stddef.h>

static int need_object(const json_t *body, struct err *err)
{
    return json_is_object(body) ? 0 : err_set(err, ERR_INVALID, "the body must be a JSON object");
}

static const struct api_field tokenize_fields[] = {
    {"model", API_STR, API_HONOURED, .offset = offsetof(struct llama_tokenize, model)},
    {"content", API_STR, API_HONOURED, .offset = offsetof(struct llama_tokenize, content)},
    {"add_special", API_BOOL, API_HONOURED, .offset = offsetof(struct llama_tokenize, add_special)},
    {"parse_special", API_BOOL, API_HONOURED,
     .offset = offsetof(struct llama_tokenize, parse_special)},
    {"with_pieces", API_BOOL, API_HONOURED, .offset = offsetof(struct llama_tokenize, with_pieces)},
};

int llama_tokenize_parse(const json_t *body, struct llama_tokenize *ret, struct err *err)
{
    struct llama_tokenize t = {.parse_special = true};
    int code = need_object(body, err);
    code = code != 0
               ? code
               : api_fields_read(tokenize_fields, ARRAY_LEN(tokenize_fields), body, "", &t, err);
    if (code == 0 && !json_is_string(json_object_get(body, "content")))
        code = err_set_param(err, ERR_INVALID, "content", "'content' is missing");
    if (code == 0)
        *ret = t;
    return code;
}

/* A piece travels with byte b as the character U+00b; what is no text is told as bytes. */
static void write_piece(struct str piece, struct buf *out)
{
    struct buf bytes;
    buf_init(&bytes, piece.len + 1);
    for (size_t i = 0; i < piece.len; i++) {
        unsigned char c = (unsigned char)piece.ptr[i];
        if (c >= 0xc0 && i + 1 < piece.len)
            buf_add_char(&bytes, (char)((c & 3) << 6 | ((unsigned char)piece.ptr[++i] & 0x3f)));
        else
            buf_add_char(&bytes, (char)c);
    }
    json_t *text = json_stringn(bytes.ptr != NULL ? bytes.ptr : "", bytes.len);
    if (text != NULL) {
        json_write_string(buf_str(&bytes), out);
    } else {
        for (size_t i = 0; i < bytes.len; i++)
            buf_printf(out, "%c%u", i == 0 ? '[' : ',', (unsigned)(unsigned char)bytes.ptr[i]);
        buf_add_char(out, ']');
    }
    json_decref(text);
    buf_release(&bytes);
}

bool llama_tokenize_write(const json_t *tokens, const json_t *pieces, struct buf *out)
{
    buf_add_z(out, "{\"tokens\":[");
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        int64_t id = json_integer_value(json_array_get(tokens, i));
        if (i > 0)
            buf_add_char(out, ',');
        buf_printf(out, pieces != NULL ? "{\"id\":%" PRId64 ",\"piece\":" : "%" PRId64, id);
        if (pieces == NULL)
            continue;
        write_piece(json_str(json_array_get(pieces, i)), out);
        buf_add_char(out, '}');
    }
    buf_add_z(out, "]}");
    return !out->overflow;
}

static int take_tokens(const char *name, const json_t *value, void *into, struct err *err)
{
    if (!json_is_array(value))
        return api_wrong_type(name, "an array of token ids", value, err);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *id = json_array_get(value, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) > INT32_MAX)
            return err_set_param(err, ERR_INVALID, name, "'%s': item %zu is not a token id", name,
                                 i);
    }
    ((struct llama_detokenize *)into)->tokens = value;
    return 0;
}

static const struct api_field detokenize_fields[] = {
    {"model", API_STR, API_HONOURED, .offset = offsetof(struct llama_detokenize, model)},
    {"tokens", API_ANY, API_HONOURED, .take = take_tokens},
};

int llama_detokenize_parse(const json_t *body, struct llama_detokenize *ret, struct err *err)
{
    struct llama_detokenize d = {0};
    int code = need_object(body, err);
    code = code != 0 ? code
                     : api_fields_read(detokenize_fields, ARRAY_LEN(detokenize_fields), body, "",
                                       &d, err);
    if (code == 0 && d.tokens == NULL)
        code = err_set_param(err, ERR_INVALID, "tokens", "'tokens' is missing");
    if (code == 0)
        *ret = d;
    return code;
}

const struct api_form llama_tokenize_form = {tokenize_fields, ARRAY_LEN(tokenize_fields)};
const struct api_form llama_detokenize_form = {detokenize_fields, ARRAY_LEN(detokenize_fields)};
