/*
 * multipart: forms as clients write them, cut at every place; and what is no form.
 */
#include "base/buf.h"
#include "base/mem.h"
#include "gateway/multipart.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TYPE "multipart/form-data; boundary=xx"

/* All that a form says, as text: "name(filename)=bytes;" for each part. */
static int on_part(void *ctx, struct str name, struct str filename, struct err *err)
{
    struct buf *out = ctx;
    buf_add_str(out, name);
    if (filename.ptr != NULL)
        buf_printf(out, "(%.*s)", STR_ARG(filename));
    buf_add_char(out, '=');
    return str_eq_z(name, "refused") ? err_set(err, ERR_LIMIT, "no") : 0;
}

static int on_bytes(void *ctx, struct str bytes, struct err *err)
{
    (void)err;
    assert_true(bytes.len > 0);
    buf_add_str(ctx, bytes);
    return 0;
}

static int on_part_end(void *ctx, struct err *err)
{
    (void)err;
    buf_add_char(ctx, ';');
    return 0;
}

/* Feeds the body in pieces of n bytes. */
static int read_form(const char *type, struct str body, size_t n, struct buf *out, struct err *err)
{
    struct multipart m;
    const struct multipart_handler h = {on_part, on_bytes, on_part_end, out};
    buf_clear(out);
    int code = multipart_init(&m, str_z(type), &h, err);
    for (size_t i = 0; code == 0 && i < body.len; i += n)
        code = multipart_feed(&m, str_sub(body, i, n), err);
    return code == 0 ? multipart_end(&m, err) : code;
}

static void check(const char *body, size_t len, const char *want, size_t want_len)
{
    struct buf out;
    struct err err = {0};
    buf_init(&out, 1 << 20);
    for (size_t n = 1; n <= len; n++) {
        int code = read_form(TYPE, (struct str){body, len}, n, &out, &err);
        if (code != 0)
            fail_msg("in pieces of %zu: %s", n, err.text);
        assert_int_equal(out.len, want_len);
        assert_memory_equal(out.ptr, want, want_len);
    }
    buf_release(&out);
}

#define CHECK_FORM(body, want) check(body, sizeof(body) - 1, want, sizeof(want) - 1)
#define HEAD                   "Content-Disposition: form-data; name=\"a\"\r\n\r\n"

static void test_forms(void **state)
{
    (void)state;
    CHECK_FORM("--xx\r\n" HEAD "b\r\n--xx--", "a=b;");
    CHECK_FORM("--xx\r\n" HEAD "\r\n--xx--\r\n", "a=;");
    CHECK_FORM("--xx\r\n" HEAD
               "1\r\n--xx\r\ncontent-disposition:form-data;name=b;filename=\"q\\\"\\\\"
               "z\"\r\nContent-Type: text/plain\r\n\r\n2\r\n--xx--\r\n",
               "a=1;b(q\"\\z)=2;");
}

/* Content that looks like the boundary, and is not. */
static void test_near_boundaries(void **state)
{
    (void)state;
    CHECK_FORM("--xx\r\n" HEAD "\r\r\n\r\n-\r\n--\r\n--x\r\n--y\r\n\r\n--xx--\r\n",
               "a=\r\r\n\r\n-\r\n--\r\n--x\r\n--y\r\n;");
    CHECK_FORM("--xx\r\n" HEAD "--xx\n--xx--\r\n--x\0\r\n--xx--", "a=--xx\n--xx--\r\n--x\0;");
    CHECK_FORM("--xx\r\n" HEAD "\r\n\r\n--x\r\r\n--xx--", "a=\r\n\r\n--x\r;");
}

static void refuse(const char *type, const char *body, int want, const char *text)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    for (size_t n = 1; n <= strlen(body) + 1; n++) {
        struct err err = {0};
        assert_int_equal(read_form(type, str_z(body), n, &out, &err), want);
        if (strstr(err.text, text) == NULL)
            fail_msg("'%s' is not in '%s'", text, err.text);
    }
    buf_release(&out);
}

static void test_what_is_no_form(void **state)
{
    (void)state;
    refuse("text/plain", "", ERR_INVALID, "multipart/form-data");
    refuse("multipart/form-data", "", ERR_INVALID, "boundary");
    refuse("multipart/form-data; boundary=", "", ERR_INVALID, "boundary");
    refuse("multipart/form-data; boundary=\"a\r\n\"", "", ERR_INVALID, "boundary");
    refuse("multipart/form-data; boundary=\"a", "", ERR_INVALID, "boundary");
    refuse("multipart/form-data; boundary=\"a \"", "", ERR_INVALID, "boundary");
    refuse("multipart/form-data; boundary="
           "0123456789012345678901234567890123456789012345678901234567890123456789x",
           "", ERR_INVALID, "boundary");
    refuse(TYPE, "", ERR_INVALID, "closing");
    refuse(TYPE, "--xx--\r\n", ERR_INVALID, "after a boundary");
    refuse(TYPE, "hello\r\n--xx\r\n", ERR_INVALID, "begin");
    refuse(TYPE, "\r\n--xx\r\n", ERR_INVALID, "begin");
    refuse(TYPE, "--xx \r\n", ERR_INVALID, "after a boundary");
    refuse(TYPE, "--xx\r\n" HEAD "b\r\n--xx", ERR_INVALID, "closing");
    refuse(TYPE, "--xx\r\n" HEAD "b\r\n--xx-", ERR_INVALID, "closing");
    refuse(TYPE, "--xx\r\n" HEAD "b\r\n--xx-\r\n", ERR_INVALID, "after a boundary");
    refuse(TYPE, "--xx\r\n" HEAD "b\r\n--xx--\r\nmore", ERR_INVALID, "goes on");
    refuse(TYPE, "--xx\r\n\r\nb\r\n--xx--", ERR_INVALID, "Content-Disposition");
    refuse(TYPE, "--xx\r\nno colon\r\n\r\nb\r\n--xx--", ERR_INVALID, "broken header");
    refuse(TYPE, "--xx\r\nContent-Disposition: form-data\r\n\r\nb\r\n--xx--", ERR_INVALID, "name");
    refuse(TYPE, "--xx\r\nContent-Disposition: attachment; name=a\r\n\r\nb\r\n--xx--", ERR_INVALID,
           "form-data");
    refuse(TYPE, "--xx\r\nContent-Disposition: form-data; name=\"a\r\n\r\nb\r\n--xx--", ERR_INVALID,
           "name");
    refuse(TYPE, "--xx\r\nContent-Disposition: form-data; name=a; name=b\r\n\r\nb\r\n--xx--",
           ERR_INVALID, "twice");
    refuse(TYPE, "--xx\r\nContent-Disposition: form-data; name=refused\r\n\r\nb\r\n--xx--",
           ERR_LIMIT, "no");
}

static void test_limits(void **state)
{
    (void)state;
    struct buf body, out;
    struct err err = {0};
    buf_init(&body, 1 << 20);
    buf_init(&out, 1 << 20);
    buf_add_z(&body, "--xx\r\nX: ");
    for (int i = 0; i < MULTIPART_HEAD_MAX; i++)
        buf_add_char(&body, 'y');
    assert_int_equal(read_form(TYPE, buf_str(&body), 100, &out, &err), ERR_LIMIT);
    buf_clear(&body);
    for (int i = 0; i <= MULTIPART_PARTS_MAX; i++)
        buf_add_z(&body, i == 0 ? "--xx\r\n" HEAD "b" : "\r\n--xx\r\n" HEAD "b");
    buf_add_z(&body, "\r\n--xx--");
    assert_int_equal(read_form(TYPE, buf_str(&body), 100, &out, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "parts"));
    buf_release(&body);
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_near_boundaries),
        cmocka_unit_test(test_what_is_no_form),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
