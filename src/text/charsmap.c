/*
 * charsmap: see the header.
 */
#include "text/charsmap.h"

#include "base/mem.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_MASK 0x800000FFu
#define VALUE_MASK 0x7FFFFFFFu
#define HAS_VALUE  0x100u
#define FAR        0x200u
/* Longer than any rule; a trie that leads back to itself must not lead through a whole text. */
#define RULE_BYTES_MAX 256

static int corrupt(struct err *err)
{
    return err_set(err, ERR_CORRUPT,
                   "tokenizer.ggml.precompiled_charsmap: not a table of rules as SentencePiece "
                   "writes it");
}

int charsmap_load(const uint8_t *data, uint64_t n, struct charsmap *ret, struct err *err)
{
    uint32_t n_trie;
    if (n < sizeof(n_trie) || n > SIZE_MAX)
        return corrupt(err);
    memcpy(&n_trie, data, sizeof(n_trie));
    n_trie = le32toh(n_trie);
    if (n_trie % sizeof(uint32_t) != 0 || n_trie == 0 || n_trie >= n - sizeof(n_trie) ||
        data[n - 1] != 0)
        return corrupt(err);
    struct charsmap m = {.n_unit = n_trie / sizeof(uint32_t),
                         .n_text = (size_t)n - sizeof(n_trie) - n_trie};
    m.unit = mem_try_array(m.n_unit, sizeof(*m.unit));
    m.text = mem_try_array(m.n_text, 1);
    if (!m.unit || !m.text) {
        charsmap_release(&m);
        return err_set(err, ERR_NOMEM, "out of memory for the rules of normalization");
    }
    memcpy(m.unit, data + sizeof(n_trie), n_trie);
    for (size_t i = 0; i < m.n_unit; i++)
        m.unit[i] = le32toh(m.unit[i]);
    memcpy(m.text, data + sizeof(n_trie) + n_trie, m.n_text);
    *ret = m;
    return 0;
}

void charsmap_release(struct charsmap *m)
{
    free(m->unit);
    free(m->text);
    *m = (struct charsmap){0};
}

static size_t children(uint32_t unit)
{
    uint32_t offset = (unit & VALUE_MASK) >> 10;
    return unit & FAR ? (size_t)offset << 8 : offset;
}

size_t charsmap_find(const struct charsmap *m, struct str text, struct str *ret)
{
    size_t found = 0, text_at = 0;
    if (m->n_unit == 0)
        return 0;
    size_t at = children(m->unit[0]);
    for (size_t i = 0; i < text.len && i < RULE_BYTES_MAX; i++) {
        uint8_t byte = (uint8_t)text.ptr[i];
        at ^= byte;
        if (at >= m->n_unit || (m->unit[at] & LABEL_MASK) != byte)
            break;
        uint32_t unit = m->unit[at];
        at ^= children(unit);
        if (!(unit & HAS_VALUE))
            continue;
        size_t value = at < m->n_unit ? m->unit[at] & VALUE_MASK : SIZE_MAX;
        if (value >= m->n_text)
            break; /* no file that SentencePiece wrote */
        text_at = value;
        found = i + 1;
    }
    if (found > 0)
        *ret = str_z(m->text + text_at); /* of the longest only: texts may be long */
    return found;
}
