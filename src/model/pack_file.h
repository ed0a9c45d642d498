/*
 * pack_file: the header of a file of packed weights: which matrices, in which layout, of what.
 *
 * The file: one header (padded to PACK_FILE_ALIGN), then the matrices' panels (kernels/pack.h), one
 * matrix after the other without a gap, in the order of the table. Numbers as the machine keeps
 * them: the file never leaves it.
 *
 *   magic[8]  u32 layout (PACK_VERSION)  u32 format (PACK_FILE_FORMAT)
 *   u64 head_bytes  u64 file_bytes  u32 n_entries  u32 zero
 *   key[64]   what the weights are of, padded with zeros
 *   u64 head_hash: XXH3 of the header with this field as zero
 *   n_entries times: name[56]  u32 type, n_out, n_in, zero  u64 offset, bytes, hash
 *
 * Such a file is untrusted bytes. Its reader knows from the model itself what the header must be,
 * byte for byte, all but the hashes: it compares, and never takes a size, an offset or a count from
 * the file. A matrix is hashed in pieces (pack_pieces), by whatever threads; its hash is that of
 * its pieces' hashes in order.
 *
 * Pure functions but for memory; any thread.
 */
#ifndef HEARTH_MODEL_PACK_FILE_H
#define HEARTH_MODEL_PACK_FILE_H

#include "base/err.h"
#include "kernels/pack.h"

#define PACK_FILE_FORMAT 1
#define PACK_FILE_ALIGN  4096
#define PACK_KEY_MAX     64
#define PACK_NAME_MAX    56
/* A piece is as many panels as fit: packed or hashed at once by one thread, from its cache. */
#define PACK_PIECE_BYTES (512u << 10)

struct pack_entry {
    char name[PACK_NAME_MAX]; /* "blk.3.attn_q"; zeros after it */
    enum dtype type;
    int n_out, n_in;
    uint64_t offset, bytes; /* in the file; offset is a multiple of 64 */
    uint64_t hash;
};

struct pack_table {
    struct pack_entry *entry; /* [n]; borrowed */
    size_t n;
    char key[PACK_KEY_MAX];
    uint64_t head_bytes, file_bytes;
};

/* Fills in offsets and sizes from types and shapes. ERR_LIMIT: past what a file may hold. */
int pack_table_lay_out(struct pack_table *t, struct err *err) __attribute__((warn_unused_result));
/* ret: head_bytes, wholly written. */
void pack_table_write(const struct pack_table *t, uint8_t *ret);
/*
 * Takes the hashes from a header that is t's in all else. ERR_CORRUPT, ERR_UNSUPPORTED (another
 * version) say what is wrong; t is unchanged then.
 */
int pack_table_read(struct pack_table *t, const uint8_t *bytes, size_t len, struct err *err)
    __attribute__((warn_unused_result));

/* Panels of one piece, and pieces of one matrix. */
int pack_piece_panels(const struct pack_entry *e);
int pack_pieces(const struct pack_entry *e);
uint64_t pack_hash(const void *bytes, size_t len);

#endif
