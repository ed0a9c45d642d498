/*
 * utf8_step: see the header.
 */
#include "grammar/utf8_step.h"

enum { BETWEEN, TAIL_1, TAIL_2, TAIL_3, AFTER_E0, AFTER_ED, AFTER_F0, AFTER_F4 };

static int lead(uint8_t b)
{
    if (b < 0x80)
        return BETWEEN;
    if (b < 0xc2 || b > 0xf4)
        return -1;
    if (b < 0xe0)
        return TAIL_1;
    if (b < 0xf0)
        return b == 0xe0 ? AFTER_E0 : b == 0xed ? AFTER_ED : TAIL_2;
    return b == 0xf0 ? AFTER_F0 : b == 0xf4 ? AFTER_F4 : TAIL_3;
}

int utf8_step(int state, uint8_t b)
{
    static const struct {
        uint8_t from, to;
        int8_t next;
    } tail[UTF8_STATES] = {
        [TAIL_1] = {0x80, 0xbf, BETWEEN},  [TAIL_2] = {0x80, 0xbf, TAIL_1},
        [TAIL_3] = {0x80, 0xbf, TAIL_2},   [AFTER_E0] = {0xa0, 0xbf, TAIL_1},
        [AFTER_ED] = {0x80, 0x9f, TAIL_1}, [AFTER_F0] = {0x90, 0xbf, TAIL_2},
        [AFTER_F4] = {0x80, 0x8f, TAIL_2},
    };
    if (state == BETWEEN)
        return lead(b);
    return b >= tail[state].from && b <= tail[state].to ? tail[state].next : -1;
}

bool utf8_is_whole(struct str s)
{
    int state = BETWEEN;
    for (size_t i = 0; i < s.len && state >= 0; i++)
        state = utf8_step(state, (uint8_t)s.ptr[i]);
    return state == BETWEEN;
}

int utf8_put(uint32_t c, uint8_t ret[UTF8_LEN_MAX])
{
    if (c < 0x80) {
        ret[0] = (uint8_t)c;
        return 1;
    }
    int n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t mark[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (int i = n - 1; i > 0; i--, c >>= 6)
        ret[i] = (uint8_t)(0x80 | (c & 0x3f));
    ret[0] = (uint8_t)(mark[n] | c);
    return n;
}

int utf8_get(struct str s, uint32_t *ret)
{
    int state = BETWEEN, n = 0;
    uint32_t code = 0;
    do {
        if ((size_t)n == s.len)
            return 0;
        uint8_t b = (uint8_t)s.ptr[n];
        state = utf8_step(state, b);
        code = n > 0      ? code << 6 | (b & 0x3f)
               : b < 0x80 ? b
                          : b & (b < 0xe0   ? 0x1f
                                 : b < 0xf0 ? 0x0f
                                            : 0x07);
        n++;
    } while (state > 0);
    *ret = code;
    return state < 0 ? 0 : n;
}
