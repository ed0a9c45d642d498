/*
 * check_kernels: checks every kernel of every level that this machine has against generic, and
 * generic against double precision; with --bench it times them.
 *
 * check_kernels [--bench] [--quick] [--level NAME] [--only WORD]
 */
#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_SKIPPED 77 /* as Meson understands it */

int check_n_failed;
long check_n_done;
bool check_quick;

void check_fail(const char *fmt, ...)
{
    if (check_n_failed++ >= 40)
        return;
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

#ifdef CHECK_EVEX
/* Panels at 256 bits, AVX-VNNI's instructions in the encoding of AVX-512. */
static void run_evex(bool bench, const char *only)
{
    if (bench || (only && !strstr("packed", only)) || !cpu_level_has(CPU_AVX512VNNI))
        return;
    long done = check_n_done;
    int failed = check_n_failed;
    check_packed(&kernels_evex);
    printf("%-10s %-12s %7ld checks, %d failed (its source in another encoding)\n", "avxvnni",
           "packed", check_n_done - done, check_n_failed - failed);
}
#else
static void run_evex(bool bench, const char *only)
{
    (void)bench;
    (void)only;
}
#endif

static void run_level(enum cpu_level level, bool bench, const char *only)
{
    const struct kernels *k = kernels_get(level);
    if (bench) {
        bench_all(k, only);
        return;
    }
    static const struct {
        const char *name;
        void (*fn)(const struct kernels *k);
    } part[] = {
        {"mul", check_mul},       {"determinism", check_mul_determinism},
        {"packed", check_packed}, {"ops", check_ops},
        {"attend", check_attend},
    };
    for (size_t i = 0; i < sizeof part / sizeof part[0]; i++) {
        if (only && !strstr(part[i].name, only))
            continue;
        long done = check_n_done;
        int failed = check_n_failed;
        part[i].fn(k);
        printf("%-10s %-12s %7ld checks, %d failed\n", cpu_level_name(level), part[i].name,
               check_n_done - done, check_n_failed - failed);
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    bool bench = false;
    const char *level = NULL, *only = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0)
            bench = true;
        else if (strcmp(argv[i], "--quick") == 0)
            check_quick = true;
        else if (strcmp(argv[i], "--level") == 0 && i + 1 < argc)
            level = argv[++i];
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            only = argv[++i];
        else {
            fprintf(stderr,
                    "usage: check_kernels [--bench] [--quick] [--level NAME] [--only WORD]\n");
            return 2;
        }
    }
    if (!bench && !only && (!level || strcmp(level, "generic") == 0))
        check_mul_generic();
    int n_skipped = 0, n_run = 0;
    for (int l = CPU_GENERIC; l < CPU_LEVELS; l++) {
        const char *name = cpu_level_name((enum cpu_level)l);
        if (level && strcmp(level, name) != 0)
            continue;
        if (cpu_level_has((enum cpu_level)l)) {
            run_level((enum cpu_level)l, bench, only);
            n_run++;
        } else {
            printf("%-10s skipped: this processor or build lacks it\n", name);
            n_skipped++;
            if (l == CPU_AVXVNNI)
                run_evex(bench, only);
        }
    }
    if (!bench)
        printf("%ld checks, %d failed, %d levels skipped\n", check_n_done, check_n_failed,
               n_skipped);
    if (check_n_failed)
        return 1;
    return n_run ? 0 : EXIT_SKIPPED;
}
