/*
 * alloc_guard: aborts when this thread allocates between enter and leave.
 *
 * A step of the engine allocates nothing; tests arm the guard to show it (the worker does when
 * HEARTH_ALLOC_GUARD is in its environment). Not armed, it costs a look at one flag. Builds with a
 * sanitizer have no guard: alloc_guard_arm returns false there.
 */
#ifndef HEARTH_ENGINE_ALLOC_GUARD_H
#define HEARTH_ENGINE_ALLOC_GUARD_H

#include <stdbool.h>

#ifdef HEARTH_ALLOC_GUARD
bool alloc_guard_arm(void); /* for the whole process, for good; before the engine starts */
void alloc_guard_enter(void);
void alloc_guard_leave(void);
#else
static inline bool alloc_guard_arm(void)
{
    return false;
}

static inline void alloc_guard_enter(void)
{
}

static inline void alloc_guard_leave(void)
{
}
#endif

#endif
