/*
 * fuzz_pack_file: the header of a file of packed weights, from bytes that anybody may have written.
 * Either it is refused, or it is, but for the hashes that it claims, the header that was expected.
 *
 * The first byte says what the rest is: a header (even), or edits of a good one (odd; three bytes
 * each: where, low byte first, and what to flip), after which its own hash is made right again.
 */
#include "model/pack_file.h"

#include <stdlib.h>
#include <string.h>

#define HEAD_HASH_AT 104

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void make(struct pack_table *t, struct pack_entry entry[3])
{
    static const struct pack_entry all[3] = {
        {.name = "blk.0.attn_q", .type = DTYPE_Q4_K, .n_out = 40, .n_in = 512, .hash = 1},
        {.name = "blk.0.ffn_down", .type = DTYPE_Q8_0, .n_out = 16, .n_in = 96, .hash = 2},
        {.name = "output", .type = DTYPE_Q6_K, .n_out = 3000, .n_in = 256, .hash = 3},
    };
    struct err err;
    memcpy(entry, all, sizeof(all));
    *t = (struct pack_table){.entry = entry, .n = 3};
    memset(t->key, 'k', sizeof(t->key));
    if (pack_table_lay_out(t, &err) != 0)
        abort();
}

static void edit(uint8_t *head, size_t n, const uint8_t *data, size_t len)
{
    for (; len >= 3; data += 3, len -= 3)
        head[(data[0] | (size_t)data[1] << 8) % n] ^= data[2];
    memset(head + HEAD_HASH_AT, 0, 8);
    uint64_t hash = pack_hash(head, n);
    memcpy(head + HEAD_HASH_AT, &hash, sizeof(hash));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct pack_entry entry[3];
    struct pack_table t;
    struct err err;
    uint8_t head[PACK_FILE_ALIGN], again[PACK_FILE_ALIGN];
    if (len == 0)
        return 0;
    make(&t, entry);
    if (t.head_bytes != sizeof(head))
        abort();
    const uint8_t *bytes = data + 1;
    size_t n = len - 1;
    if (data[0] % 2 != 0) {
        pack_table_write(&t, head);
        edit(head, sizeof(head), bytes, n);
        bytes = head;
        n = sizeof(head);
    }
    if (pack_table_read(&t, bytes, n, &err) != 0)
        return 0;
    pack_table_write(&t, again);
    if (n < sizeof(again) || memcmp(again, bytes, sizeof(again)) != 0)
        abort();
    return 0;
}
