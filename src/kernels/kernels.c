/*
 * kernels: picks the table of a level.
 */
#include "kernels/kernels.h"

#include "base/check.h"
#include "kernels/generic/generic.h"
#ifdef HEARTH_HAVE_AVX2
#include "kernels/x86/avx2.h"
#endif

const struct kernels *kernels_get(enum cpu_level level)
{
    switch (level) {
    case CPU_GENERIC:
        return &kernels_generic;
    case CPU_AVX2:
#ifdef HEARTH_HAVE_AVX2
        return &kernels_avx2;
#else
        break;
#endif
    }
    CHECK(!"a table of this level in this build");
}
