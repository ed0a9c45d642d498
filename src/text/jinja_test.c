/*
 * jinja_test: what may stand after "is".
 */
#include "base/mem.h"
#include "text/jinja_filter.h"

#define TEST(name)                                                                                 \
    static bool name(struct jrun *r, struct jval self, const struct jargs *args, struct jval *ret)

static bool answer(struct jrun *r, const struct jargs *args, bool yes, struct jval *ret)
{
    *ret = jv_bool(yes);
    return jargs_bind(r, "test", args, "", 0, NULL);
}

TEST(t_defined)
{
    return answer(r, args, self.kind != J_UNDEFINED, ret);
}
TEST(t_undefined)
{
    return answer(r, args, self.kind == J_UNDEFINED, ret);
}
TEST(t_none)
{
    return answer(r, args, self.kind == J_NONE, ret);
}
TEST(t_boolean)
{
    return answer(r, args, self.kind == J_BOOL, ret);
}
TEST(t_true)
{
    return answer(r, args, self.kind == J_BOOL && self.b, ret);
}
TEST(t_false)
{
    return answer(r, args, self.kind == J_BOOL && !self.b, ret);
}
TEST(t_integer)
{
    return answer(r, args, self.kind == J_INT, ret);
}
TEST(t_float)
{
    return answer(r, args, self.kind == J_FLOAT, ret);
}
TEST(t_number)
{
    return answer(r, args, jv_is_number(self), ret);
}
TEST(t_string)
{
    return answer(r, args, self.kind == J_STR, ret);
}
TEST(t_mapping)
{
    return answer(r, args, self.kind == J_DICT, ret);
}
TEST(t_iterable)
{
    return answer(r, args, jiterable(self), ret);
}
TEST(t_escaped)
{
    return answer(r, args, self.kind == J_STR && self.markup, ret);
}

TEST(t_sequence)
{
    bool yes = self.kind == J_STR || self.kind == J_LIST || self.kind == J_TUPLE ||
               self.kind == J_DICT || self.kind == J_RANGE || self.kind == J_UNDEFINED;
    return answer(r, args, yes, ret);
}

TEST(t_callable)
{
    bool yes = self.kind == J_MACRO || self.kind == J_FUNC || self.kind == J_LOOP ||
               self.kind == J_JOINER || self.kind == J_UNDEFINED;
    return answer(r, args, yes, ret);
}

TEST(t_lower)
{
    return jto_str(r, self, &self) && jstep(r, self.s->len / 8) &&
           answer(r, args, jstr_is_case(jv_text(self), false), ret);
}
TEST(t_upper)
{
    return jto_str(r, self, &self) && jstep(r, self.s->len / 8) &&
           answer(r, args, jstr_is_case(jv_text(self), true), ret);
}

static bool modulo_is(struct jrun *r, struct jval v, struct jval by, int64_t rest, struct jval *ret)
{
    bool same;
    if (!jbinary(r, T_MOD, v, by, &v) || !jequal(r, v, jv_int(rest), &same))
        return false;
    *ret = jv_bool(same);
    return true;
}

TEST(t_odd)
{
    return jargs_bind(r, "odd", args, "", 0, NULL) && modulo_is(r, self, jv_int(2), 1, ret);
}
TEST(t_even)
{
    return jargs_bind(r, "even", args, "", 0, NULL) && modulo_is(r, self, jv_int(2), 0, ret);
}
TEST(t_divisibleby)
{
    struct jval by;
    return jargs_bind(r, "divisibleby", args, "num", 1, &by) && modulo_is(r, self, by, 0, ret);
}

TEST(t_in)
{
    struct jval seq;
    bool yes;
    if (!jargs_bind(r, "in", args, "seq", 1, &seq) || !jcontains(r, seq, self, &yes))
        return false;
    *ret = jv_bool(yes);
    return true;
}

/* Python's `is`. Numbers and strings that are equal count as the same object. */
TEST(t_sameas)
{
    struct jval other;
    bool yes = false;
    if (!jargs_bind(r, "sameas", args, "other", 1, &other))
        return false;
    if (self.kind == other.kind) {
        bool by_value = self.kind <= J_STR;
        if (by_value && !jequal(r, self, other, &yes))
            return false;
        yes = by_value ? yes : self.s == other.s;
    }
    *ret = jv_bool(yes);
    return true;
}

static bool compare(struct jrun *r, struct jval self, const struct jargs *args, int op,
                    struct jval *ret)
{
    struct jval other;
    bool same;
    int c;
    if (!jargs_bind(r, "comparison", args, "other", 1, &other))
        return false;
    if (op == T_EQ || op == T_NE) {
        if (!jequal(r, self, other, &same))
            return false;
        *ret = jv_bool(same == (op == T_EQ));
        return true;
    }
    if (!jcompare(r, self, other, op == T_LT || op == T_LE ? "<" : ">", &c))
        return false;
    *ret = jv_bool(c != 2 && (op == T_LT   ? c < 0
                              : op == T_LE ? c <= 0
                              : op == T_GT ? c > 0
                                           : c >= 0));
    return true;
}

TEST(t_eq)
{
    return compare(r, self, args, T_EQ, ret);
}
TEST(t_ne)
{
    return compare(r, self, args, T_NE, ret);
}
TEST(t_lt)
{
    return compare(r, self, args, T_LT, ret);
}
TEST(t_le)
{
    return compare(r, self, args, T_LE, ret);
}
TEST(t_gt)
{
    return compare(r, self, args, T_GT, ret);
}
TEST(t_ge)
{
    return compare(r, self, args, T_GE, ret);
}

static bool names_builtin(struct jrun *r, struct jval v, jbuiltin (*find)(struct str name),
                          const struct jargs *args, struct jval *ret)
{
    if (v.kind == J_LIST || v.kind == J_DICT)
        return jfail(r, "unhashable type: '%s'", jtype_name(v));
    return answer(r, args, v.kind == J_STR && find(jv_text(v)), ret);
}

TEST(t_filter)
{
    return names_builtin(r, self, jfilter_find, args, ret);
}
TEST(t_test)
{
    return names_builtin(r, self, jtest_find, args, ret);
}

static const struct {
    const char *name;
    jbuiltin fn;
} TESTS[] = {
    {"defined", t_defined},
    {"undefined", t_undefined},
    {"none", t_none},
    {"boolean", t_boolean},
    {"true", t_true},
    {"false", t_false},
    {"integer", t_integer},
    {"float", t_float},
    {"number", t_number},
    {"string", t_string},
    {"mapping", t_mapping},
    {"iterable", t_iterable},
    {"sequence", t_sequence},
    {"callable", t_callable},
    {"escaped", t_escaped},
    {"lower", t_lower},
    {"upper", t_upper},
    {"odd", t_odd},
    {"even", t_even},
    {"divisibleby", t_divisibleby},
    {"in", t_in},
    {"sameas", t_sameas},
    {"filter", t_filter},
    {"test", t_test},
    {"eq", t_eq},
    {"equalto", t_eq},
    {"==", t_eq},
    {"ne", t_ne},
    {"!=", t_ne},
    {"lt", t_lt},
    {"lessthan", t_lt},
    {"<", t_lt},
    {"le", t_le},
    {"<=", t_le},
    {"gt", t_gt},
    {"greaterthan", t_gt},
    {">", t_gt},
    {"ge", t_ge},
    {">=", t_ge},
};

jbuiltin jtest_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(TESTS); i++)
        if (str_eq_z(name, TESTS[i].name))
            return TESTS[i].fn;
    return NULL;
}
