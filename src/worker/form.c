/*
 * form: see the header.
 */
#include "worker/form.h"
#include "base/mem.h"
#include "grammar/gbnf.h"
#include "grammar/regex.h"
#include "grammar/schema.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define KEY_BYTES_MAX   (8u << 20)
#define FORMS_MAX       64
#define FORMS_BYTES_MAX (64u << 20) /* of those that are kept, with their masks */
#define PIECE_BYTES_MAX (1u << 20)
#define ALIVE_BYTES_MAX (256u << 20) /* of grammars, with those that answers hold */
#define FORCED_MAX      1024         /* tokens */

struct form {
    struct form *next; /* used longer ago */
    char *key;         /* the request's words */
    size_t key_len;
    struct grammar *grammar; /* a reference */
};

struct forms {
    const struct tokenizer *tokenizer;
    int n_vocab;
    pthread_mutex_t lock; /* all below */
    struct vocabulary *vocabulary;
    struct form *form; /* the last used first */
};

/* ---- birth and death ---- */

struct forms *forms_new(const struct tokenizer *tokenizer, int n_vocab)
{
    struct forms *f = mem_zero(1, sizeof(*f));
    f->tokenizer = tokenizer;
    f->n_vocab = n_vocab;
    pthread_mutex_init(&f->lock, NULL);
    return f;
}

static void form_free(struct form *form)
{
    grammar_unref(form->grammar);
    free(form->key);
    free(form);
}

void forms_free(struct forms *f)
{
    if (!f)
        return;
    while (f->form) {
        struct form *form = f->form;
        f->form = form->next;
        form_free(form);
    }
    vocabulary_free(f->vocabulary);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

/* ---- the vocabulary ---- */

/* What each token adds; where[i] is the end of token i in `all`. */
static bool collect_pieces(const struct forms *f, struct buf *all, size_t *where)
{
    bool ok = true;
    for (int i = 0; i < f->n_vocab && ok; i++) {
        bool exists = (size_t)i < tokenizer_n_vocab(f->tokenizer);
        if (exists && tokenizer_is_control(f->tokenizer, i))
            ok = buf_add_str(all, tokenizer_token_text(f->tokenizer, i));
        else if (exists)
            ok = tokenizer_piece(f->tokenizer, i, false, all);
        where[i] = all->len;
    }
    return ok;
}

static int make_vocabulary(struct forms *f, struct err *err)
{
    struct buf all;
    buf_init(&all, 256u << 20);
    size_t n = (size_t)f->n_vocab;
    size_t *where = mem_try_array(n, sizeof(*where));
    struct vocabulary_token *token = mem_try_array(n, sizeof(*token));
    int rc = where && token && collect_pieces(f, &all, where)
                 ? 0
                 : err_set(err, ERR_NOMEM, "no memory for the vocabulary's texts");
    for (size_t i = 0; rc == 0 && i < n; i++) {
        size_t from = i > 0 ? where[i - 1] : 0;
        token[i] = (struct vocabulary_token){
            .bytes = str_sub(buf_str(&all), from, where[i] - from),
            .is_control = tokenizer_is_control(f->tokenizer, (token_id)i),
            .is_end = tokenizer_is_eog(f->tokenizer, (token_id)i),
        };
    }
    rc = rc != 0 ? rc : vocabulary_new(token, n, &f->vocabulary, err);
    free(token);
    free(where);
    buf_release(&all);
    return rc;
}

/* ---- what is forced ---- */

int32_t form_force(void *ctx, struct str text)
{
    const struct tokenizer *t = ctx;
    struct tokens tokens;
    struct buf piece;
    struct err err;
    int32_t token = -1;
    tokens_init(&tokens, FORCED_MAX);
    buf_init(&piece, PIECE_BYTES_MAX);
    if (tokenizer_encode(t, text, 0, &tokens, &err) == 0 && tokens.len > 1 &&
        tokenizer_piece(t, tokens.id[0], false, &piece) && piece.len > 0 &&
        str_starts(text, buf_str(&piece)))
        token = tokens.id[0];
    buf_release(&piece);
    tokens_release(&tokens);
    return token;
}

/* ---- from a request to a grammar ---- */

bool form_is_wanted(const struct gen_request *r, const struct form_place *p)
{
    return r->constraint != NULL || tool_form_is_wanted(r, p);
}

static gexpr choice_expr(struct grammar_builder *b, const json_t *choices, const char *param,
                         struct err *err)
{
    size_t n = json_array_size(choices);
    gexpr *e = mem_try_array(n, sizeof(*e));
    if (!e || n == 0) {
        err_set_param(err, n == 0 ? ERR_INVALID : ERR_NOMEM, param, "%s: there is no choice",
                      param);
        free(e);
        return -1;
    }
    for (size_t i = 0; i < n; i++)
        e[i] = grammar_literal(b, json_str(json_array_get(choices, i)));
    gexpr all = grammar_alt(b, e, n);
    free(e);
    if (all < 0)
        err_set_param(err, ERR_LIMIT, param, "%s: the choices are too many, or too long", param);
    return all;
}

gexpr form_constraint(struct grammar_builder *b, const json_t *c, struct err *err)
{
    struct str type = json_str(json_object_get(c, "type"));
    const char *param = json_string_value(json_object_get(c, "param"));
    const struct regex_options regex = {.search = false};
    param = param ? param : "response_format";
    if (str_eq_z(type, "regex"))
        return regex_expr(b, json_str(json_object_get(c, "pattern")), &regex, param, err);
    if (str_eq_z(type, "gbnf"))
        return gbnf_expr(b, json_str(json_object_get(c, "grammar")), param, err);
    if (str_eq_z(type, "choice"))
        return choice_expr(b, json_object_get(c, "choices"), param, err);
    const struct schema_options o = {.strict = json_is_true(json_object_get(c, "strict"))};
    if (str_eq_z(type, "json"))
        return schema_any_object(b, &o);
    if (str_eq_z(type, "schema"))
        return schema_expr(b, json_object_get(c, "schema"), &o, param, err);
    err_set_param(err, ERR_UNSUPPORTED, param, "%s: answers of the form '%.*s' are not served",
                  param, STR_ARG(type));
    return -1;
}

gexpr form_expr(struct grammar_builder *b, const struct gen_request *r, const struct form_place *p,
                struct err *err)
{
    gexpr answer = r->constraint ? form_constraint(b, r->constraint, err) : -1;
    if (r->constraint && answer < 0)
        return answer;
    if (tool_form_is_wanted(r, p))
        answer = tool_form_expr(b, r, p, answer, err);
    return answer < 0 ? answer : tool_form_thoughts(b, r, p, answer);
}

static int build(const struct gen_request *r, const struct form_place *p, struct grammar **ret,
                 struct err *err)
{
    struct grammar_builder *b = grammar_builder_new();
    *err = (struct err){0};
    gexpr root = form_expr(b, r, p, err);
    int rc = root < 0 && err->code != 0 ? err->code : grammar_finish(b, root, ret, err);
    grammar_builder_free(b);
    return rc;
}

/* Schemas that are too much, or more than can be enforced: the calls keep to their frame. */
static bool may_loosen(const struct gen_request *r, const struct form_place *p,
                       const struct err *err)
{
    return tool_form_is_wanted(r, p) && !tool_form_is_strict(r) &&
           (err->code == ERR_LIMIT || err->code == ERR_UNSUPPORTED) &&
           (err->param[0] == '\0' || strcmp(err->param, "tools") == 0);
}

static int compile(const struct gen_request *r, const struct form_place *p, struct grammar **ret,
                   struct err *err)
{
    struct form_place loose = *p;
    struct err own;
    int rc = build(r, p, ret, &own);
    loose.any_args = true;
    if (rc != 0 && may_loosen(r, p, &own))
        rc = build(r, &loose, ret, &own);
    const char *param = json_string_value(json_object_get(r->constraint, "param"));
    param = param ? param : r->constraint ? "response_format" : "tools";
    if (rc != 0 && own.param[0] == '\0')
        err_set_param(err, own.code, param, "%s: %s", param, own.text);
    else if (rc != 0 && err)
        *err = own;
    return rc;
}

/* ---- those that were made ---- */

/* What the grammar depends on. */
static bool make_key(const struct gen_request *r, const struct form_place *p, struct buf *key)
{
    bool tools = tool_form_is_wanted(r, p);
    buf_init(key, KEY_BYTES_MAX);
    buf_printf(key, "%d %d %d %d %d %d %d %s\n", p->dialect != NULL, p->in_thought, p->in_call,
               p->in_final, (int)r->think, (int)r->tool_choice, r->one_tool_call,
               tools && r->tool_name ? r->tool_name : "");
    if (tools)
        json_write(json_object_get(r->chat, "tools"), key);
    buf_add_char(key, '\n');
    return r->constraint ? json_write(r->constraint, key) : !key->overflow;
}

static struct form **find(struct forms *f, struct str key)
{
    struct form **at = &f->form;
    while (*at && !str_eq((struct str){(*at)->key, (*at)->key_len}, key))
        at = &(*at)->next;
    return at;
}

static void use(struct forms *f, struct form **at)
{
    struct form *form = *at;
    *at = form->next;
    form->next = f->form;
    f->form = form;
}

/* The ones used longest ago go; the first stays in any case. */
static void trim(struct forms *f)
{
    uint64_t bytes = 0;
    int n = 0;
    for (struct form **at = &f->form; *at;) {
        struct form *form = *at;
        bytes += grammar_bytes(form->grammar) + form->key_len;
        if (n++ == 0 || (n <= FORMS_MAX && bytes <= FORMS_BYTES_MAX)) {
            at = &form->next;
            continue;
        }
        *at = form->next;
        form_free(form);
    }
}

static void keep(struct forms *f, struct buf *key, struct grammar *g)
{
    struct form *form = mem_zero(1, sizeof(*form));
    form->key_len = key->len;
    form->key = buf_steal(key);
    form->grammar = grammar_ref(g);
    form->next = f->form;
    f->form = form;
    trim(f);
}

/* Answers that wait hold grammars that are not kept any more: the next one waits in the gateway
 * until one is over. What goes on after the death of a worker had its place before. */
static int check_room(const struct gen_request *r, struct err *err)
{
    if (r->resume.prior || grammars_bytes() < ALIVE_BYTES_MAX)
        return 0;
    return err_set(err, ERR_BUSY, "the forms of the answers that are queued take too much memory");
}

static int find_or_compile(struct forms *f, const struct gen_request *r, const struct form_place *p,
                           struct buf *key, struct grammar **ret,
                           const struct vocabulary **ret_vocabulary, struct err *err)
{
    pthread_mutex_lock(&f->lock);
    int rc = f->vocabulary ? 0 : make_vocabulary(f, err);
    *ret_vocabulary = f->vocabulary; /* once there, it stays */
    struct form **at = find(f, buf_str(key));
    bool found = rc == 0 && *at;
    if (found) {
        use(f, at);
        *ret = grammar_ref(f->form->grammar);
    }
    pthread_mutex_unlock(&f->lock);
    if (rc != 0 || found)
        return rc;
    rc = check_room(r, err);
    rc = rc != 0 ? rc : compile(r, p, ret, err);
    if (rc != 0)
        return rc;
    pthread_mutex_lock(&f->lock);
    if (!*find(f, buf_str(key)))
        keep(f, key, *ret);
    pthread_mutex_unlock(&f->lock);
    return 0;
}

int forms_get(struct forms *f, const struct gen_request *r, const struct form_place *p,
              struct grammar **ret, const struct vocabulary **ret_vocabulary, struct err *err)
{
    struct buf key;
    int rc = make_key(r, p, &key) ? find_or_compile(f, r, p, &key, ret, ret_vocabulary, err)
                                  : err_set(err, ERR_LIMIT, "the answer's form is too long");
    buf_release(&key);
    return rc;
}
