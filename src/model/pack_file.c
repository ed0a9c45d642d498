/*
 * pack_file: see pack_file.h. Owns the bytes of the header. Must not know files or threads.
 */
#include "model/pack_file.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static const char magic[8] = {'H', 'E', 'A', 'R', 'T', 'H', 'P', 'K'};

struct head {
    char magic[8];
    uint32_t layout, format;
    uint64_t head_bytes, file_bytes;
    uint32_t n_entries, zero;
    char key[PACK_KEY_MAX];
    uint64_t head_hash;
};

struct row {
    char name[PACK_NAME_MAX];
    uint32_t type, n_out, n_in, zero;
    uint64_t offset, bytes, hash;
};

_Static_assert(sizeof(struct head) == 112 && sizeof(struct row) == 96, "no hidden padding");

uint64_t pack_hash(const void *bytes, size_t len)
{
    return XXH3_64bits(bytes, len);
}

int pack_piece_panels(const struct pack_entry *e)
{
    size_t n = PACK_PIECE_BYTES / pack_panel_bytes(e->type, e->n_in);
    return n < 1 ? 1 : (int)n;
}

int pack_pieces(const struct pack_entry *e)
{
    int n_panels = (e->n_out - 1) / PACK_ROWS + 1;
    return (n_panels - 1) / pack_piece_panels(e) + 1;
}

int pack_table_lay_out(struct pack_table *t, struct err *err)
{
    size_t at;
    bool ok = t->n <= UINT32_MAX && size_mul(t->n, sizeof(struct row), &at) &&
              size_add(at, sizeof(struct head) + PACK_FILE_ALIGN - 1, &at);
    t->head_bytes = ok ? at & ~(size_t)(PACK_FILE_ALIGN - 1) : 0;
    at = (size_t)t->head_bytes;
    for (size_t i = 0; ok && i < t->n; i++) {
        struct pack_entry *e = &t->entry[i];
        e->offset = at;
        e->bytes = pack_bytes(e->type, e->n_out, e->n_in);
        ok = size_add(at, (size_t)e->bytes, &at) && at <= INT64_MAX;
    }
    t->file_bytes = at;
    return ok ? 0 : err_set(err, ERR_LIMIT, "the packed weights do not fit a file");
}

void pack_table_write(const struct pack_table *t, uint8_t *ret)
{
    struct head head = {
        .layout = PACK_VERSION,
        .format = PACK_FILE_FORMAT,
        .head_bytes = t->head_bytes,
        .file_bytes = t->file_bytes,
        .n_entries = (uint32_t)t->n,
    };
    memcpy(head.magic, magic, sizeof(magic));
    memcpy(head.key, t->key, sizeof(head.key));
    memset(ret, 0, (size_t)t->head_bytes);
    for (size_t i = 0; i < t->n; i++) {
        const struct pack_entry *e = &t->entry[i];
        struct row row = {
            .type = (uint32_t)e->type,
            .n_out = (uint32_t)e->n_out,
            .n_in = (uint32_t)e->n_in,
            .offset = e->offset,
            .bytes = e->bytes,
            .hash = e->hash,
        };
        memcpy(row.name, e->name, sizeof(row.name));
        memcpy(ret + sizeof(head) + i * sizeof(row), &row, sizeof(row));
    }
    memcpy(ret, &head, sizeof(head));
    head.head_hash = pack_hash(ret, (size_t)t->head_bytes);
    memcpy(ret, &head, sizeof(head));
}

/* The header alone: of this version, whole, of this key. */
static int check_head(const struct pack_table *t, const uint8_t *bytes, size_t len, struct err *err)
{
    struct head head;
    if (len < sizeof(head) || memcmp(bytes, magic, sizeof(magic)) != 0)
        return err_set(err, ERR_CORRUPT, "it is not a file of packed weights");
    memcpy(&head, bytes, sizeof(head));
    if (head.layout != PACK_VERSION || head.format != PACK_FILE_FORMAT)
        return err_set(err, ERR_UNSUPPORTED, "it has the layout %u.%u, not %d.%d", head.layout,
                       head.format, PACK_VERSION, PACK_FILE_FORMAT);
    if (memcmp(head.key, t->key, sizeof(head.key)) != 0)
        return err_set(err, ERR_CORRUPT, "it was made from another model file");
    if (head.n_entries != t->n || head.head_bytes != t->head_bytes ||
        head.file_bytes != t->file_bytes || len < t->head_bytes)
        return err_set(err, ERR_CORRUPT, "its size is not that of this model's packed weights");
    return 0;
}

int pack_table_read(struct pack_table *t, const uint8_t *bytes, size_t len, struct err *err)
{
    int rc = check_head(t, bytes, len, err);
    if (rc != 0)
        return rc;
    /* With the hashes that it claims, and nothing else of it, the header must come out the same. */
    struct pack_table claimed = *t;
    claimed.entry = mem_try_array(t->n + 1, sizeof(*claimed.entry));
    uint8_t *expected = mem_try_array((size_t)t->head_bytes, 1);
    if (claimed.entry == NULL || expected == NULL) {
        rc = err_set(err, ERR_NOMEM, "no memory for the header of packed weights");
    } else {
        for (size_t i = 0; i < t->n; i++) {
            struct row row;
            memcpy(&row, bytes + sizeof(struct head) + i * sizeof(row), sizeof(row));
            claimed.entry[i] = t->entry[i];
            claimed.entry[i].hash = row.hash;
        }
        pack_table_write(&claimed, expected);
        if (memcmp(expected, bytes, (size_t)t->head_bytes) != 0)
            rc = err_set(err, ERR_CORRUPT, "its header is damaged, or of other shapes");
    }
    for (size_t i = 0; rc == 0 && i < t->n; i++)
        t->entry[i].hash = claimed.entry[i].hash;
    free(claimed.entry);
    free(expected);
    return rc;
}
