/*
 * pretok_scan: the hand-written scanners behind the stages of pretok.c. Private to pretok*.c.
 *
 * Each finds the next match of one regular expression family in a piece, from a position on.
 * They look at each character a bounded number of times, so that a piece is cut in linear time.
 */
#ifndef HEARTH_TEXT_PRETOK_SCAN_H
#define HEARTH_TEXT_PRETOK_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct piece {
    const uint8_t *s;
    size_t len;
};

struct match {
    size_t from, to; /* to > from */
};

struct cp_range {
    uint32_t first, last;
};

enum scan_kind {
    SCAN_GPT2,      /* GPT-2's words */
    SCAN_WORD,      /* Llama 3's and Qwen's words */
    SCAN_CASED,     /* GPT-4o's words, cut where the case changes */
    SCAN_DEEPSEEK3, /* DeepSeek V3's words */
    SCAN_RUN,       /* runs of one class of characters */
    SCAN_TAIL,      /* white space at the end of the piece */
    SCAN_GROUPS,    /* digits in groups of three, counted from the right */
    SCAN_LINES,     /* runs of newlines, runs of others */
    SCAN_PATTERN,   /* a PCRE2 pattern */
};

/* One stage; which fields count depends on the kind. */
struct stage {
    enum scan_kind kind;
    const char *pattern; /* the same as a PCRE2 pattern: what runs for SCAN_PATTERN, and the
                            tests' oracle for the others */
    /* SCAN_WORD, SCAN_CASED */
    bool contractions;
    bool marks;            /* combining marks count as letters */
    bool tail_slash;       /* '/' may follow punctuation as a newline may */
    bool no_tail;          /* newlines do not follow punctuation */
    unsigned n_digits_max; /* also the longest run of SCAN_RUN; 0 is no limit */
    /* SCAN_RUN */
    unsigned run_flags;           /* classes in the run */
    const struct cp_range *range; /* and these characters, sorted */
    unsigned n_range;
    unsigned n_min;  /* shorter runs are no match */
    bool lead_space; /* one white space may stand before the run */
    /* SCAN_GROUPS */
    unsigned group_flags; /* GROUP_* */
};

enum group_flag {
    GROUP_BOUNDARY = 1,    /* only where a word ends after the digits */
    GROUP_ALL_NUMBERS = 2, /* \p{N} and not only decimal digits */
};

/* The next match at or after pos; false when there is none. Not for SCAN_PATTERN. */
bool stage_find(const struct stage *st, struct piece p, size_t pos, struct match *ret);

#endif
