/*
 * unicode_tables: the shape of the generated tables in unicode_data.c. Only unicode.c reads them.
 */
#ifndef HEARTH_TEXT_UNICODE_TABLES_H
#define HEARTH_TEXT_UNICODE_TABLES_H

#include <stddef.h>
#include <stdint.h>

/* From `first` to the next row's `first`, exclusive: these flags (enum unicode_flag). */
struct unicode_range {
    uint32_t first;
    uint16_t flags;
};
extern const size_t unicode_n_ranges;
extern const struct unicode_range unicode_ranges[];

/* Every step-th code point from first to last has a lower case: itself plus delta. */
struct unicode_lower {
    uint32_t first, last, step;
    int32_t delta;
};
extern const size_t unicode_n_lowers;
extern const struct unicode_lower unicode_lowers[];

#endif
