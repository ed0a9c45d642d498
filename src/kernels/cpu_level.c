/*
 * cpu_level: detects instruction sets (cpu.h).
 *
 * An instruction set counts only when the operating system also saves its registers (XGETBV), or
 * says so itself (the auxiliary vector of Linux on arm64). Needs no library: the part of cpu.h that
 * the kernel check program shares with every machine that it is emulated on.
 */
#include "kernels/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HEARTH_X86
#include <cpuid.h>

#define XCR0_YMM 0x06 /* the system saves xmm and ymm */
#define XCR0_ZMM 0xe6 /* and the opmasks, the upper halves of zmm0-15 and zmm16-31 */

static bool leaf7(unsigned sub, unsigned ret[4])
{
    return __get_cpuid_count(7, sub, &ret[0], &ret[1], &ret[2], &ret[3]) != 0;
}

bool cpu_level_has(enum cpu_level level)
{
    unsigned a, b, c, d, v[4];
    if (level == CPU_GENERIC)
        return true;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return false;
    const unsigned need = bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C;
    if ((c & need) != need)
        return false;
    unsigned xcr0, xcr0_high;
    __asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(xcr0_high) : "c"(0));
    if ((xcr0 & XCR0_YMM) != XCR0_YMM || !leaf7(0, v) || !(v[1] & bit_AVX2))
        return false;
    const unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;
    const bool has_avx512 = (v[1] & avx512) == avx512 && (xcr0 & XCR0_ZMM) == XCR0_ZMM;
    switch (level) {
    case CPU_AVX2:
        return true;
    case CPU_AVXVNNI:
        return v[0] >= 1 && leaf7(1, v) && (v[0] & bit_AVXVNNI) != 0;
    case CPU_AVX512:
        return has_avx512;
    case CPU_AVX512VNNI:
        return has_avx512 && (v[2] & bit_AVX512VNNI) != 0;
    default:
        return false;
    }
}
#elif defined(HEARTH_ARM)
#include <sys/auxv.h>

bool cpu_level_has(enum cpu_level level)
{
    const bool dot = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
    switch (level) {
    case CPU_GENERIC:
        return true;
    case CPU_NEON:
        return dot;
    case CPU_NEONI8MM:
        return dot && (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
    default:
        return false;
    }
}
#else
bool cpu_level_has(enum cpu_level level)
{
    return level == CPU_GENERIC;
}
#endif

static const char *const level_name[CPU_LEVELS] = {
    [CPU_GENERIC] = "generic",       [CPU_AVX2] = "avx2",
    [CPU_AVXVNNI] = "avxvnni",       [CPU_AVX512] = "avx512",
    [CPU_AVX512VNNI] = "avx512vnni", [CPU_NEON] = "neon",
    [CPU_NEONI8MM] = "neoni8mm",
};

enum cpu_level cpu_level_detect(void)
{
    int level = CPU_LEVELS - 1;
    while (level > CPU_GENERIC && !cpu_level_has((enum cpu_level)level))
        level--;
    return (enum cpu_level)level;
}

const char *cpu_level_name(enum cpu_level level)
{
    return level_name[level];
}

/* The names of the levels that this machine has, or of all. */
static const char *level_names(bool all, char *ret, size_t size)
{
    size_t n = 0;
    ret[0] = 0;
    for (int i = 0; i < CPU_LEVELS && n < size; i++)
        if (all || cpu_level_has((enum cpu_level)i))
            n += (size_t)snprintf(ret + n, size - n, "%s%s", n ? ", " : "", level_name[i]);
    return ret;
}

int cpu_level_choose(enum cpu_level *ret, struct err *err)
{
    char names[128];
    const char *want = getenv("HEARTH_CPU");
    if (!want || !*want) {
        *ret = cpu_level_detect();
        return 0;
    }
    for (int i = 0; i < CPU_LEVELS; i++) {
        if (strcmp(want, level_name[i]) != 0)
            continue;
        if (!cpu_level_has((enum cpu_level)i))
            return err_set_param(err, ERR_UNSUPPORTED, "HEARTH_CPU",
                                 "HEARTH_CPU=%s: this machine or build offers only %s; unset it",
                                 want, level_names(false, names, sizeof names));
        *ret = (enum cpu_level)i;
        return 0;
    }
    return err_set_param(err, ERR_INVALID, "HEARTH_CPU",
                         "HEARTH_CPU=%.40s is not a level; use one of %s, or unset it", want,
                         level_names(true, names, sizeof names));
}
