/*
 * kernels: picks the table of a level.
 */
#include "kernels/kernels.h"

#include "base/check.h"
#include "kernels/generic/generic.h"
#ifdef HEARTH_ARM
#include "kernels/arm/neon.h"
#endif
#ifdef HEARTH_X86
#include "kernels/x86/avx2.h"
#include "kernels/x86/avx512.h"
#endif

const struct kernels *kernels_get(enum cpu_level level)
{
    switch (level) {
    case CPU_GENERIC:
        return &kernels_generic;
#ifdef HEARTH_X86
    case CPU_AVX2:
        return &kernels_avx2;
    case CPU_AVXVNNI:
        return &kernels_avxvnni;
    case CPU_AVX512:
        return &kernels_avx512;
    case CPU_AVX512VNNI:
        return &kernels_avx512vnni;
#endif
#ifdef HEARTH_ARM
    case CPU_NEON:
        return &kernels_neon;
    case CPU_NEONI8MM:
        return &kernels_neoni8mm;
#endif
    default:
        CHECK(!"a table of this level in this build");
    }
}
