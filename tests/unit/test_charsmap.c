/*
 * Rules of normalization: what they find, what is refused, and that no bytes lead outside of them.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "vocab_maker.h"

#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct charsmap load(const struct vocab_maker *v)
{
    struct charsmap m = {0};
    assert_int_equal(charsmap_load(v->chars, (uint64_t)v->n_chars, &m, NULL), 0);
    return m;
}

static void rules_are_found(void **state)
{
    (void)state;
    struct vocab_maker *v = mem_zero(1, sizeof(*v));
    vocab_charsmap(v);
    struct charsmap m = load(v);
    struct str to = {0};
    assert_int_equal(charsmap_find(&m, STR("Ab"), &to), 1);
    assert_true(str_eq(to, STR("a")));
    assert_int_equal(charsmap_find(&m, STR("\t"), &to), 1);
    assert_true(str_eq(to, STR(" ")));
    assert_int_equal(charsmap_find(&m, STR("b"), &to), 0);
    assert_int_equal(charsmap_find(&m, STR(""), &to), 0);
    charsmap_release(&m);
    assert_int_equal(charsmap_find(&m, STR("A"), &to), 0);
    free(v);
}

/* Unit 1 is reached by "a" and leads to itself by "a": only the bound ends that. */
static void a_circle(void **state)
{
    (void)state;
    enum { N = 0x61 };
    uint32_t data[1 + N + 1] = {htole32(N * 4), htole32(0x60u << 10),
                                htole32(0x61u << 10 | 0x100 | 'a')};
    struct charsmap m = {0};
    struct str to;
    char text[1000];
    memset(text, 'a', sizeof(text));
    assert_int_equal(charsmap_load((const uint8_t *)data, sizeof(data), &m, NULL), 0);
    assert_int_equal(charsmap_find(&m, (struct str){text, 100}, &to), 100);
    assert_int_equal(charsmap_find(&m, (struct str){text, sizeof(text)}, &to), 256);
    charsmap_release(&m);
}

static void sizes_that_cannot_be(void **state)
{
    (void)state;
    static const struct {
        uint8_t data[12];
        uint64_t n;
    } bad[] = {{{0}, 0},
               {{4}, 3},
               {{4}, 4},
               {{0}, 8},                                    /* no trie */
               {{4, 0, 0, 0, 1, 1, 1, 1}, 8},               /* no texts */
               {{5}, 12},                                   /* not whole units */
               {{8}, 12},                                   /* no texts */
               {{0xFC, 0xFF, 0xFF, 0xFF}, 12},              /* beyond the end */
               {{4, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 1}, 12}}; /* no NUL at the end */
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct charsmap m = {0};
        struct err err = {0};
        assert_int_equal(charsmap_load(bad[i].data, bad[i].n, &m, &err), ERR_CORRUPT);
        assert_null(m.unit);
    }
}

static uint32_t draw(uint64_t *n_drawn)
{
    uint32_t word[4];
    rng_philox(11, 0, (*n_drawn)++, word);
    return word[0];
}

/* Random units, near and far offsets: whatever is found lies in the texts. */
static void random_units(void **state)
{
    (void)state;
    uint64_t n_drawn = 0;
    struct vocab_maker *v = mem_zero(1, sizeof(*v));
    for (int round = 0; round < 300; round++) {
        vocab_charsmap(v);
        for (int i = 0; i < 512; i++) {
            uint32_t unit = draw(&n_drawn);
            if (round % 3 != 0) /* likely to be followed */
                unit = (unit & 0x0007FF00u) | (uint32_t)(i & 255);
            if (round % 3 != 2 || draw(&n_drawn) % 4 == 0)
                memcpy(v->chars + 4 + 4 * i, &unit, sizeof(unit));
        }
        struct charsmap m = load(v);
        for (int i = 0; i < 200; i++) {
            char text[16];
            struct str to = {0};
            for (size_t k = 0; k < sizeof(text); k++)
                text[k] = (char)draw(&n_drawn);
            size_t n = charsmap_find(&m, (struct str){text, sizeof(text)}, &to);
            assert_true(n <= sizeof(text));
            assert_true(n == 0 || (to.ptr >= m.text && to.ptr + to.len < m.text + m.n_text));
        }
        charsmap_release(&m);
    }
    free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_are_found),
        cmocka_unit_test(a_circle),
        cmocka_unit_test(sizes_that_cannot_be),
        cmocka_unit_test(random_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
