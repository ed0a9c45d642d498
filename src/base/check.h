/*
 * check: CHECK(cond) for programmer errors, on in release. Never reachable from input.
 */
#ifndef HEARTH_BASE_CHECK_H
#define HEARTH_BASE_CHECK_H

__attribute__((noreturn, cold)) void check_failed(const char *cond, const char *file, int line);

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0))                                                          \
            check_failed(#cond, __FILE__, __LINE__);                                               \
    } while (0)

#endif
