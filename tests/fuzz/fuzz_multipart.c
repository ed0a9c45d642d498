/*
 * fuzz_multipart: a form from bytes that anybody may have sent. However it is cut into pieces, the
 * same parts with the same bytes come out, or the same refusal; what is handed on was in the body.
 *
 * The first byte says how it is cut, the second how long the Content-Type after it is.
 */
#include "base/buf.h"
#include "base/check.h"
#include "gateway/multipart.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_part(void *ctx, struct str name, struct str filename, struct err *err)
{
    (void)err;
    CHECK(name.len > 0);
    buf_add_str(ctx, name);
    buf_add_z(ctx, filename.ptr == NULL ? "<" : "<<");
    buf_add_str(ctx, filename);
    buf_add_char(ctx, '=');
    return 0;
}

static int on_bytes(void *ctx, struct str bytes, struct err *err)
{
    (void)err;
    CHECK(bytes.len > 0);
    buf_add_str(ctx, bytes);
    return 0;
}

static int on_part_end(void *ctx, struct err *err)
{
    (void)err;
    buf_add_char(ctx, ';');
    return 0;
}

static int read_form(struct str type, struct str body, size_t n, struct buf *out)
{
    struct multipart m;
    struct err err = {0};
    const struct multipart_handler h = {on_part, on_bytes, on_part_end, out};
    int code = multipart_init(&m, type, &h, &err);
    for (size_t i = 0; code == 0 && i < body.len; i += n)
        code = multipart_feed(&m, str_sub(body, i, n), &err);
    if (code == 0)
        code = multipart_end(&m, &err);
    CHECK((code != 0) == (err.text[0] != '\0'));
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole, cut;
    if (size < 2)
        return 0;
    struct str rest = {(const char *)data + 2, size - 2};
    struct str type = str_sub(rest, 0, data[1]), body = str_from(rest, type.len);
    buf_init(&whole, 1 << 22);
    buf_init(&cut, 1 << 22);
    int code = read_form(type, body, body.len + 1, &whole);
    CHECK(read_form(type, body, (size_t)data[0] + 1, &cut) == code);
    if (code == 0)
        CHECK(str_eq(buf_str(&whole), buf_str(&cut)));
    buf_release(&whole);
    buf_release(&cut);
    return 0;
}
