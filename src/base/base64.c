/*
 * base64: see the header.
 */
#include "base/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t base64_len(size_t n)
{
    return (n + 2) / 3 * 4;
}

bool base64_write(const void *bytes, size_t n, struct buf *out)
{
    const uint8_t *p = bytes;
    bool ok = true;
    for (size_t i = 0; i < n && ok; i += 3) {
        uint32_t word = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) |
                        (i + 2 < n ? p[i + 2] : 0);
        char quad[4] = {digits[word >> 18], digits[word >> 12 & 63],
                        i + 1 < n ? digits[word >> 6 & 63] : '=',
                        i + 2 < n ? digits[word & 63] : '='};
        ok = buf_add(out, quad, 4);
    }
    return ok;
}

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_read(struct str text, void *ret, size_t n)
{
    uint8_t *out = ret;
    if (text.len != base64_len(n))
        return false;
    for (size_t i = 0; i < n; i += 3) {
        const char *quad = text.ptr + i / 3 * 4;
        size_t have = n - i < 3 ? n - i : 3;
        uint32_t word = 0;
        for (size_t k = 0; k < 4; k++) {
            int v = k <= have ? value_of(quad[k]) : quad[k] == '=' ? 0 : -1;
            if (v < 0)
                return false;
            word = word << 6 | (uint32_t)v;
        }
        for (size_t k = 0; k < have; k++)
            out[i + k] = (uint8_t)(word >> (16 - 8 * k));
    }
    return true;
}
