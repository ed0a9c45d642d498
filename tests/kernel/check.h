/*
 * check: what the parts of the kernel check program share.
 *
 * Buffers come from check_buf: their last byte is followed by a page that may not be touched, and
 * the page before them may not be touched either, so a kernel that reads or writes past an input or
 * output dies on the spot. Everything random is drawn from one counter, so a run is repeatable.
 */
#ifndef HEARTH_TESTS_KERNEL_CHECK_H
#define HEARTH_TESTS_KERNEL_CHECK_H

#include "kernels/kernels.h"

extern const struct kernels kernels_evex; /* evex_table.c: packed products only */

struct check_buf {
    void *ptr; /* ends at a guard page */
    size_t size;
    void *map;
    size_t map_size;
};

struct check_buf check_buf_new(size_t size);
void check_buf_free(struct check_buf *b);

uint64_t check_u64(void);
int check_int(int from, int to); /* [from, to] */
float check_uniform(float from, float to);
float check_gauss(void);

/* Counts a failure and prints it (the first few of each check). */
void check_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
extern int check_n_failed;
extern long check_n_done;
extern bool check_quick; /* fewer cases: under an emulator */

/* A value that no kernel writes, in every float of b; whether two results count as the same. */
void check_canary(struct check_buf *b);
bool check_is_canary(float v);
bool check_same(float a, float b);

enum fill { FILL_SANE, FILL_MAX, FILL_ZERO, FILL_WILD, FILL_KINDS };
const char *fill_name(enum fill f);

/* n_blocks blocks of type t: random quants with sane scales; all bits of the quants set; all bytes
 * zero; any bytes at all (scales may be infinite or NaN). */
void fill_blocks(enum dtype t, void *dst, size_t n_blocks, enum fill f);
/* n activations: gaussian; all the same magnitude; zero; huge, tiny, infinite and NaN values. */
void fill_floats(float *dst, size_t n, enum fill f);

void check_mul(const struct kernels *k); /* against generic, bit for bit */
void check_mul_generic(void);            /* generic against double precision */
void check_mul_determinism(const struct kernels *k);
void check_packed(const struct kernels *k); /* panels against generic's file layout, bit for bit */
void check_ops(const struct kernels *k);
void check_attend(const struct kernels *k);
void bench_all(const struct kernels *k, const char *filter);

#endif
