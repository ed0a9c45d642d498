/*
 * fuzz_jinja: compiles bytes as a template and renders it with variables of every kind, under small
 * limits. What comes out must be UTF-8 (the inputs are), and rendering twice must give the same.
 */
#include "base/json.h"
#include "text/jinja.h"
#include "text/jinja_utf8.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char VARS[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"S \\u00e9\"}, {\"role\": \"user\", "
    "\"content\": [{\"type\": \"text\", \"text\": \"\\ud83c\\udf27 \\u01c5\"}]}, {\"role\": "
    "\"assistant\", \"content\": null, \"tool_calls\": [{\"function\": {\"name\": \"f\", "
    "\"arguments\": {\"x\": [1, -2.5, true]}}}]}], \"tools\": [], \"s\": \"a-B c\\n<&>%s {0}\", "
    "\"n\": -9223372036854775808, \"i\": 7, \"f\": 1.5, \"b\": false, \"d\": {\"k\": 1, \"j\": "
    "[3, 1, 2]}, \"l\": [\"b\", \"A\", \"c\", \"b\"], \"bos_token\": \"<s>\"}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static json_t *vars;
    static const struct jinja_limits limits = {.steps_max = 100000,
                                               .depth_max = 200,
                                               .out_bytes_max = 1 << 18,
                                               .memory_bytes_max = 8 << 20,
                                               .now_unix = 1753000000};
    struct jinja *t;
    struct err err;
    if (!vars)
        vars = json_parse((struct str){VARS, sizeof(VARS) - 1}, 16, &err);
    if (!vars)
        abort();
    if (jinja_compile((struct str){(const char *)data, len}, &t, &err) != 0)
        return 0;
    struct buf a, b;
    buf_init(&a, 1 << 20);
    buf_init(&b, 1 << 20);
    int rc = jinja_render(t, vars, &limits, &a, &err);
    if (rc == 0 && !u8_valid(buf_str(&a)))
        abort();
    if (rc != 0 && (a.len != 0 || err.text[0] == 0))
        abort();
    if (jinja_render(t, vars, &limits, &b, &err) != rc || !str_eq(buf_str(&a), buf_str(&b)))
        abort();
    buf_release(&a);
    buf_release(&b);
    jinja_free(t);
    return 0;
}
