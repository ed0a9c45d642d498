/*
 * schema: which texts a schema's grammar takes and which it does not, keyword by keyword, and what
 * is refused before anything is written. In schemas and texts here ' stands for ".
 */
#include "base/mem.h"
#include "grammar/lang.h"
#include "grammar/matcher.h"
#include "grammar/schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define N_TOKEN 257 /* every byte, and the end */

static struct vocabulary *vocabulary;

static int setup(void **state)
{
    static char byte[256];
    struct vocabulary_token token[N_TOKEN] = {0};
    struct err err = {0};
    (void)state;
    for (int i = 0; i < 256; i++) {
        byte[i] = (char)i;
        token[i].bytes = (struct str){&byte[i], 1};
    }
    token[256].is_end = true;
    return vocabulary_new(token, N_TOKEN, &vocabulary, &err);
}

static int teardown(void **state)
{
    (void)state;
    vocabulary_free(vocabulary);
    return 0;
}

static json_t *quoted(const char *text)
{
    char *copy = str_dup(str_z(text));
    struct err err = {0};
    for (char *c = copy; *c; c++)
        if (*c == '\'')
            *c = '"';
    json_t *json = json_parse(str_z(copy), JSON_DEPTH_MAX, &err);
    if (!json)
        fail_msg("%s: %s", text, err.text);
    free(copy);
    return json;
}

/* NULL with *err when the schema is refused. */
static struct grammar *compile(const char *schema, const struct schema_options *o, struct err *err)
{
    json_t *json = quoted(schema);
    struct grammar_builder *b = grammar_builder_new();
    struct grammar *g = NULL;
    gexpr e = schema_expr(b, json, o, "format", err);
    if (e < 0)
        assert_int_not_equal(err->code, 0);
    if (grammar_finish(b, e, &g, e < 0 ? NULL : err) != 0)
        g = NULL;
    else
        assert_true(e >= 0);
    grammar_builder_free(b);
    json_decref(json);
    return g;
}

static bool accepts(struct grammar *g, const char *text)
{
    struct matcher *m = NULL;
    struct err err = {0};
    bool ok = true;
    assert_int_equal(matcher_new(g, vocabulary, &m, &err), 0);
    for (const char *c = text; ok && *c; c++)
        ok = matcher_accept(m, *c == '\'' ? '"' : (unsigned char)*c);
    ok = ok && matcher_may_end(m);
    matcher_free(m);
    return ok;
}

struct row {
    const char *schema;
    const char *good[10];
    const char *bad[10];
};

static void check_rows(const struct row *rows, size_t n, bool strict)
{
    const struct schema_options o = {.strict = strict};
    for (size_t i = 0; i < n; i++) {
        struct err err = {0};
        struct grammar *g = compile(rows[i].schema, &o, &err);
        if (!g)
            fail_msg("%s: %s", rows[i].schema, err.text);
        for (size_t k = 0; k < ARRAY_LEN(rows[i].good) && rows[i].good[k]; k++)
            if (!accepts(g, rows[i].good[k]))
                fail_msg("%s does not take %s", rows[i].schema, rows[i].good[k]);
        for (size_t k = 0; k < ARRAY_LEN(rows[i].bad) && rows[i].bad[k]; k++)
            if (accepts(g, rows[i].bad[k]))
                fail_msg("%s takes %s", rows[i].schema, rows[i].bad[k]);
        grammar_unref(g);
    }
}

static void test_types(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{'type':'null'}", {"null"}, {"nul", "true", "0", "''"}},
        {"{'type':'boolean'}", {"true", "false"}, {"null", "True", "1"}},
        {"{'type':'integer'}",
         {"0", "-1", "123456789", "1764000000000000000"},
         {"1.0", "01", "-", "1e3", "12345678901234567890", "-0", "+1"}},
        {"{'type':'number'}",
         {"0", "-1.5", "1e-07", "1.5E+300", "0.00000001", "123456.789"},
         {"01", ".5", "1.", "1e999", "1e", "- 1", "NaN"}},
        {"{'type':'string'}",
         {"''", "'a b'", "'\\n\\\\\\u00e9'", "'\xc3\xa9'", "'\\ud83d\\ude00'"},
         {"'", "'\n'", "'\\x'", "'\\ud83d'", "'\xc3'", "'\\ude00'"}},
        {"{'type':['integer','null']}", {"5", "null"}, {"'5'", "5.5"}},
        {"true", {"1", "[]", "{'a':[null,{}]}", "'x'"}, {"", "{", "{'a'}", "[1,]"}},
        {"{}", {"1", "[1, 2]", "{'a': 1}"}, {"[1 ,2]", "{a:1}"}},
        {"{'type':'array'}", {"[]", "[1,'a',[]]", "[\n  1,\n  2\n]"}, {"{}", "[1 2]", "[  1]"}},
        {"{'type':'object'}", {"{}", "{'a':{'b':[]}}"}, {"[]", "{'a':}", "{'a':1,}"}},
    };
    check_rows(rows, ARRAY_LEN(rows), true);
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{'type':'integer','minimum':-5,'maximum':12}",
         {"-5", "-1", "0", "9", "10", "12"},
         {"-6", "13", "-10", "20", "100", "-0"}},
        {"{'type':'integer','exclusiveMinimum':0}", {"1", "10", "999"}, {"0", "-1"}},
        {"{'type':'integer','minimum':-9223372036854775808,'maximum':-9223372036854775807}",
         {"-9223372036854775807"},
         {"-9223372036854775806", "0"}},
        {"{'type':'integer','minimum':9223372036854775807,'maximum':9223372036854775807}",
         {"9223372036854775807"},
         {"9223372036854775806", "0"}},
        {"{'type':'integer','minimum':100,'maximum':1999}",
         {"100", "999", "1000", "1999"},
         {"99", "2000", "10000", "0"}},
        {"{'type':'integer','minimum':1.5,'maximum':3.5}", {"2", "3"}, {"1", "4"}},
        {"{'type':'integer','multipleOf':7}", {"0", "7", "-14", "700"}, {"1", "8", "13", "-15"}},
        {"{'type':'integer','multipleOf':25,'minimum':30,'maximum':130}",
         {"50", "75", "100", "125"},
         {"25", "130", "60", "150"}},
        {"{'type':'number','multipleOf':100}", {"0", "1200", "-100"}, {"50", "10", "101"}},
        {"{'type':'number','multipleOf':0.1}",
         {"0", "0.0", "0.3", "-0.1", "1200", "7.9", "5.0", "-0.7"},
         {"0.01", "1.25", ".5", "00.1", "1.", "-0", "-0.0", "1e2"}},
        {"{'type':'number','multipleOf':0.25,'minimum':-0.5,'maximum':10.3}",
         {"0", "0.5", "0.50", "-0.25", "10.25", "10", "7.75"},
         {"0.1", "0.05", "-0.75", "10.5", "0.500", "0.35", "-1"}},
        {"{'type':'number','multipleOf':2.5,'exclusiveMinimum':0,'exclusiveMaximum':10}",
         {"2.5", "5", "5.0", "7.5"},
         {"0", "10", "10.0", "2", "0.5", "2.50"}},
        {"{'type':'number','multipleOf':0.01,'minimum':0.005,'maximum':0.125}",
         {"0.01", "0.1", "0.12"},
         {"0", "0.13", "0.125", "0.005", "0.2"}},
        {"{'type':'number','multipleOf':0.5,'not':{'type':'integer'}}",
         {"0.5", "-12.5"},
         {"1", "1.0", "0", "0.25"}},
        {"{'type':'integer','multipleOf':2.5}", {"0", "5", "-10"}, {"2", "1", "25.0"}},
        {"{'allOf':[{'multipleOf':0.5},{'multipleOf':0.2}],'type':'number'}",
         {"1", "3", "-7"},
         {"0.5", "0.2", "1.0"}},
        {"{'enum':[0.3,0.35,1,'x'],'type':'number','multipleOf':0.1}",
         {"0.3", "1"},
         {"0.35", "'x'"}},
        {"{'type':'number','minimum':0,'maximum':1}",
         {"0", "1", "0.5", "1.0", "0.000001"},
         {"1.1", "-0.5", "2", "1.01", "10"}},
        {"{'type':'number','exclusiveMinimum':0,'exclusiveMaximum':0.25}",
         {"0.1", "0.2499", "0.001"},
         {"0", "0.25", "0.0", "0.3", "0.250"}},
        {"{'type':'number','minimum':-2.75,'maximum':-1.5}",
         {"-2", "-1.5", "-2.75", "-2.1", "-1.6"},
         {"-1", "-3", "-2.76", "-1.49", "1.5", "0"}},
        {"{'type':'number','minimum':0}", {"0", "1e10", "3.25", "12"}, {"-1", "-0.1"}},
        {"{'type':'number','exclusiveMinimum':0}", {"0.5", "1e-7", "7"}, {"0", "0.0", "-1"}},
        {"{'type':'number','not':{'type':'integer'}}", {"0.5", "-1.25"}, {"1", "2.0", "0"}},
    };
    check_rows(rows, ARRAY_LEN(rows), true);
}

static void test_strings(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{'type':'string','minLength':2,'maxLength':3}",
         {"'ab'", "'abc'", "'\xc3\xa9\xc3\xa9'", "'\\n\\n'", "'\\u00e9a'", "'\\ud83d\\ude00a'"},
         {"'a'", "'abcd'", "''", "'\\n'", "'\xc3\xa9'", "'\\ud83d\\ude00'"}},
        {"{'type':'string','pattern':'^[a-c]+$'}", {"'a'", "'abc'"}, {"''", "'d'", "'ab '"}},
        {"{'type':'string','pattern':'b'}", {"'b'", "'abc'"}, {"'ac'", "''"}},
        {"{'type':'string','pattern':'^a*$','minLength':2,'maxLength':3}",
         {"'aa'", "'aaa'"},
         {"'a'", "'aaaa'", "'ab'"}},
        {"{'allOf':[{'pattern':'^a'},{'pattern':'z$'}],'type':'string'}",
         {"'az'", "'a..z'"},
         {"'a'", "'z'", "'za'"}},
        {"{'type':'string','not':{'pattern':'x'}}", {"'ab'", "''"}, {"'x'", "'axb'"}},
        {"{'type':'string','not':{'enum':['a','bc']}}",
         {"'b'", "'ab'", "''", "'bcd'"},
         {"'a'", "'bc'", "'\\u0061'"}},
        {"{'type':'string','format':'date'}",
         {"'2024-02-29'", "'1999-12-31'", "'2000-02-29'"},
         {"'2023-02-29'", "'1900-02-29'", "'2024-13-01'", "'2024-04-31'", "'0000-01-01'",
          "'24-1-1'"}},
        {"{'type':'string','format':'date-time'}",
         {"'2024-02-29T23:59:59Z'", "'2024-01-01T00:00:00.123+02:00'"},
         {"'2024-02-29'", "'2024-02-29T24:00:00Z'", "'2024-02-29T23:59:59'"}},
        {"{'type':'string','format':'time'}", {"'12:00:00Z'"}, {"'12:00'", "'25:00:00Z'"}},
        {"{'type':'string','format':'duration'}",
         {"'P1D'", "'PT1H30M'", "'P2W'", "'P1Y2M3DT4H5M6S'"},
         {"'P'", "'PT'", "'1D'", "'P1Y3D'", "'P1DT'"}},
        {"{'type':'string','format':'email'}",
         {"'a@b.de'", "'first.last@mail.example.org'"},
         {"'a'", "'@b'", "'a@'", "'a@-b.de'", "'a b@c.de'"}},
        {"{'type':'string','format':'hostname'}",
         {"'example.org'", "'localhost'"},
         {"'-a'", "'a-'", "'a..b'", "''"}},
        {"{'type':'string','format':'ipv4'}",
         {"'127.0.0.1'"},
         {"'256.0.0.1'", "'1.2.3'", "'01.2.3.4'"}},
        {"{'type':'string','format':'ipv6'}",
         {"'::'", "'::1'", "'2001:db8::1'", "'1:2:3:4:5:6:7:8'", "'::ffff:1.2.3.4'"},
         {"':'", "'1::2::3'", "'12345::'", "'1:2:3:4:5:6:7'"}},
        {"{'type':'string','format':'uuid'}",
         {"'123e4567-e89b-12d3-a456-426614174000'"},
         {"'123e4567e89b12d3a456426614174000'", "'g23e4567-e89b-12d3-a456-426614174000'"}},
        {"{'type':'string','format':'uri'}",
         {"'https://example.org/a?b=c#d'", "'urn:isbn:0451450523'", "'mailto:a@b.de'"},
         {"'example.org'", "'/a'", "'http://a b'"}},
        {"{'type':'string','format':'date','pattern':'^2024'}", {"'2024-05-06'"}, {"'2023-05-06'"}},
        {"{'type':'string','format':'uri','maxLength':2083}",
         {"'https://example.org/a?b=c#d'", "'urn:isbn:0451450523'", "'mailto:a@b.de'"},
         {"'example.org'", "'http://a b'", "''"}},
        {"{'type':'string','format':'uri','minLength':1,'maxLength':200}",
         {"'https://a.de/b'"},
         {"'a'"}},
        {"{'type':'string','format':'uri','maxLength':65536}", {"'ftp://a.de'"}, {"'a'"}},
        {"{'type':'string','format':'email','maxLength':254}", {"'ann@example.org'"}, {"'@a'"}},
        {"{'type':'string','format':'hostname','minLength':4,'maxLength':63}",
         {"'a.de'", "'example.org'"},
         {"'a.b'"}},
        {"{'type':'string','format':'uuid','maxLength':65536,'minLength':3}",
         {"'123e4567-e89b-12d3-a456-426614174000'"},
         {"'123'"}},
        {"{'enum':['http://a.de','b',5],'format':'uri','maxLength':2000}",
         {"'http://a.de'", "5"},
         {"'b'"}},
    };
    check_rows(rows, ARRAY_LEN(rows), true);
}

/* Products are charged by what they make, not by what is left of it. */
static void test_work_of_products(void **state)
{
    (void)state;
    struct arena a;
    const struct lang *x, *y, *both;
    uint64_t n = 0;
    int64_t shortest, longest;
    arena_init(&a, 64 << 20);
    assert_int_equal(lang_length(&a, 0, 9000, &x), 0);
    assert_int_equal(lang_length(&a, 5, 10000, &y), 0);
    assert_int_equal(lang_minus((struct lang_work){&a, &n, 1 << 20}, y, x, &both), 0);
    assert_true(n > 10000 && both != NULL);
    assert_int_equal(lang_lengths(both, &shortest, &longest), 0);
    assert_int_equal(shortest, 9001);
    assert_int_equal(longest, 10000);
    n = 0;
    assert_int_equal(lang_and((struct lang_work){&a, &n, 1 << 20}, x, both, &y), 0);
    assert_true(n > 9000 && y == NULL);
    n = 0;
    assert_int_equal(lang_and((struct lang_work){&a, &n, 500}, x, both, &y), ERR_LIMIT);
    assert_true(n < 510);
    assert_int_equal(lang_length(&a, 3, -1, &x), 0);
    assert_int_equal(lang_lengths(x, &shortest, &longest), 0);
    assert_true(shortest == 3 && longest == -1);
    arena_release(&a);
}

static void test_values(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{'enum':['red','green',1,null,[1,2],{'a':true}]}",
         {"'red'", "1", "null", "[1,2]", "[1, 2]", "{'a':true}", "{'a': true}"},
         {"'re'", "2", "[1]", "{'a':false}", "''"}},
        {"{'const':'a\\\"b'}", {"'a\\'b'"}, {"'ab'"}},
        {"{'enum':['a','b','c'],'type':'string','pattern':'^[ab]$'}", {"'a'", "'b'"}, {"'c'"}},
        {"{'enum':[1,2.5,3,'x'],'type':'integer','minimum':2}", {"3"}, {"1", "2.5", "'x'"}},
        {"{'enum':['a','b'],'not':{'const':'a'}}", {"'b'"}, {"'a'"}},
        {"{'type':'string','enum':['','a','ab','abc','b','\xc3\xa9','\xc3\xa8']}",
         {"''", "'a'", "'ab'", "'abc'", "'b'", "'\xc3\xa9'", "'\xc3\xa8'"},
         {"'abcd'", "'ba'", "'\xc3'"}},
        {"{'type':'boolean','not':{'const':true}}", {"false"}, {"true"}},
        {"{'const':1.0}", {"1", "1.0"}, {"1.00", "10"}},
        {"{'const':0.1}", {"0.1"}, {"0.10000000000000001"}},
    };
    check_rows(rows, ARRAY_LEN(rows), true);
}

static void test_objects(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{'type':'object','properties':{'a':{'type':'integer'},'b':{'type':'string'}},"
         "'required':['a','b'],'additionalProperties':false}",
         {"{'a':1,'b':''}", "{'a': 1, 'b': ''}", "{\n  'a': 1,\n  'b': ''\n}"},
         {"{'a':1}", "{'b':'','a':1}", "{'a':1,'b':'','c':1}", "{}", "{'a':1,'b':'',}"}},
        {"{'type':'object','properties':{'a':{},'b':{},'c':{}},'additionalProperties':false}",
         {"{}", "{'a':1}", "{'b':1}", "{'c':1}", "{'a':1,'c':1}", "{'a':1,'b':1,'c':1}",
          "{'b':1,'c':2}"},
         {"{,'a':1}", "{'a':1,}", "{'c':1,'a':1}", "{'a':1 'b':1}", "{'d':1}", "{'a':1,,'c':1}"}},
        {"{'type':'object','properties':{'a':{},'b':{},'c':{}},'required':['b'],"
         "'additionalProperties':false}",
         {"{'b':1}", "{'a':1,'b':1}", "{'b':1,'c':1}", "{'a':1,'b':1,'c':1}"},
         {"{}", "{'a':1}", "{'a':1,'c':1}", "{'c':1}"}},
        {"{'type':'object','properties':{'a':{'type':'null'}},'additionalProperties':{'type':'"
         "integer'}}",
         {"{}", "{'a':null}", "{'b':1}", "{'a':null,'b':1,'cc':2}", "{'ab':1}", "{'':1}"},
         {"{'a':1}", "{'b':null}", "{'b':1,'a':null}", "{'\\u0061':1}"}},
        {"{'type':'object','patternProperties':{'^x_':{'type':'integer'}},'additionalProperties':"
         "false}",
         {"{}", "{'x_':1}", "{'x_a':1,'x_b':2}"},
         {"{'y':1}", "{'x_a':'s'}"}},
        {"{'type':'object','patternProperties':{'^x':{'type':'integer'}},'additionalProperties':"
         "{'type':'string'}}",
         {"{'x':1,'y':'s','xx':2}"},
         {"{'x':'s'}", "{'y':1}"}},
        {"{'type':'object','propertyNames':{'pattern':'^[a-z]+$'},'additionalProperties':true}",
         {"{}", "{'ab':1}"},
         {"{'A':1}", "{'':1}"}},
        {"{'type':'object','propertyNames':{'enum':['a','b']},'additionalProperties':{'type':'null'"
         "}}",
         {"{}", "{'a':null}", "{'b':null}", "{'a':null,'b':null}"},
         {"{'c':null}", "{'a':1}"}},
        {"{'type':'object','properties':{'a':{},'b':{},'c':{}},'minProperties':2,'maxProperties':2,"
         "'additionalProperties':false}",
         {"{'a':1,'b':1}", "{'a':1,'c':1}", "{'b':1,'c':1}"},
         {"{}", "{'a':1}", "{'a':1,'b':1,'c':1}"}},
        {"{'type':'object','additionalProperties':{'type':'null'},'minProperties':1,'maxProperties'"
         ":2}",
         {"{'a':null}", "{'a':null,'b':null}"},
         {"{}", "{'a':null,'b':null,'c':null}"}},
        {"{'type':'object','properties':{'a':{},'b':{}},'minProperties':1,'additionalProperties':"
         "false}",
         {"{'a':1}", "{'b':1}", "{'a':1,'b':1}"},
         {"{}"}},
        {"{'type':'object','properties':{'a':{'type':'string'}}}", {"{}", "{'a':''}"}, {"{'b':1}"}},
        {"{'type':'object','required':['k'],'additionalProperties':{'type':'integer'}}",
         {"{'k':1}", "{'k':1,'l':2}"},
         {"{}", "{'l':1}"}},
        {"{'type':'object','properties':{'a\\\"\xc3\xa9':{}},'required':['a\\\"\xc3\xa9']}",
         {"{'a\\'\xc3\xa9':1}"},
         {"{'a':1}"}},
        {"{'type':'object','properties':{'a':false,'b':{}},'additionalProperties':false}",
         {"{}", "{'b':1}"},
         {"{'a':1}"}},
        {"{'type':'object','properties':{'a':{},'b':{}},'dependentRequired':{'a':['b']}}",
         {"{}", "{'b':1}", "{'a':1,'b':1}"},
         {"{'a':1}"}},
    };
    check_rows(rows, ARRAY_LEN(rows), true);
}

static void test_lists(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{'type':'array','items':{'type':'integer'},'minItems':1,'maxItems':3}",
         {"[1]", "[1,2]", "[1, 2, 3]"},
         {"[]", "[1,2,3,4]", "['a']", "[1,]"}},
        {"{'type':'array','prefixItems':[{'type':'integer'},{'type':'string'}],'items':false}",
         {"[]", "[1]", "[1,'a']"},
         {"['a']", "[1,2]", "[1,'a',1]"}},
        {"{'type':'array','prefixItems':[{'type':'integer'},{'type':'string'}],"
         "'items':{'type':'null'},'minItems':2,'maxItems':4}",
         {"[1,'a']", "[1,'a',null]", "[1,'a',null,null]"},
         {"[1]", "[1,'a',1]", "[1,'a',null,null,null]"}},
        {"{'type':'array','items':[{'type':'integer'}],'additionalItems':{'type':'null'}}",
         {"[]", "[1]", "[1,null]"},
         {"[null]", "[1,1]"}},
        {"{'type':'array','items':{'type':['integer','string']},'contains':{'type':'string'}}",
         {"['a']", "[1,2,'b',3]", "['a','b','c']"},
         {"[]", "[1]", "[1,2,3]", "[null,'a']"}},
        {"{'type':'array','items':{'type':'integer'},'contains':{'minimum':10},'minContains':2,"
         "'maxContains':3,'maxItems':5}",
         {"[10,11]", "[1,10,2,99,3]", "[10,11,12,1,2]"},
         {"[]", "[10]", "[1,2,3,4,5]", "[10,11,12,13]", "[1,2,3,10,11,12]", "[10,1,1,1,1]"}},
        {"{'type':'array','contains':{'const':'x'},'minContains':0,'maxContains':1}",
         {"[]", "['x']", "[1,'x',null]", "['y','yy']"},
         {"['x','x']", "['x',1,'x']"}},
        {"{'type':'array','prefixItems':[{'type':'integer'}],'items':{'type':'boolean'},"
         "'contains':{'enum':[7,true]},'minItems':3}",
         {"[7,false,false]", "[1,false,true]", "[1,true,true,false,false,true]"},
         {"[7,false]", "[1,false,false]", "[8,false,false,false,false]"}},
        {"{'type':'array','items':false,'prefixItems':[{},{}],'contains':{'type':'null'}}",
         {"[null]", "[1,null]", "[null,2]"},
         {"[]", "[1]", "[1,2]", "[1,2,null]"}},
        {"{'type':'array','contains':{'type':'integer'},'maxItems':65536}", {"['a',1]"}, {"['a']"}},
        {"{'enum':[[1],[1,2],[2,2,2],'a'],'contains':{'const':2},'maxContains':2}",
         {"[1,2]", "'a'"},
         {"[1]", "[2,2,2]"}},
        {"{'type':'array','items':{'enum':['a','b','c']},'uniqueItems':true,'minItems':2}",
         {"['a','b']", "['c','a']", "['b','a','c']"},
         {"['a']", "['a','a']", "['a','b','a']", "[]"}},
        {"{'type':'array','items':{'enum':[1,2,3,4,5,6,7,8,9]},'uniqueItems':true,'maxItems':3}",
         {"[]", "[1]", "[1,5,9]"},
         {"[1,1]", "[1,2,3,4]"}},
        {"{'type':'array','maxItems':0}", {"[]"}, {"[1]"}},
        {"{'type':'array','items':{'type':'boolean'},'uniqueItems':true}",
         {"[]", "[true]", "[false,true]"},
         {"[true,true]"}},
    };
    check_rows(rows, ARRAY_LEN(rows), true);
}

static void test_combinations(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{'anyOf':[{'type':'string'},{'type':'integer'}]}", {"'a'", "1"}, {"null", "1.5"}},
        {"{'oneOf':[{'type':'string'},{'type':'object','properties':{'a':{}},"
         "'additionalProperties':false}]}",
         {"'a'", "{}", "{'a':1}"},
         {"1", "{'b':1}"}},
        {"{'oneOf':[{'type':'object','properties':{'k':{'const':'a'},'x':{'type':'integer'}},"
         "'required':['k','x']},{'type':'object','properties':{'k':{'const':'b'},"
         "'y':{'type':'string'}},'required':['k','y']}]}",
         {"{'k':'a','x':1}", "{'k':'b','y':''}"},
         {"{'k':'a','y':''}", "{'k':'b','x':1}", "{'k':'c'}"}},
        {"{'type':'object','properties':{'a':{},'b':{}},'additionalProperties':false,"
         "'oneOf':[{'required':['a']},{'required':['b']}]}",
         {"{'a':1}", "{'b':1}"},
         {"{}", "{'a':1,'b':1}"}},
        {"{'oneOf':[{'type':'integer'},{'type':'number'}]}", {"1.5"}, {"1"}},
        {"{'allOf':[{'type':'object','properties':{'a':{'type':'integer'}},'required':['a']},"
         "{'properties':{'b':{'type':'string'}},'required':['b']}]}",
         {"{'a':1,'b':''}"},
         {"{'a':1}", "{'b':''}"}},
        {"{'allOf':[{'properties':{'a':{'minimum':3}}},{'properties':{'a':{'maximum':5}}}],"
         "'type':'object','properties':{'a':{'type':'integer'}},'required':['a']}",
         {"{'a':3}", "{'a':5}"},
         {"{'a':2}", "{'a':6}"}},
        {"{'$ref':'#/$defs/x','$defs':{'x':{'type':'integer'}}}", {"1"}, {"'a'"}},
        {"{'$ref':'#/definitions/a~1b%25','definitions':{'a/b%':{'type':'null'}}}",
         {"null"},
         {"1"}},
        {"{'type':'object','properties':{'v':{'type':'integer'},'next':{'anyOf':[{'$ref':'#'},"
         "{'type':'null'}]}},'required':['v','next'],'additionalProperties':false}",
         {"{'v':1,'next':null}", "{'v':1,'next':{'v':2,'next':null}}"},
         {"{'v':1}", "{'v':1,'next':1}", "{'v':1,'next':{'v':1}}"}},
        {"{'type':'array','items':{'$ref':'#'}}", {"[]", "[[],[[]]]"}, {"[1]", "[[]"}},
        {"{'if':{'properties':{'k':{'const':1}},'required':['k']},'then':{'required':['a']},"
         "'else':{'required':['b']},'type':'object','properties':{'k':{'type':'integer','minimum':"
         "1,"
         "'maximum':2},'a':{},'b':{}},'required':['k']}",
         {"{'k':1,'a':0}", "{'k':1,'a':0,'b':0}", "{'k':2,'b':0}", "{'k':2,'a':0,'b':0}"},
         {"{'k':1}", "{'k':1,'b':0}", "{'k':2,'a':0}", "{'k':2}"}},
        {"{'not':{'type':['string','number']}}", {"null", "true", "[]", "{}"}, {"1", "''", "1.5"}},
        {"{'type':'object','properties':{'a':{'type':'string'}},'not':{'required':['a']}}",
         {"{}"},
         {"{'a':''}"}},
    };
    check_rows(rows, ARRAY_LEN(rows), true);
}

/* Not strict: what is not known says nothing. */
static void test_lenient(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{'type':'string','format':'color','x-order':1}", {"'a'"}, {"1"}},
        {"{'type':'array','items':{'type':'integer'},'uniqueItems':true}", {"[1,2]"}, {"['a']"}},
    };
    check_rows(rows, ARRAY_LEN(rows), false);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {0};
        assert_null(compile(rows[i].schema, &(struct schema_options){.strict = true}, &err));
        assert_int_equal(err.code, ERR_UNSUPPORTED);
    }
}

static void test_space(void **state)
{
    (void)state;
    const struct schema_options compact = {.compact = true}, wide = {0};
    struct err err = {0};
    const char *schema = "{'type':'object','properties':{'a':{'type':'array'}}}";
    struct grammar *g = compile(schema, &compact, &err);
    assert_true(accepts(g, "{'a':[1,{'b':2}]}"));
    assert_false(accepts(g, "{'a': [1]}"));
    assert_false(accepts(g, "{'a':[1, 2]}"));
    assert_false(accepts(g, "{ 'a':[]}"));
    grammar_unref(g);
    g = compile(schema, &wide, &err);
    assert_true(accepts(g, "{\n\t'a': [\n\t\t1,\n\t\t2\n\t]\n}"));
    assert_false(accepts(g, "{\n\n'a':[]}"));
    assert_false(accepts(g, "{'a':  []}"));
    assert_false(accepts(g, " {'a':[]}"));
    grammar_unref(g);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *schema;
        int code;
        const char *place;
    } rows[] = {
        {"{'type':'strin'}", ERR_INVALID, "#:"},
        {"{'type':'string','minLength':5,'maxLength':3}", ERR_INVALID, "#:"},
        {"{'type':'object','properties':{'a':{'type':'string','minLength':5,'maxLength':3}}}",
         ERR_INVALID, "#/properties/a:"},
        {"{'enum':[]}", ERR_INVALID, "#:"},
        {"{'type':'object','properties':{},'required':['x'],'additionalProperties':false}",
         ERR_INVALID, "\"x\" is required"},
        {"{'allOf':[{'type':'string'},{'type':'integer'}]}", ERR_INVALID, "#/allOf/1:"},
        {"{'type':'integer','minimum':3,'maximum':2}", ERR_INVALID, "#:"},
        {"{'type':'integer','minimum':3.1,'maximum':3.9}", ERR_INVALID, "#:"},
        {"{'type':'integer','maximum':-9223372036854775808}", ERR_INVALID, "#:"},
        {"{'type':'integer','exclusiveMaximum':-9223372036854775807}", ERR_INVALID, "#:"},
        {"{'type':'integer','exclusiveMaximum':-9223372036854775808}", ERR_INVALID, "#:"},
        {"{'type':'integer','minimum':9223372036854775807}", ERR_INVALID, "#:"},
        {"{'type':'integer','exclusiveMinimum':9223372036854775807}", ERR_INVALID, "#:"},
        {"{'type':'array','minItems':3,'maxItems':2}", ERR_INVALID, "#:"},
        {"{'type':'string','enum':['a'],'pattern':'b'}", ERR_INVALID, "#:"},
        {"{'type':'string','allOf':[{'pattern':'^a'},{'pattern':'^b'}]}", ERR_INVALID, "#"},
        {"{'$ref':'#/$defs/x'}", ERR_INVALID, "#/$defs/x"},
        {"{'$ref':'other.json'}", ERR_UNSUPPORTED, "other.json"},
        {"{'$ref':'#'}", ERR_INVALID, "#: the schema leads back"},
        {"{'anyOf':[{'$ref':'#'},{'type':'null'}]}", ERR_INVALID, "leads back"},
        {"{'type':'object','properties':{'a':{'$ref':'#'}},'required':['a']}", ERR_INVALID,
         "nothing finite"},
        {"{'type':'array','contains':{'type':'integer'},'uniqueItems':true,'items':{'enum':[1,'a']}"
         "}",
         ERR_UNSUPPORTED, "#: \"contains\""},
        {"{'properties':{'a':{'contains':{'format':'uri'},'maxContains':2}}}", ERR_UNSUPPORTED,
         "#/properties/a/contains: the opposite of"},
        {"{'type':'array','contains':{},'minContains':3,'maxItems':2}", ERR_INVALID,
         "#: minContains"},
        {"{'type':'array','contains':{'type':'string'},'items':{'type':'integer'}}", ERR_INVALID,
         "#"},
        {"{'type':'array','contains':{},'minContains':5000}", ERR_LIMIT, "#: \"contains\""},
        {"{'type':'array','contains':{},'maxContains':1e20}", ERR_LIMIT, "#: \"contains\""},
        {"{'allOf':[{'contains':{'const':1}},{'contains':{'const':2}}]}", ERR_UNSUPPORTED,
         "#/allOf/1: two different"},
        {"{'unevaluatedItems':false,'contains':{'const':1}}", ERR_UNSUPPORTED, "#: \"unevaluated"},
        {"{'properties':{'a':{'type':'string','minLength':65537}}}", ERR_LIMIT,
         "#/properties/a: minLength"},
        {"{'properties':{'a':{'type':'array','minItems':70000}}}", ERR_LIMIT,
         "#/properties/a: minItems"},
        {"{'type':'string','minLength':1e300}", ERR_LIMIT, "#: minLength"},
        {"{'type':'string','maxLength':2.5}", ERR_INVALID, "#: maxLength must be an integer"},
        {"{'type':'object','properties':{'a':{'oneOf':[{'type':'string','pattern':'a'},"
         "{'type':'string','format':'uri'}]}}}",
         ERR_UNSUPPORTED, "#/properties/a:"},
        {"{'type':'string','pattern':'('}", ERR_INVALID, "#: pattern"},
        {"{'type':'number','multipleOf':0.0000000001}", ERR_UNSUPPORTED, "#: multipleOf"},
        {"{'type':'number','multipleOf':0.257}", ERR_UNSUPPORTED, "multipleOf up to 128"},
        {"{'type':'number','multipleOf':1e300}", ERR_UNSUPPORTED, "#: multipleOf"},
        {"{'properties':{'a':{'unknown':1}}}", ERR_UNSUPPORTED, "#/properties/a: unknown keyword"},
        {"{'type':'string','format':'color'}", ERR_UNSUPPORTED, "#: format"},
        {"{'not':{}}", ERR_INVALID, "#"},
        {"false", ERR_INVALID, "#"},
        {"[1]", ERR_INVALID, "#: a schema must be"},
        {"{'properties':{'a':5}}", ERR_INVALID, "#/properties/a: a schema must be"},
        {"{'type':'object','additionalProperties':{},'minProperties':5}", ERR_UNSUPPORTED,
         "#: minProperties"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {0};
        struct grammar *g = compile(rows[i].schema, &(struct schema_options){.strict = true}, &err);
        if (g)
            fail_msg("%s is taken", rows[i].schema);
        if (err.code != rows[i].code || !strstr(err.text, rows[i].place))
            fail_msg("%s: %d %s", rows[i].schema, err.code, err.text);
        assert_string_equal(err.param, "format");
    }
}

/* Sizes that would explode if subsets, orders or lengths were written out. */
static void test_sizes(void **state)
{
    (void)state;
    struct schema_options o = {.strict = true};
    struct err err = {0};
    struct buf text;
    buf_init(&text, 1 << 20);
    buf_printf(&text, "{'type':'object','additionalProperties':false,'properties':{");
    for (int i = 0; i < 300; i++)
        buf_printf(&text, "%s'member%d':{'type':'string','maxLength':1000}", i ? "," : "", i);
    buf_printf(&text, "}}");
    struct grammar *g = compile(text.ptr, &o, &err);
    if (!g)
        fail_msg("%s", err.text);
    assert_true(accepts(g, "{'member7':'a','member299':''}"));
    assert_false(accepts(g, "{'member9':'a','member7':''}"));
    assert_true(grammar_bytes(g) < (16u << 20));
    grammar_unref(g);
    buf_clear(&text);
    buf_printf(&text, "{'enum':[");
    for (int i = 0; i < 1000; i++)
        buf_printf(&text, "%s'value number %d'", i ? "," : "", i * 7919);
    buf_printf(&text, "]}");
    g = compile(text.ptr, &o, &err);
    assert_non_null(g);
    assert_true(accepts(g, "'value number 7919'"));
    assert_false(accepts(g, "'value number 7918'"));
    grammar_unref(g);
    buf_release(&text);
}

/* What could take for ever is given up with a reason. */
static void test_hostile(void **state)
{
    (void)state;
    struct err err = {0};
    struct buf text;
    buf_init(&text, 1 << 20);
    buf_printf(&text, "{'allOf':[");
    for (int i = 0; i < 40; i++)
        buf_printf(&text, "%s{'anyOf':[{'required':['a%d']},{'required':['b%d']}]}", i ? "," : "",
                   i, i);
    buf_printf(&text, "]}");
    assert_null(compile(text.ptr, &(struct schema_options){0}, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    buf_clear(&text);
    buf_printf(&text, "{'$ref':'#/$defs/d0','$defs':{");
    for (int i = 0; i < 3000; i++)
        buf_printf(&text, "'d%d':{'$ref':'#/$defs/d%d'},", i, i + 1);
    buf_printf(&text, "'d3000':{'type':'null'}}}");
    struct grammar *g = compile(text.ptr, &(struct schema_options){0}, &err);
    assert_non_null(g);
    assert_true(accepts(g, "null"));
    grammar_unref(g);
    buf_release(&text);
}

/* Sets of many states with many characters each: 1 KB of pattern took 48 s. */
static void test_hostile_pattern(void **state)
{
    (void)state;
    struct err err = {0};
    struct buf text;
    buf_init(&text, 1 << 20);
    buf_printf(&text, "{'type':'string','minLength':3,'pattern':'.*(?:[");
    for (int i = 0; i < 60; i++)
        buf_printf(&text, "\\\\u%04x", 0x4e00 + 2 * i);
    buf_printf(&text, "]){1000}'}");
    clock_t before = clock();
    assert_null(compile(text.ptr, &(struct schema_options){.strict = true}, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_true((clock() - before) / CLOCKS_PER_SEC < 10);
    buf_release(&text);
}

/* A pattern beside a length: an automaton. */
static void put_costly(struct buf *text, int n)
{
    buf_clear(text);
    buf_printf(text, "{'type':'object','properties':{");
    for (int i = 0; i < n; i++)
        buf_printf(text, "%s'p%d':{'type':'string','pattern':'^[a-f]{%d}$','minLength':3}",
                   i ? "," : "", i, 100 + i);
    buf_printf(text, "}}");
}

/* The schemas of one request's tools had a limit each: a thousand of them took as many times. */
static void test_steps_of_all(void **state)
{
    (void)state;
    const char *tool = "{'type':'object','properties':{"
                       "'path':{'type':'string','description':'where'},"
                       "'mode':{'type':'string','enum':['read','write','append']},"
                       "'range':{'type':'array','items':{'type':'integer','minimum':1}},"
                       "'day':{'type':'string','format':'date'},"
                       "'name':{'type':'string','pattern':'^[a-z][a-z0-9_]*$','maxLength':64},"
                       "'options':{'type':'object','properties':{'depth':{'type':'integer'}},"
                       "'additionalProperties':false}},'required':['path','mode'],"
                       "'additionalProperties':false}";
    uint64_t steps = 0, one = 0;
    const struct schema_options own = {.strict = true}, o = {.strict = true, .steps = &steps};
    struct err err = {0};
    struct buf text;
    int n = 0;
    buf_init(&text, 1 << 20);
    for (; n < 100; n++) {
        struct grammar *g = compile(tool, &o, &err);
        if (!g)
            fail_msg("%d: %s", n, err.text);
        grammar_unref(g);
        one = n == 0 ? steps : one;
        assert_int_equal(steps, (uint64_t)(n + 1) * one);
    }
    assert_true(one * 1024 < 12000000); /* as many tools as there may be */
    put_costly(&text, 200);
    struct grammar *g = NULL;
    steps = 0;
    for (n = 0; n < 1000; n++) {
        g = compile(text.ptr, &o, &err);
        if (!g)
            break;
        grammar_unref(g);
    }
    assert_int_equal(err.code, ERR_LIMIT);
    assert_in_range(n, 4, 999);
    assert_null(compile(tool, &o, &err)); /* nothing is left */
    g = compile(text.ptr, &own, &err);
    assert_non_null(g);
    grammar_unref(g);
    buf_release(&text);
}

/* Each list is asked for again in each sweep, up to 4096 cells each time; none of them counted. */
static void test_hostile_contains(void **state)
{
    (void)state;
    enum { N = 12000 };
    struct err err = {0};
    struct buf text;
    buf_init(&text, 4 << 20);
    buf_printf(&text, "{'anyOf':[{'type':'null'},{'$ref':'#/$defs/d0'}],'$defs':{");
    for (int i = 0; i < N; i++)
        buf_printf(&text,
                   "%s'd%d':{'type':'array','minItems':2000,'contains':{'$ref':'#/$defs/d%d'}}",
                   i ? "," : "", i, i + 1 < N ? i + 1 : i);
    buf_printf(&text, "}}");
    assert_null(compile(text.ptr, &(struct schema_options){0}, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    if (!strstr(err.text, "takes too long to be understood"))
        fail_msg("%s", err.text);
    buf_release(&text);
}

/* Every value was compared with every other: 60000 words took 94 s of the thread that admits. */
static void test_long_enum(void **state)
{
    (void)state;
    enum { N = 40000 };
    struct err err = {0};
    struct buf text;
    buf_init(&text, 4 << 20);
    buf_printf(&text, "{'allOf':[{'enum':[1");
    for (int i = 0; i < N; i++)
        buf_printf(&text, ",{'a':[%d],'b':0}", i);
    buf_printf(&text, ",1.0,{'b':-0.0,'a':[7]}]},{'enum':[2");
    for (int i = 0; i < N; i += 100)
        buf_printf(&text, ",{'b':0.0,'a':[%d]}", i);
    buf_printf(&text, "]}]}");
    clock_t before = clock();
    struct grammar *g = compile(text.ptr, &(struct schema_options){0}, &err);
    assert_non_null(g);
    assert_true((clock() - before) / CLOCKS_PER_SEC < 10);
    assert_true(accepts(g, "{'a':[700],'b':0}"));
    assert_false(accepts(g, "{'a':[701],'b':0}"));
    assert_false(accepts(g, "1"));
    grammar_unref(g);
    buf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_work_of_products),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_objects),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_combinations),
        cmocka_unit_test(test_lenient),
        cmocka_unit_test(test_space),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_steps_of_all),
        cmocka_unit_test(test_hostile_contains),
        cmocka_unit_test(test_long_enum),
        cmocka_unit_test(test_hostile_pattern),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
