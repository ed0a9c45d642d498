/*
 * question: see the header.
 */
#include "worker/question.h"
#include "base/mem.h"
#include "ipc/frame.h"
#include "worker/prompt.h"

#include <stdlib.h>

#define TEXT_TOKENS_MAX (16u << 20)

static json_t *no_memory(struct err *err)
{
    err_set(err, ERR_NOMEM, "no memory for the answer to a question");
    return NULL;
}

/* ---- tokenize ---- */

static int encode_text(const struct loaded *l, const json_t *frame, struct tokens *out,
                       struct err *err)
{
    bool special = false, bos = false;
    struct str text = {"", 0};
    int rc = json_get_bool(frame, "special", &special, err);
    rc = rc != 0 ? rc : json_get_bool(frame, "bos", &bos, err);
    rc = rc != 0 ? rc : json_get_str(frame, "text", &text, err);
    if (rc != 0)
        return rc;
    unsigned flags = (special ? TOKENIZE_SPECIAL : 0) | (bos ? TOKENIZE_BOS_EOS : 0);
    return tokenizer_encode(l->tokenizer, text, flags, out, err);
}

/* As the prompt of this request would be read. */
static int encode_request(const struct loaded *l, const json_t *request, struct tokens *out,
                          struct err *err)
{
    struct gen_request r;
    struct prompt_end end = {0};
    int rc = gen_request_from_json(request, &r, err);
    if (rc != 0)
        return rc;
    rc = prompt_tokens(l, &r, out, &end, err);
    prompt_end_release(&end);
    gen_request_release(&r);
    return rc;
}

/* Byte b travels as the character U+00b: half a character is no text. */
static json_t *piece_to_json(const struct tokenizer *t, token_id id, struct buf *piece,
                             struct buf *text)
{
    buf_clear(piece);
    buf_clear(text);
    tokenizer_piece(t, id, true, piece);
    for (size_t i = 0; i < piece->len; i++) {
        unsigned char byte = (unsigned char)piece->ptr[i];
        if (byte < 0x80) {
            buf_add_char(text, (char)byte);
        } else {
            buf_add_char(text, (char)(0xc0 | byte >> 6));
            buf_add_char(text, (char)(0x80 | (byte & 0x3f)));
        }
    }
    return json_stringn(text->ptr ? text->ptr : "", text->len);
}

static bool add_pieces(const struct loaded *l, const struct tokens *tokens, json_t *answer)
{
    struct buf piece, text;
    json_t *pieces = json_array();
    bool ok = pieces != NULL;
    buf_init(&piece, 1u << 20);
    buf_init(&text, 2u << 20);
    for (size_t i = 0; i < tokens->len && ok; i++)
        ok = json_array_append_new(pieces,
                                   piece_to_json(l->tokenizer, tokens->id[i], &piece, &text)) == 0;
    buf_release(&piece);
    buf_release(&text);
    return json_object_set_new(answer, "pieces", pieces) == 0 && ok;
}

static bool add_tokens(const struct tokens *tokens, json_t *answer)
{
    json_t *array = json_array();
    bool ok = array != NULL;
    for (size_t i = 0; i < tokens->len && ok; i++)
        ok = json_array_append_new(array, json_integer(tokens->id[i])) == 0;
    return json_object_set_new(answer, "tokens", array) == 0 && ok;
}

static json_t *answer_tokens(const struct loaded *l, const json_t *frame, uint64_t id,
                             struct err *err)
{
    struct tokens tokens;
    bool pieces = false, count = false;
    const json_t *request = json_object_get(frame, "request");
    json_t *answer = NULL;
    tokens_init(&tokens, TEXT_TOKENS_MAX);
    int rc = json_get_bool(frame, "pieces", &pieces, err);
    rc = rc != 0 ? rc : json_get_bool(frame, "count", &count, err);
    if (rc == 0)
        rc = request ? encode_request(l, request, &tokens, err)
                     : encode_text(l, frame, &tokens, err);
    if (rc == 0) {
        answer = json_pack("{s:s,s:I,s:I}", "t", "tokens", "id", (json_int_t)id, "n",
                           (json_int_t)tokens.len);
        if (!answer || (!count && !add_tokens(&tokens, answer)) ||
            (pieces && !add_pieces(l, &tokens, answer))) {
            json_decref(answer);
            answer = no_memory(err);
        }
    }
    tokens_release(&tokens);
    return answer;
}

/* ---- text ---- */

static json_t *text_frame(uint64_t id, const struct buf *text, struct err *err)
{
    json_t *value = json_stringn(text->ptr ? text->ptr : "", text->len);
    json_t *frame = json_pack("{s:s,s:I,s:o}", "t", "text", "id", (json_int_t)id, "text", value);
    if (!frame)
        err_set(err, ERR_TOO_LARGE, "the text is too large to send, or not UTF-8");
    return frame;
}

static int decode_tokens(const struct loaded *l, const json_t *frame, struct buf *out,
                         struct err *err)
{
    int32_t *token;
    size_t n;
    int rc = message_tokens(json_object_get(frame, "tokens"), &token, &n, err);
    if (rc != 0)
        return rc;
    struct detokenizer d;
    detokenizer_init(&d, l->tokenizer, true);
    d.special = true;
    bool ok = true;
    for (size_t i = 0; i < n && ok && rc == 0; i++) {
        if (token[i] < 0 || token[i] >= l->ready.n_vocab)
            rc = err_set_param(err, ERR_INVALID, "tokens",
                               "token %d does not exist: the model knows 0 to %lld", (int)token[i],
                               (long long)l->ready.n_vocab - 1);
        else
            ok = detokenizer_push(&d, token[i], out);
    }
    ok = ok && detokenizer_flush(&d, out);
    free(token);
    return rc != 0 || ok ? rc : err_set(err, ERR_TOO_LARGE, "the text is too large");
}

static int render(const struct loaded *l, const json_t *frame, struct buf *out, struct err *err)
{
    json_t *request = json_object_get(frame, "request");
    const json_t *generate = json_object_get(frame, "generate");
    struct gen_request r;
    if (generate) {
        int rc = gen_request_from_json(generate, &r, err);
        if (rc != 0)
            return rc;
        rc = r.kind == GEN_CHAT ? prompt_render(l, r.chat, &r, out, err)
                                : err_set_param(err, ERR_INVALID, "generate", "it is no chat");
        gen_request_release(&r);
        return rc;
    }
    if (!json_is_object(request))
        return err_set_param(err, ERR_INVALID, "request", "request must be an object");
    return prompt_render(l, request, NULL, out, err);
}

/* ---- the model ---- */

static json_t *text_json(struct str text)
{
    return json_stringn(text.ptr ? text.ptr : "", text.len);
}

static json_t *token_json(const struct loaded *l, token_id id)
{
    return text_json(id == TOKEN_NONE ? STR("") : tokenizer_token_text(l->tokenizer, id));
}

static json_t *describe(const struct loaded *l, uint64_t id, struct err *err)
{
    struct str source = STR("");
    if (gguf_get_str(l->gguf, "tokenizer.chat_template", &source, NULL) != 0)
        source = STR("");
    json_t *answer =
        json_pack("{s:s,s:I,s:o,s:o,s:o,s:b,s:b}", "t", "described", "id", (json_int_t)id,
                  "template", text_json(source), "bos", token_json(l, tokenizer_bos(l->tokenizer)),
                  "eos", token_json(l, tokenizer_eos(l->tokenizer)), "system",
                  chat_supports_system(l->chat), "tools", chat_supports_tools(l->chat));
    return answer ? answer : no_memory(err);
}

bool question_is(const json_t *frame)
{
    return message_is(frame, "tokenize") || message_is(frame, "detokenize") ||
           message_is(frame, "render") || message_is(frame, "describe");
}

json_t *question_answer(const struct loaded *l, const json_t *frame, uint64_t id, struct err *err)
{
    struct buf text;
    if (message_is(frame, "tokenize"))
        return answer_tokens(l, frame, id, err);
    if (message_is(frame, "describe"))
        return describe(l, id, err);
    buf_init(&text, FRAME_BYTES_MAX);
    int rc = message_is(frame, "render") ? render(l, frame, &text, err)
                                         : decode_tokens(l, frame, &text, err);
    json_t *answer = rc == 0 ? text_frame(id, &text, err) : NULL;
    buf_release(&text);
    return answer;
}
