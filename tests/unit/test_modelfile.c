/*
 * Modelfiles: what is one, and which line says what is wrong with what is none.
 */
#include "base/mem.h"
#include "store/modelfile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void test_all_commands(void **state)
{
    (void)state;
    static const char text[] = "\xEF\xBB\xBF# a comment\r\n"
                               "from ./model file.gguf\r\n"
                               "\n"
                               "  PARAMETER temperature 0.5\n"
                               "PARAMETER num_predict 12\n"
                               "PARAMETER stop \"<|end|>\"\n"
                               "parameter stop User:\n"
                               "PARAMETER use_mmap false\n"
                               "SYSTEM \"\"\"two\n"
                               "lines with \"quotes\" # and no comment\"\"\"\n"
                               "TEMPLATE {{ messages }}\n"
                               "MESSAGE User \"hello\"\n"
                               "MESSAGE assistant hi there \n"
                               "LICENSE \"\"\"\n"
                               "MIT\"\"\"\n"
                               "LICENSE other\n"
                               "REQUIRES 0.9.0";
    struct modelfile m;
    struct err err = {0};
    if (modelfile_parse(str_z(text), &m, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(m.n_from, 1);
    assert_string_equal(m.from[0], "./model file.gguf");
    assert_string_equal(m.system_text, "two\nlines with \"quotes\" # and no comment");
    assert_string_equal(m.template_text, "{{ messages }}");
    assert_int_equal(m.n_license, 2);
    assert_string_equal(m.license[0], "\nMIT");
    struct buf json;
    buf_init(&json, 4096);
    assert_true(json_write(m.parameters, &json));
    assert_string_equal(json.ptr, "{\"temperature\":0.5,\"num_predict\":12,\"stop\":[\"<|end|>\","
                                  "\"User:\"],\"use_mmap\":false}");
    buf_clear(&json);
    assert_true(json_write(m.messages, &json));
    assert_string_equal(json.ptr, "[{\"role\":\"user\",\"content\":\"hello\"},{\"role\":"
                                  "\"assistant\",\"content\":\"hi there\"}]");
    buf_release(&json);
    modelfile_release(&m);
}

/* A text may have quotes, also at its end: the last ones of their line close. */
static void test_quotes(void **state)
{
    (void)state;
    static const struct {
        const char *given, *text;
    } one[] = {
        {"\"\"\"be \"brief\"\"\"\"", "be \"brief\""},
        {"\"\"\"\"\"\"\"", "\""},
        {"\"say \"x\"\" \r", "say \"x\""},
        {"\"\n\"", "\n"},
        {"\"\"\"a \"\"\" b\"\"\"", "a \"\"\" b"},
        {"\"\"", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(one); i++) {
        struct modelfile m;
        struct err err = {0};
        char file[128];
        snprintf(file, sizeof file, "FROM x\nSYSTEM %s\nLICENSE \"MIT\"\n", one[i].given);
        if (modelfile_parse(str_z(file), &m, &err) != 0)
            fail_msg("%s: %s", file, err.text);
        assert_string_equal(m.system_text, one[i].text);
        assert_string_equal(m.license[0], "MIT");
        modelfile_release(&m);
    }
}

static void test_what_is_none(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"", "no FROM"},
        {"# only this\n", "no FROM"},
        {"FROM x\nNONSENSE y\n", "(line 2) there is no command NONSENSE"},
        {"FROM\n", "(line 1) a value is missing"},
        {"FROM x\n\nSYSTEM \"\"\"never\n\nclosed", "(line 3) quotes are opened"},
        {"FROM x\nSYSTEM \"a\" b\n", "(line 2) something follows"},
        {"FROM x\nSYSTEM \"\"\"a\"\"\" b\nFROM y\"\"\"\n", "(line 2) something follows"},
        {"FROM x\nSYSTEM \"\"\"a\nb\"\"\"\nPARAMETER\n", "(line 4) PARAMETER takes a name"},
        {"FROM x\nPARAMETER top_k\n", "(line 2) a value is missing"},
        {"FROM x\nMESSAGE robot hi\n", "(line 2) MESSAGE takes"},
        {"FROM x\nADAPTER y\n", "(line 2) this is not supported: ADAPTER"},
        {"FROM x\nPARAMETER stop \xff\n", "(line 2) the value is not UTF-8"},
        {"FROM x\nPARAMETER st\xffop y\n", "(line 2) the name of the parameter is not UTF-8"},
        {"FROM x\nSYSTEM \"\xff\xfe\"\n", "(line 2) the text is not UTF-8"},
        {"FROM x\nLICENSE \xff\n", "(line 2) the text is not UTF-8"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct modelfile m;
        struct err err = {0};
        assert_int_not_equal(modelfile_parse(str_z(bad[i].text), &m, &err), 0);
        if (strstr(err.text, bad[i].words) == NULL)
            fail_msg("%s: %s", bad[i].text, err.text);
    }
}

/* Whatever stands there, it ends, and nothing is read beyond it: every beginning of a good one. */
static void test_every_beginning(void **state)
{
    (void)state;
    static const char text[] =
        "FROM a\nPARAMETER stop \"b\"\nSYSTEM \"\"\"c\"\"\"\nMESSAGE user d\n";
    for (size_t n = 0; n < sizeof text; n++) {
        struct modelfile m;
        char *exact = mem_alloc(n + 1);
        memcpy(exact, text, n);
        if (modelfile_parse((struct str){exact, n}, &m, NULL) == 0)
            modelfile_release(&m);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_commands),
        cmocka_unit_test(test_quotes),
        cmocka_unit_test(test_what_is_none),
        cmocka_unit_test(test_every_beginning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
