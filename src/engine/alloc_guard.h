/*
 * alloc_guard: aborts when this thread allocates between enter and leave.
 *
 * Only in builds with -Dalloc_guard=true (glibc, no sanitizer); otherwise it costs nothing and
 * does nothing. The abort names the function's purpose on standard error.
 */
#ifndef HEARTH_ENGINE_ALLOC_GUARD_H
#define HEARTH_ENGINE_ALLOC_GUARD_H

#ifdef HEARTH_ALLOC_GUARD
void alloc_guard_enter(void);
void alloc_guard_leave(void);
#else
static inline void alloc_guard_enter(void)
{
}

static inline void alloc_guard_leave(void)
{
}
#endif

#endif
