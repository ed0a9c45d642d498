/*
 * jinja_value: failing and limits, strings, lists, dicts and walking over them.
 * Comparing and ordering: jinja_compare.c. Text forms: jinja_print.c.
 */
#include "text/jinja_value.h"

#include "base/mem.h"
#include "text/jinja_utf8.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BYTES_PER_STEP 64 /* what copying costs against the step limit */

/* --- failing and limits --- */

bool jfail(struct jrun *r, const char *fmt, ...)
{
    char text[500];
    va_list ap;
    if (r->fail_code)
        return false;
    r->fail_code = ERR_INVALID;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    err_set(r->err, ERR_INVALID, "line %u: %s", r->line, text);
    return false;
}

bool jfail_limit(struct jrun *r, const char *what, uint64_t max)
{
    if (r->fail_code)
        return false;
    r->fail_code = ERR_LIMIT;
    err_set(r->err, ERR_LIMIT, "line %u: the template passes the limit of %llu %s", r->line,
            (unsigned long long)max, what);
    return false;
}

bool jfail_undefined(struct jrun *r, struct jval v)
{
    const struct jundef *u = v.undef;
    if (!u)
        return jfail(r, "a value is undefined");
    if (u->text)
        return jfail(r, "%s", u->text);
    if (u->owner)
        return jfail(r, "'%s' object has no attribute '%.*s'", u->owner,
                     STR_ARG(str_sub(u->name, 0, 120)));
    return jfail(r, "'%.*s' is undefined", STR_ARG(str_sub(u->name, 0, 120)));
}

bool jstep(struct jrun *r, uint64_t cost)
{
    r->steps += cost;
    if (r->steps <= r->limits.steps_max)
        return true;
    return jfail_limit(r, "steps", r->limits.steps_max);
}

bool jenter(struct jrun *r)
{
    if (r->depth >= r->limits.depth_max)
        return jfail_limit(r, "levels of nesting", (uint64_t)r->limits.depth_max);
    r->depth++;
    return true;
}

void *jalloc(struct jrun *r, size_t bytes)
{
    void *p = arena_alloc(&r->arena, bytes);
    if (!p)
        jfail_limit(r, "bytes of memory", r->limits.memory_bytes_max);
    return p;
}

void *jalloc_array(struct jrun *r, size_t n, size_t bytes_each)
{
    size_t bytes;
    if (!size_mul(n, bytes_each, &bytes))
        bytes = SIZE_MAX;
    return jalloc(r, bytes);
}

const char *jtype_name(struct jval v)
{
    static const char *const NAMES[] = {
        [J_MISSING] = "missing",  [J_UNDEFINED] = "Undefined",
        [J_NONE] = "NoneType",    [J_BOOL] = "bool",
        [J_INT] = "int",          [J_FLOAT] = "float",
        [J_STR] = "str",          [J_LIST] = "list",
        [J_TUPLE] = "tuple",      [J_DICT] = "dict",
        [J_RANGE] = "range",      [J_VIEW] = "dict_view",
        [J_ITER] = "generator",   [J_NAMESPACE] = "Namespace",
        [J_MACRO] = "Macro",      [J_FUNC] = "function",
        [J_LOOP] = "LoopContext", [J_CYCLER] = "Cycler",
        [J_JOINER] = "Joiner",
    };
    return NAMES[v.kind];
}

bool jundefined(struct jrun *r, const char *owner, struct str name, struct jval *ret)
{
    struct jundef *u = jalloc(r, sizeof(*u));
    if (!u)
        return false;
    *u = (struct jundef){.owner = owner, .name = name};
    *ret = (struct jval){.kind = J_UNDEFINED, .undef = u};
    return true;
}

bool jundefined_text(struct jrun *r, const char *text, struct jval *ret)
{
    struct jundef *u = jalloc(r, sizeof(*u));
    if (!u)
        return false;
    *u = (struct jundef){.text = text};
    *ret = (struct jval){.kind = J_UNDEFINED, .undef = u};
    return true;
}

/* --- strings --- */

static bool str_make(struct jrun *r, struct str text, struct jblock *block, struct jval *ret)
{
    struct jstr *s = jalloc(r, sizeof(*s));
    if (!s)
        return false;
    *s = (struct jstr){text.ptr, text.len, CHARS_UNKNOWN, block};
    *ret = (struct jval){.kind = J_STR, .s = s};
    return true;
}

bool jstr_view(struct jrun *r, struct str text, struct jval *ret)
{
    return str_make(r, text, NULL, ret);
}

static struct jblock *block_new(struct jrun *r, size_t cap)
{
    struct jblock *b = jalloc(r, cap > SIZE_MAX / 2 ? SIZE_MAX : sizeof(*b) + cap);
    if (b)
        b->cap = cap;
    return b;
}

bool jstr_new(struct jrun *r, struct str text, struct jval *ret)
{
    char *copy = jalloc(r, text.len + 1);
    if (!copy || !jstep(r, text.len / BYTES_PER_STEP))
        return false;
    if (text.len)
        memcpy(copy, text.ptr, text.len);
    return str_make(r, (struct str){copy, text.len}, NULL, ret);
}

bool jstr_slice(struct jrun *r, struct jval s, size_t from, size_t len, struct jval *ret)
{
    uint8_t markup = s.markup;
    if (!str_make(r, str_sub(jv_text(s), from, len), s.s->block, ret))
        return false;
    ret->markup = markup;
    return true;
}

bool jstr_concat(struct jrun *r, struct jval a, struct jval b, struct jval *ret)
{
    struct str x = jv_text(a), y = jv_text(b);
    struct jblock *block = a.s->block;
    if (y.len == 0 || x.len == 0) {
        *ret = y.len == 0 ? a : b;
        ret->markup = 0;
        return true;
    }
    if (!jstep(r, 1 + y.len / BYTES_PER_STEP))
        return false;
    bool in_place =
        block && x.ptr + x.len == block->data + block->used && block->cap - block->used >= y.len;
    if (!in_place) {
        size_t need = x.len + y.len;
        if (!jstep(r, x.len / BYTES_PER_STEP) || !(block = block_new(r, need + need / 2 + 16)))
            return false;
        memcpy(block->data, x.ptr, x.len);
        block->used = x.len;
        x.ptr = block->data;
    }
    memcpy(block->data + block->used, y.ptr, y.len);
    block->used += y.len;
    return str_make(r, (struct str){x.ptr, x.len + y.len}, block, ret);
}

size_t jstr_chars(struct jrun *r, struct jstr *s)
{
    if (s->n_chars == CHARS_UNKNOWN) {
        s->n_chars = u8_count((struct str){s->ptr, s->len});
        r->steps += s->len / BYTES_PER_STEP;
    }
    return s->n_chars;
}

size_t jstr_offset(const struct jstr *s, size_t i_char)
{
    if (s->n_chars == s->len)
        return i_char;
    size_t at = 0;
    while (i_char > 0 && at < s->len) {
        at += u8_len((unsigned char)s->ptr[at]);
        i_char--;
    }
    return at;
}

static bool str_of_char(struct jrun *r, const char *p, size_t n, struct jval *ret)
{
    if (n != 1)
        return str_make(r, (struct str){p, n}, NULL, ret);
    unsigned char c = (unsigned char)*p;
    if (!r->ascii[c]) {
        struct jval v;
        if (!str_make(r, (struct str){p, 1}, NULL, &v))
            return false;
        r->ascii[c] = v.s;
    }
    *ret = (struct jval){.kind = J_STR, .s = r->ascii[c]};
    return true;
}

bool jstr_char_at(struct jrun *r, struct jval s, size_t i, struct jval *ret)
{
    jstr_chars(r, s.s);
    if (s.s->n_chars != s.s->len && !jstep(r, i / BYTES_PER_STEP))
        return false;
    const char *p = s.s->ptr + jstr_offset(s.s, i);
    return str_of_char(r, p, u8_len((unsigned char)*p), ret);
}

bool jsink_add(struct jrun *r, struct jsink *sink, struct str text)
{
    struct jblock *b = sink->block;
    size_t used = b ? b->used : 0;
    if (!jstep(r, text.len / BYTES_PER_STEP))
        return false;
    if (text.len > r->limits.out_bytes_max || used > r->limits.out_bytes_max - text.len)
        return jfail_limit(r, "bytes of output", r->limits.out_bytes_max);
    if (!b || b->cap - used < text.len) {
        size_t need = used + text.len, cap = need * 2 < 64 ? 64 : need * 2;
        struct jblock *fresh = block_new(r, cap);
        if (!fresh)
            return false;
        if (used)
            memcpy(fresh->data, b->data, used);
        fresh->used = used;
        b = sink->block = fresh;
    }
    if (text.len)
        memcpy(b->data + used, text.ptr, text.len);
    b->used = used + text.len;
    return true;
}

bool jsink_char(struct jrun *r, struct jsink *sink, char c)
{
    return jsink_add(r, sink, (struct str){&c, 1});
}

bool jsink_z(struct jrun *r, struct jsink *sink, const char *z)
{
    return jsink_add(r, sink, str_z(z));
}

bool jsink_string(struct jrun *r, struct jsink *sink, struct jval *ret)
{
    struct jblock *b = sink->block;
    return str_make(r, b ? (struct str){b->data, b->used} : STR(""), b, ret);
}

/* --- lists --- */

struct jlist *jlist_new(struct jrun *r, size_t cap)
{
    struct jlist *l = jalloc(r, sizeof(*l));
    if (!l || cap == 0)
        return l;
    l->item = jalloc_array(r, cap, sizeof(*l->item));
    l->cap = cap;
    return l->item ? l : NULL;
}

bool jlist_push(struct jrun *r, struct jlist *l, struct jval v)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 4;
        struct jval *fresh = jalloc_array(r, cap, sizeof(*fresh));
        if (!fresh)
            return false;
        if (l->n)
            memcpy(fresh, l->item, l->n * sizeof(*fresh));
        l->item = fresh;
        l->cap = cap;
    }
    l->item[l->n++] = v;
    return jstep(r, 1);
}

bool jtuple2(struct jrun *r, struct jval a, struct jval b, struct jval *ret)
{
    struct jlist *l = jlist_new(r, 2);
    if (!l)
        return false;
    l->item[0] = a;
    l->item[1] = b;
    l->n = 2;
    *ret = (struct jval){.kind = J_TUPLE, .l = l};
    return true;
}

struct jval jrange_at(const struct jrange *g, size_t i)
{
    return jv_int(g->start + (int64_t)i * g->step);
}

bool jiterable(struct jval v)
{
    switch (v.kind) {
    case J_UNDEFINED:
    case J_STR:
    case J_LIST:
    case J_TUPLE:
    case J_DICT:
    case J_RANGE:
    case J_VIEW:
    case J_ITER:
    case J_LOOP:
        return true;
    default:
        return false;
    }
}

static bool chars_of(struct jrun *r, struct jval v, struct jlist *l)
{
    struct str s = jv_text(v);
    for (size_t at = 0; at < s.len;) {
        size_t n = u8_len((unsigned char)s.ptr[at]);
        struct jval c;
        if (!str_of_char(r, s.ptr + at, n, &c) || !jlist_push(r, l, c))
            return false;
        at += n;
    }
    return true;
}

bool jitems(struct jrun *r, struct jval v, struct jlist **ret)
{
    struct jlist *l;
    if (v.kind == J_LIST || v.kind == J_TUPLE || v.kind == J_VIEW) {
        *ret = v.l;
        return true;
    }
    if (!jiterable(v) || v.kind == J_LOOP)
        return jfail(r, "'%s' object is not iterable", jtype_name(v));
    if (!(l = jlist_new(r, 0)))
        return false;
    *ret = l;
    switch (v.kind) {
    case J_ITER:
        l->item = v.l->n ? v.l->item + v.l->pos : NULL;
        l->n = l->cap = v.l->n - v.l->pos;
        v.l->pos = v.l->n;
        return true;
    case J_STR:
        return chars_of(r, v, l);
    case J_DICT:
        for (size_t i = 0; i < v.d->n; i++)
            if (!jlist_push(r, l, v.d->pair[i].key))
                return false;
        return true;
    case J_RANGE:
        for (size_t i = 0; i < v.range->n; i++)
            if (!jlist_push(r, l, jrange_at(v.range, i)))
                return false;
        return true;
    default: /* J_UNDEFINED: nothing */
        return true;
    }
}

bool jlength(struct jrun *r, struct jval v, size_t *ret)
{
    switch (v.kind) {
    case J_UNDEFINED:
        *ret = 0;
        return true;
    case J_STR:
        *ret = jstr_chars(r, v.s);
        return true;
    case J_LIST:
    case J_TUPLE:
    case J_VIEW:
        *ret = v.l->n;
        return true;
    case J_DICT:
        *ret = v.d->n;
        return true;
    case J_RANGE:
        *ret = v.range->n;
        return true;
    case J_LOOP:
        *ret = v.loop->items->n;
        return true;
    default:
        return jfail(r, "object of type '%s' has no len()", jtype_name(v));
    }
}

/* --- dicts --- */

#define DICT_LINEAR_MAX 8 /* up to here keys are compared one by one */

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    h ^= h >> 32;
    return h;
}

static bool hash_value(struct jrun *r, struct jval v, uint64_t *ret)
{
    switch (v.kind) {
    case J_UNDEFINED:
    case J_NONE:
        *ret = mix(v.kind);
        return true;
    case J_BOOL:
    case J_INT:
        *ret = mix((uint64_t)jv_i64(v));
        return true;
    case J_FLOAT:
        if (v.f == floor(v.f) && fabs(v.f) < 9.2e18) {
            *ret = mix((uint64_t)(int64_t)v.f);
        } else {
            uint64_t bits;
            memcpy(&bits, &v.f, sizeof(bits));
            *ret = mix(bits);
        }
        return true;
    case J_STR: {
        uint64_t h = 14695981039346656037u;
        for (size_t i = 0; i < v.s->len; i++)
            h = (h ^ (unsigned char)v.s->ptr[i]) * 1099511628211u;
        *ret = h;
        return jstep(r, v.s->len / BYTES_PER_STEP);
    }
    case J_TUPLE: {
        uint64_t h = 0x9e3779b97f4a7c15u, item;
        if (!jenter(r))
            return false;
        for (size_t i = 0; i < v.l->n; i++) {
            if (!hash_value(r, v.l->item[i], &item) || !jstep(r, 1))
                return false;
            h = mix(h ^ item) + i;
        }
        r->depth--;
        *ret = h;
        return true;
    }
    case J_LIST:
    case J_DICT:
    case J_VIEW:
        return jfail(r, "unhashable type: '%s'", jtype_name(v));
    case J_RANGE:
        *ret = mix(v.range->n);
        return true;
    default: /* by identity */
        *ret = mix((uint64_t)(uintptr_t)v.s);
        return true;
    }
}

struct jdict *jdict_new(struct jrun *r, size_t cap)
{
    struct jdict *d = jalloc(r, sizeof(*d));
    if (!d || cap == 0)
        return d;
    d->pair = jalloc_array(r, cap, sizeof(*d->pair));
    d->cap = cap;
    return d->pair ? d : NULL;
}

static bool find_hashed(struct jrun *r, struct jdict *d, struct jval key, uint64_t hash,
                        struct jpair **ret)
{
    size_t at = hash & d->index_mask;
    *ret = NULL;
    for (size_t i = 0; i < d->n || d->index; i++) {
        struct jpair *p;
        if (d->index) {
            if (!d->index[at])
                return true;
            p = &d->pair[d->index[at] - 1];
            at = (at + 1) & d->index_mask;
        } else {
            p = &d->pair[i];
        }
        bool same = false;
        if (!jstep(r, 1) || (p->hash == hash && !jequal(r, p->key, key, &same)))
            return false;
        if (same) {
            *ret = p;
            return true;
        }
    }
    return true;
}

static void index_add(struct jdict *d, size_t i)
{
    size_t at = d->pair[i].hash & d->index_mask;
    while (d->index[at])
        at = (at + 1) & d->index_mask;
    d->index[at] = (uint32_t)(i + 1);
}

static bool dict_grow(struct jrun *r, struct jdict *d)
{
    size_t cap = d->cap ? d->cap * 2 : 4;
    struct jpair *fresh = jalloc_array(r, cap, sizeof(*fresh));
    if (!fresh || cap > UINT32_MAX / 4)
        return fresh ? jfail(r, "a dict is too large") : false;
    if (d->n)
        memcpy(fresh, d->pair, d->n * sizeof(*fresh));
    d->pair = fresh;
    d->cap = cap;
    return true;
}

static bool index_build(struct jrun *r, struct jdict *d)
{
    size_t slots = 32;
    while (slots < d->n * 4)
        slots *= 2;
    if (!(d->index = jalloc_array(r, slots, sizeof(*d->index))))
        return false;
    d->index_mask = slots - 1;
    for (size_t i = 0; i < d->n; i++)
        index_add(d, i);
    return jstep(r, d->n);
}

bool jdict_set(struct jrun *r, struct jdict *d, struct jval key, struct jval value)
{
    uint64_t hash = 0;
    struct jpair *p;
    if (!hash_value(r, key, &hash) || !find_hashed(r, d, key, hash, &p))
        return false;
    if (p) {
        p->value = value;
        return true;
    }
    if (d->n == d->cap && !dict_grow(r, d))
        return false;
    d->pair[d->n++] = (struct jpair){key, value, hash};
    if (d->n <= DICT_LINEAR_MAX)
        return true;
    if (!d->index || d->n * 2 > d->index_mask)
        return index_build(r, d);
    index_add(d, d->n - 1);
    return true;
}

bool jdict_find(struct jrun *r, struct jdict *d, struct jval key, struct jpair **ret)
{
    uint64_t hash = 0;
    return hash_value(r, key, &hash) && find_hashed(r, d, key, hash, ret);
}

struct jval *jdict_get_str(struct jrun *r, struct jdict *d, struct str key)
{
    struct jstr s = {key.ptr, key.len, CHARS_UNKNOWN, NULL};
    struct jpair *p = NULL;
    if (!jdict_find(r, d, (struct jval){.kind = J_STR, .s = &s}, &p) || !p)
        return NULL;
    return &p->value;
}

/* --- from JSON --- */

static bool list_from_json(struct jrun *r, const json_t *j, struct jval *ret)
{
    struct jlist *l = jlist_new(r, json_array_size(j));
    struct jval item;
    for (size_t i = 0; l && i < json_array_size(j); i++)
        if (!jfrom_json(r, json_array_get(j, i), &item) || !jlist_push(r, l, item))
            return false;
    *ret = (struct jval){.kind = J_LIST, .l = l};
    return l != NULL;
}

static bool dict_from_json(struct jrun *r, const json_t *j, struct jval *ret)
{
    struct jdict *d = jdict_new(r, json_object_size(j));
    const char *name;
    json_t *member;
    if (!d)
        return false;
    json_object_foreach((json_t *)j, name, member)
    {
        struct jval key, value;
        if (!jstr_view(r, str_z(name), &key) || !jfrom_json(r, member, &value) ||
            !jdict_set(r, d, key, value))
            return false;
    }
    *ret = (struct jval){.kind = J_DICT, .d = d};
    return true;
}

bool jfrom_json(struct jrun *r, const json_t *j, struct jval *ret)
{
    bool ok;
    switch (json_typeof(j)) {
    case JSON_NULL:
        *ret = jv_none();
        return true;
    case JSON_TRUE:
    case JSON_FALSE:
        *ret = jv_bool(json_is_true(j));
        return true;
    case JSON_INTEGER:
        *ret = jv_int(json_integer_value(j));
        return true;
    case JSON_REAL:
        *ret = jv_float(json_real_value(j));
        return true;
    case JSON_STRING:
        return jstr_view(r, (struct str){json_string_value(j), json_string_length(j)}, ret);
    default:
        if (!jenter(r))
            return false;
        ok = json_is_array(j) ? list_from_json(r, j, ret) : dict_from_json(r, j, ret);
        r->depth--;
        return ok;
    }
}
