/*
 * test_volatile: what is taken out of prompts, and what is not.
 */
#include "api/volatile.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define BILLING "x-anthropic-billing-header: cc_version=2.1.15.7b4; cc_entrypoint=cli; cch=eb6c6;"
#define BUDGET  "<total_tokens>123456 tokens left</total_tokens>"

static void becomes(const char *messages, const char *want, int64_t n_billing, int64_t n_budget)
{
    struct api_volatile found = {0};
    struct err err = {0};
    json_t *m = json_parse(str_z(messages), 32, &err), *w = json_parse(str_z(want), 32, &err);
    assert_non_null(m);
    assert_non_null(w);
    assert_int_equal(api_volatile_remove(m, &found, &err), 0);
    if (!json_equal(m, w))
        fail_msg("%s", json_dumps(m, 0));
    assert_int_equal(found.n_billing, n_billing);
    assert_int_equal(found.n_budget, n_budget);
    json_decref(m);
    json_decref(w);
}

static void stays(const char *messages)
{
    becomes(messages, messages, 0, 0);
}

#define SYSTEM(text) "[{\"role\":\"system\",\"content\":\"" text "\"},{\"role\":\"user\"}]"

static void test_billing_header(void **state)
{
    (void)state;
    becomes(SYSTEM(BILLING "\\nYou help."), SYSTEM("You help."), 1, 0);
    becomes(SYSTEM("x-anthropic-billing-header: cch=0; more=1;\\nA\\nB"), SYSTEM("A\\nB"), 1, 0);
    becomes(SYSTEM(BILLING), "[{\"role\":\"user\"}]", 1, 0);
    becomes("[{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":\"" BILLING
            "\"},{\"type\":\"text\",\"text\":\"You\"}]}]",
            "[{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":\"You\"}]}]", 1, 0);
    /* not at the head, not of the first system text, without its hash, of another role */
    stays(SYSTEM("You help.\\n" BILLING));
    stays(SYSTEM("x-anthropic-billing-header: what is it?\\nx"));
    stays(SYSTEM("x-anthropic-billing-header: cch=;\\nx"));
    stays(SYSTEM("x-anthropic-billing-header: cch=eb6c6\\nx"));
    stays("[{\"role\":\"user\",\"content\":\"" BILLING "\"}]");
    stays("[{\"role\":\"system\",\"content\":\"a\"},{\"role\":\"system\",\"content\":\"" BILLING
          "\"}]");
    stays("[{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
          "{\"type\":\"text\",\"text\":\"" BILLING "\"}]}]");
}

static void test_token_budget(void **state)
{
    (void)state;
    becomes(SYSTEM("a " BUDGET " b " BUDGET), SYSTEM("a  b "), 0, 2);
    /* between turns: the message goes */
    becomes("[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"system\",\"content\":\"" BUDGET
            "\\n\"},{\"role\":\"user\",\"content\":\"v\"}]",
            "[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"user\",\"content\":\"v\"}]", 0, 1);
    becomes(SYSTEM(BILLING "\\n" BUDGET "x"), SYSTEM("x"), 1, 1);
    stays("[{\"role\":\"user\",\"content\":\"" BUDGET "\"}]");
    stays(SYSTEM("<total_tokens>many tokens left</total_tokens>"));
    stays(SYSTEM("<total_tokens>5 tokens left</total_token"));
    stays(SYSTEM("<total_tokens>"));
    stays(SYSTEM("<total_tokens>111111111111111111111111 tokens left</total_tokens>"));
}

static void test_what_is_no_text(void **state)
{
    (void)state;
    stays("[{\"role\":\"system\",\"content\":null},{\"role\":\"system\"},{\"content\":5},"
          "{\"role\":\"system\",\"content\":[5,{\"type\":\"image\"},{\"text\":7}]}]");
    stays("[{\"role\":\"system\",\"content\":\"\"}]"); /* empty, but not by us */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_billing_header),
        cmocka_unit_test(test_token_budget),
        cmocka_unit_test(test_what_is_no_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
