/* The template interpreter: what it renders, how it fails, where it stops. */
#include "base/json.h"
#include "base/mem.h"
#include "text/jinja.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct jinja_limits limits;
static struct err err;

static int setup(void **state)
{
    (void)state;
    limits = jinja_limits_default();
    limits.now_unix = 1753000000;
    return 0;
}

/* Compiles and renders; the text in *out. */
static int render(const char *template, const char *vars, struct buf *out)
{
    struct jinja *t;
    buf_init(out, 1 << 20);
    memset(&err, 0, sizeof(err));
    int rc = jinja_compile(str_z(template), &t, &err);
    if (rc != 0)
        return rc;
    json_t *v = json_parse(str_z(vars), 32, &err);
    assert_non_null(v);
    rc = jinja_render(t, v, &limits, out, &err);
    json_decref(v);
    jinja_free(t);
    return rc;
}

static void same(const char *template, const char *vars, const char *want)
{
    struct buf out;
    int rc = render(template, vars, &out);
    if (rc != 0)
        fail_msg("%s: %s", template, err.text);
    assert_string_equal(out.ptr ? out.ptr : "", want);
    buf_release(&out);
}

static void fails(const char *template, const char *vars, int code, const char *text)
{
    struct buf out;
    assert_int_equal(render(template, vars, &out), code);
    if (!strstr(err.text, text))
        fail_msg("%s: \"%s\" is not in \"%s\"", template, text, err.text);
    assert_int_equal(out.len, 0); /* a failed rendering leaves nothing behind */
    buf_release(&out);
}

static void test_white_space(void **state)
{
    (void)state;
    same("a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "{}", "a\n  b\nc");
    same("a\n  {%+ if true +%}\n  b\n  {%- endif -%}\n\n c", "{}", "a\n  \n  bc");
    same("x {{- 1 -}} y {#- c -#} z", "{}", "x1yz");
    same("{% raw %}{{ x }}{% endraw %}\n!", "{}", "{{ x }}!");
    same("a\r\nb\rc\r\n", "{}", "a\nb\nc");
}

static void test_python_forms(void **state)
{
    (void)state;
    same("{{ [1, 2.0, 1e16, 1e-5, none, true, 'it\\'s', \"q'\\\"\"] }}", "{}",
         "[1, 2.0, 1e+16, 1e-05, None, True, \"it's\", 'q\\'\"']");
    same("{{ {'a': (1,), 'b': []} }}{{ x | tojson }}", "{\"x\": {\"k\": \"\\u00e9\\n\"}}",
         "{'a': (1,), 'b': []}{\"k\": \"\xc3\xa9\\n\"}");
    same("{{ '2.5' > '0' }}", "{}", "True"); /* once taken for a NaN */
    same("{{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** -1 }} {{ 0.1 + 0.2 }}", "{}",
         "-4 2 3.5 0.5 0.30000000000000004");
}

static void test_code_points(void **state)
{
    (void)state;
    same("{{ s | length }}{{ s[1] }}{{ s[::-1] }}{{ s | upper }}",
         "{\"s\": \"a\\u00df\\ud83c\\udf27\"}",
         "3\xc3\x9f\xf0\x9f\x8c\xa7\xc3\x9f"
         "aASS\xf0\x9f\x8c\xa7");
}

static void test_scopes(void **state)
{
    (void)state;
    same("{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}", "{}",
         "231");
    same("{% set n = namespace(x=0) %}{% for i in [1, 2] %}{% set n.x = n.x + i %}{% endfor %}"
         "{{ n.x }}",
         "{}", "3");
    same("{% macro m(a, b=a) %}{{ a }}{{ b }}{{ y }}{% endmacro %}{% set y = 5 %}{{ m(1) }}", "{}",
         "115");
}

static void test_generation_is_transparent(void **state)
{
    (void)state;
    same("{% generation %}a{% endgeneration %}b", "{}", "ab");
}

static void test_clock(void **state)
{
    (void)state;
    setenv("TZ", "UTC", 1);
    same("{{ strftime_now('%Y-%m-%d %H:%M:%S%%') }}", "{}", "2025-07-20 08:26:40%");
}

static void test_syntax_errors_name_the_line(void **state)
{
    (void)state;
    fails("a\n{% if %}", "{}", ERR_SYNTAX, "line 2: ");
    fails("a\nb\n{{ x", "{}", ERR_SYNTAX, "line 3: ");
    fails("{% for x in y %}\n\n", "{}", ERR_SYNTAX, "endfor");
    fails("\n\n{{ x | nope }}", "{}", ERR_SYNTAX, "line 3: there is no filter named 'nope'");
    fails("{{ 'a", "{}", ERR_SYNTAX, "not closed");
    fails("{{ a b }}", "{}", ERR_SYNTAX, "got 'b'");
    fails("{# x", "{}", ERR_SYNTAX, "comment");
    fails("{% include 'x' %}", "{}", ERR_SYNTAX, "'include' is not supported");
    fails("{% bogus %}", "{}", ERR_SYNTAX, "unknown statement 'bogus'");
    fails("{% break %}", "{}", ERR_SYNTAX, "outside of a loop");
    fails("\xff", "{}", ERR_SYNTAX, "UTF-8");
    fails("{{ 99999999999999999999 }}", "{}", ERR_SYNTAX, "64 bits");
}

static void test_runtime_errors_name_the_line(void **state)
{
    (void)state;
    fails("\n{{ x.y }}", "{}", ERR_INVALID, "line 2: 'x' is undefined");
    fails("\n\n{{ raise_exception('no ' ~ 1) }}", "{}", ERR_INVALID, "line 3: no 1");
    fails("{{ 1 + 'a' }}", "{}", ERR_INVALID, "unsupported operand");
    fails("{{ 1 // 0 }}", "{}", ERR_INVALID, "division by zero");
    fails("{{ 9223372036854775807 + 1 }}", "{}", ERR_INVALID, "64 bits");
    fails("{{ l.append(1) }}", "{\"l\": []}", ERR_INVALID, "may not change");
    fails("{{ ''.__class__() }}", "{}", ERR_INVALID, "__class__");
    fails("{% if true %}{{ 1 | nope }}{% endif %}", "{}", ERR_INVALID, "no filter named 'nope'");
    same("{% if false %}{{ 1 | nope }}{% endif %}ok", "{}", "ok");
    fails("{{ range(100001) }}", "{}", ERR_INVALID, "too big");
    same("{{ x }}{{ x is defined }}{{ d.y }}", "{\"d\": {}}", "False");
}

static void test_limits(void **state)
{
    (void)state;
    limits.steps_max = 10000;
    fails("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "{}",
          ERR_LIMIT, "steps");
    limits = jinja_limits_default();
    limits.out_bytes_max = 1000;
    fails("{% for i in range(1000) %}xx{% endfor %}", "{}", ERR_LIMIT, "bytes of output");
    fails("{{ 'x' * 1001 }}", "{}", ERR_LIMIT, "bytes of output");
    limits = jinja_limits_default();
    limits.memory_bytes_max = 1 << 20;
    fails("{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = n.l + n.l %}"
          "{% endfor %}",
          "{}", ERR_LIMIT, "bytes of memory");
    limits = jinja_limits_default();
    fails("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{}", ERR_LIMIT, "levels of nesting");
    fails("{% set n = namespace() %}{% set n.x = n %}{{ n }}", "{}", ERR_LIMIT, "levels");
    fails("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "{}", ERR_LIMIT, "levels");
}

/* Building a text piece by piece must not cost its square: 200,000 pieces fit the limits. */
static void test_joining_is_linear(void **state)
{
    struct buf out;
    (void)state;
    limits.memory_bytes_max = (size_t)256 << 20;
    assert_int_equal(
        render("{% set n = namespace(s='') %}{% for i in range(100000) %}{% set n.s = "
               "n.s + 'some text ' %}{% set n.s = n.s ~ i %}{% endfor %}{{ n.s | length }}",
               "{}", &out),
        0);
    assert_string_equal(out.ptr, "1488890");
    buf_release(&out);
}

/* A string that shares its bytes must not see what another one appends to them. */
static void test_joining_does_not_alias(void **state)
{
    (void)state;
    same("{% set a = 'x' ~ 'y' %}{% set b = a ~ '1' %}{% set c = a ~ '2' %}{{ a }} {{ b }} {{ c }}",
         "{}", "xy xy1 xy2");
}

static char *repeat(const char *z, size_t n, const char *end)
{
    size_t len = strlen(z);
    char *s = mem_alloc(n * len + strlen(end) + 1);
    for (size_t i = 0; i < n; i++)
        memcpy(s + i * len, z, len);
    strcpy(s + n * len, end);
    return s;
}

static void test_deep_nesting_is_refused(void **state)
{
    static const char *const DEEP[] = {"{{ (",   "{{ [",       "{{ not ", "{{ -",
                                       "{{ {1:", "{% if 1 %}", "{{ x[",   "{% for (a, "};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(DEEP); i++) {
        const char *unit = strncmp(DEEP[i], "{%", 2) == 0 ? DEEP[i] : DEEP[i] + 3;
        char *body = repeat(unit, 100000, "");
        char *whole = mem_alloc(strlen(body) + 8);
        sprintf(whole, "{{ %s", body);
        struct buf out;
        int rc = render(unit[0] == '{' && unit[1] == '%' ? body : whole, "{}", &out);
        assert_true(rc == ERR_SYNTAX || rc == ERR_LIMIT);
        buf_release(&out);
        free(whole);
        free(body);
    }
    char *chain = repeat("1+", 100000, "1 }}");
    char *whole = mem_alloc(strlen(chain) + 8);
    sprintf(whole, "{{ %s", chain);
    fails(whole, "{}", ERR_LIMIT, "levels of nesting");
    free(whole);
    free(chain);
}

static void test_source_limit(void **state)
{
    (void)state;
    char *big = repeat("0123456789", 60000, "");
    fails(big, "{}", ERR_LIMIT, "at most");
    free(big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_white_space, setup),
        cmocka_unit_test_setup(test_python_forms, setup),
        cmocka_unit_test_setup(test_code_points, setup),
        cmocka_unit_test_setup(test_scopes, setup),
        cmocka_unit_test_setup(test_generation_is_transparent, setup),
        cmocka_unit_test_setup(test_clock, setup),
        cmocka_unit_test_setup(test_syntax_errors_name_the_line, setup),
        cmocka_unit_test_setup(test_runtime_errors_name_the_line, setup),
        cmocka_unit_test_setup(test_limits, setup),
        cmocka_unit_test_setup(test_joining_is_linear, setup),
        cmocka_unit_test_setup(test_joining_does_not_alias, setup),
        cmocka_unit_test_setup(test_deep_nesting_is_refused, setup),
        cmocka_unit_test_setup(test_source_limit, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
