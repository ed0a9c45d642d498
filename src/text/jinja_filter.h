/*
 * jinja_filter: what the filter files share. A filter gets the value on the left of the "|" as
 * `self`.
 */
#ifndef HEARTH_TEXT_JINJA_FILTER_H
#define HEARTH_TEXT_JINJA_FILTER_H

#include "text/jinja_str.h"

#define FILTER(name)                                                                               \
    bool name(struct jrun *r, struct jval self, const struct jargs *args, struct jval *ret)

/* X(jinja name, C name): sequences (jinja_filter_seq.c), numbers (jinja_filter_num.c). */
#define SEQ_FILTERS(X)                                                                             \
    X("batch", f_batch)                                                                            \
    X("dictsort", f_dictsort)                                                                      \
    X("first", f_first)                                                                            \
    X("groupby", f_groupby)                                                                        \
    X("items", f_items)                                                                            \
    X("join", f_join)                                                                              \
    X("last", f_last)                                                                              \
    X("list", f_list)                                                                              \
    X("map", f_map)                                                                                \
    X("max", f_max)                                                                                \
    X("min", f_min)                                                                                \
    X("reject", f_reject)                                                                          \
    X("rejectattr", f_rejectattr)                                                                  \
    X("reverse", f_reverse)                                                                        \
    X("select", f_select)                                                                          \
    X("selectattr", f_selectattr)                                                                  \
    X("slice", f_slice)                                                                            \
    X("sort", f_sort)                                                                              \
    X("sum", f_sum)                                                                                \
    X("unique", f_unique)

#define NUM_FILTERS(X)                                                                             \
    X("abs", f_abs)                                                                                \
    X("filesizeformat", f_filesizeformat)                                                          \
    X("float", f_float)                                                                            \
    X("int", f_int)                                                                                \
    X("round", f_round)

#define X(name, fn) FILTER(fn);
SEQ_FILTERS(X)
NUM_FILTERS(X)
#undef X

#endif
