/*
 * schema_string: lengths, patterns and formats of one string. One pattern alone becomes an
 * expression as it is; several bounds together become one automaton (lang.h).
 */
#include "grammar/schema_plan.h"

#include <string.h>

#define PATTERNS_MAX 32

static int size_keyword(struct plan *p, const struct location *at, const char *key, bool is_min,
                        int64_t *ret)
{
    int64_t n = 0;
    bool found;
    int rc = plan_number(p, at->json, at->place, key, &n, &found);
    if (rc != 0 || !found)
        return rc;
    if (is_min)
        *ret = n > *ret ? n : *ret;
    else
        *ret = *ret < 0 || n < *ret ? n : *ret;
    return 0;
}

static int add_pattern(struct plan *p, const struct location *at, const char *key, bool is_not,
                       struct string_bounds *s)
{
    const json_t *v = json_object_get(at->json, key);
    if (!v)
        return 0;
    if (!json_is_string(v))
        return plan_fail(p, ERR_INVALID, at->place, "pattern must be a string");
    struct str text = json_str(v);
    for (int i = 0; i < s->n_pattern; i++)
        if (s->pattern[i].is_not == is_not && str_eq(s->pattern[i].text, text))
            return 0;
    if (!s->pattern)
        s->pattern = plan_alloc(p, PATTERNS_MAX, sizeof(*s->pattern));
    if (!s->pattern)
        return ERR_LIMIT;
    if (s->n_pattern == PATTERNS_MAX)
        return plan_fail(p, ERR_LIMIT, at->place, "more than %d patterns for one string",
                         PATTERNS_MAX);
    s->pattern[s->n_pattern++] = (struct pattern){text, at->place, is_not};
    return 0;
}

static int add_format(struct plan *p, const struct location *at, struct string_bounds *s)
{
    const json_t *v = json_object_get(at->json, "format");
    if (!v)
        return 0;
    if (!json_is_string(v))
        return plan_fail(p, ERR_INVALID, at->place, "format must be a string");
    const struct schema_format *f = schema_format_find(json_str(v));
    if (!f && p->o->strict)
        return plan_fail(p, ERR_UNSUPPORTED, at->place, "format \"%.40s\" is not enforced",
                         json_string_value(v));
    for (int i = 0; i < s->n_format; i++)
        if (s->format[i] == f)
            return 0;
    if (!f)
        return 0;
    if (!s->format)
        s->format = plan_alloc(p, PATTERNS_MAX, sizeof(*s->format));
    if (!s->format)
        return ERR_LIMIT;
    if (s->n_format < PATTERNS_MAX) /* there are fewer formats than that */
        s->format[s->n_format++] = f;
    return 0;
}

int plan_pattern_lang(struct plan *p, struct str pattern, const char *place,
                      const struct lang **ret)
{
    struct err err = {0};
    for (unsigned i = 0; i < p->n_known && i < PLAN_LANGS_MAX; i++)
        if (str_eq(p->known[i].pattern, pattern)) {
            *ret = p->known[i].lang;
            return plan_step(p);
        }
    uint64_t n_looks;
    int rc = lang_regex(&p->arena, pattern, ret, &n_looks, &err);
    if (rc != 0)
        return plan_fail(p, rc, place, "pattern \"%.*s\": %s",
                         (int)(pattern.len > 80 ? 80 : pattern.len), pattern.ptr, err.text);
    p->known[p->n_known++ % PLAN_LANGS_MAX] = (struct known_lang){pattern, *ret};
    p->n_steps += 5000 + n_looks / 16; /* it was an automaton of another kind first */
    return plan_charge(p, *ret);
}

/* *ret and the next, NULL standing for all strings before the first. */
static int narrow(struct plan *p, const char *place, const struct lang *next, bool is_not,
                  bool *first, const struct lang **ret)
{
    int rc = 0;
    if (is_not && *first)
        rc = lang_length(&p->arena, 0, -1, ret);
    if (rc == 0 && (is_not || !*first))
        rc = is_not ? lang_minus(plan_work(p), *ret, next, ret)
                    : lang_and(plan_work(p), *ret, next, ret);
    else if (rc == 0)
        *ret = next;
    *first = false;
    return rc == 0 ? plan_charge(p, NULL)
                   : plan_fail(p, rc, place, "the bounds of this string are too large together");
}

static int forbidden_words(struct plan *p, const struct shape *s, const struct lang **ret)
{
    struct str *word = plan_alloc(p, (size_t)s->n_forbid, sizeof(*word));
    size_t n = 0;
    *ret = NULL;
    if (!word)
        return ERR_LIMIT;
    for (int i = 0; i < s->n_forbid; i++)
        if (json_is_string(s->forbid[i]))
            word[n++] = json_str(s->forbid[i]);
    return n == 0 ? 0 : lang_words(&p->arena, word, n, ret);
}

/* Lengths that no word of *ret has need not be forbidden. */
static int narrow_length(struct plan *p, const struct string_bounds *b, const char *place,
                         bool *first, const struct lang **ret)
{
    int64_t min = b->min, max = b->max, shortest, longest;
    const struct lang *next;
    int rc = 0;
    if (!*first && *ret) {
        rc = lang_lengths(*ret, &shortest, &longest);
        min = rc == 0 && min <= shortest ? 0 : min;
        max = rc == 0 && longest >= 0 && longest <= max ? -1 : max;
    }
    if (rc != 0 || (!*first && min == 0 && max < 0))
        return rc;
    rc = lang_length(&p->arena, min, max, &next);
    rc = rc != 0 ? rc : plan_charge(p, next);
    return rc != 0 ? plan_fail(p, rc, place, "lengths above %d cannot be combined with the rest",
                               LANG_STATES_MAX)
                   : narrow(p, place, next, false, first, ret);
}

/* n_narrow: 0: formats as they are, else how far they are narrowed. */
static int string_lang(struct plan *p, const struct shape *s, int n_narrow, const struct lang **ret)
{
    const struct string_bounds *b = &s->string;
    const char *place = b->n_pattern > 0 ? b->pattern[0].place : "#";
    const struct lang *next;
    bool first = true;
    int rc = 0;
    *ret = NULL;
    for (int i = 0; rc == 0 && i < b->n_pattern; i++) {
        rc = plan_pattern_lang(p, b->pattern[i].text, b->pattern[i].place, &next);
        if (rc == 0)
            rc = narrow(p, place, next, b->pattern[i].is_not, &first, ret);
    }
    for (int i = 0; rc == 0 && i < b->n_format; i++) {
        const char *regex = b->format[i]->regex;
        for (int k = 0; k < n_narrow && b->format[i]->narrow[k]; k++)
            regex = b->format[i]->narrow[k];
        rc = plan_pattern_lang(p, str_z(regex), place, &next);
        if (rc == 0)
            rc = narrow(p, place, next, false, &first, ret);
    }
    if (rc == 0 && (b->min > 0 || b->max >= 0 || first))
        rc = narrow_length(p, b, place, &first, ret);
    if (rc == 0)
        rc = forbidden_words(p, s, &next);
    if (rc == 0 && next)
        rc = narrow(p, place, next, true, &first, ret);
    return rc;
}

/* Where a format is too large together with lengths, a part of it may do. */
int plan_string_lang(struct plan *p, const struct shape *s, const struct lang **ret)
{
    const struct string_bounds *b = &s->string;
    for (int n = 0;; n++) {
        bool is_last = true;
        int rc = string_lang(p, s, n, ret);
        for (int i = 0; n < SCHEMA_NARROW_MAX && i < b->n_format; i++)
            is_last = is_last && !b->format[i]->narrow[n];
        if (rc != ERR_LIMIT || is_last || p->n_steps > SCHEMA_STEPS_MAX)
            return rc;
        *p->err = (struct err){0};
    }
}

/* What one pattern, or one format, or a length alone does not say. */
static bool needs_lang(const struct shape *shape)
{
    const struct string_bounds *s = &shape->string;
    for (int i = 0; i < shape->n_forbid; i++)
        if (json_is_string(shape->forbid[i]))
            return true;
    int n_rule = s->n_pattern + s->n_format;
    if (n_rule > 1 || (s->n_pattern > 0 && s->pattern[0].is_not))
        return true;
    return n_rule > 0 && (s->min > 0 || s->max >= 0);
}

int plan_string(struct plan *p, const struct ids *conj, struct shape *ret)
{
    struct string_bounds *s = &ret->string;
    const char *place = "#", *min_place = "#";
    int rc = 0;
    s->max = -1;
    for (int i = 0; rc == 0 && i < conj->n; i++) {
        const struct location at = p->location[conj->id[i]];
        int64_t min = s->min, max = s->max;
        rc = size_keyword(p, &at, "minLength", true, &s->min);
        if (rc == 0)
            rc = size_keyword(p, &at, "maxLength", false, &s->max);
        if (rc == 0)
            rc = add_pattern(p, &at, "pattern", false, s);
        if (rc == 0 && at.made)
            rc = add_pattern(p, &at, SCHEMA_NOT_PATTERN, true, s);
        if (rc == 0)
            rc = add_format(p, &at, s);
        if (min != s->min || max != s->max)
            place = at.place;
        if (min != s->min)
            min_place = at.place;
    }
    if (rc != 0)
        return rc;
    if (s->max >= 0 && s->min > s->max) {
        p->why = (struct why){place, "minLength is above maxLength", false};
        return 1;
    }
    if (ret->is_fixed) /* its values are asked one by one */
        return 0;
    if (s->min > GRAMMAR_REPEAT_MAX)
        return plan_fail(p, ERR_LIMIT, min_place, "minLength is enforced up to %d",
                         GRAMMAR_REPEAT_MAX);
    if (!needs_lang(ret))
        return 0;
    rc = plan_string_lang(p, ret, &ret->lang);
    if (rc == 0 && !ret->lang) {
        p->why = (struct why){place, "no string fits pattern, format and length together", false};
        return 1;
    }
    return rc;
}
