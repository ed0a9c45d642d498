/*
 * thread_plan: see the header. Owns the file and its key; the measuring is kernels/calibrate's.
 */
#include "cli/thread_plan.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "kernels/calibrate.h"
#include "kernels/pool.h"
#include "store/cache_folder.h"

#include <stdio.h>
#include <stdlib.h>

#define FILE_BYTES_MAX    4096
#define CPUINFO_BYTES_MAX ((size_t)4 << 20) /* hundreds of cpus */

/* What a measurement holds for. */
struct machine {
    enum cpu_level level;
    int n_max; /* threads that the machine grants */
    char cpu[128];
};

/* The processor's name as the kernel tells it, or "unknown". */
static void cpu_name(char *ret, size_t size)
{
    static const char *const key[] = {"model name", "Model", "CPU part"};
    struct buf text;
    buf_init(&text, CPUINFO_BYTES_MAX);
    snprintf(ret, size, "unknown");
    bool found = false;
    if (fs_read("/proc/cpuinfo", &text, NULL) == 0)
        for (size_t i = 0; i < ARRAY_LEN(key) && !found; i++) {
            struct str rest = buf_str(&text), line, name;
            while (!found && str_split(&rest, '\n', &line)) {
                if (!str_split(&line, ':', &name) || !str_eq_z(str_trim(name), key[i]))
                    continue;
                snprintf(ret, size, "%.*s", STR_ARG(str_trim(line)));
                found = true;
            }
        }
    buf_release(&text);
}

static char *file_of(const char *dir, const struct machine *m)
{
    char name[64];
    snprintf(name, sizeof name, "threads-%s-%d.json", cpu_level_name(m->level), m->n_max);
    return fs_join(dir, name);
}

static bool is_for(const json_t *o, const struct machine *m)
{
    struct str version = {"", 0}, cpu = {"", 0};
    return json_get_str(o, "version", &version, NULL) == 0 &&
           json_get_str(o, "cpu", &cpu, NULL) == 0 && str_eq_z(version, HEARTH_VERSION) &&
           str_eq_z(cpu, m->cpu);
}

static bool recall(const char *path, const struct machine *m, struct thread_plan *ret)
{
    struct buf text;
    buf_init(&text, FILE_BYTES_MAX);
    json_t *o = fs_read(path, &text, NULL) == 0 ? json_parse(buf_str(&text), 4, NULL) : NULL;
    int64_t prefill = 0, decode = 0;
    bool good = json_is_object(o) && is_for(o, m) &&
                json_get_i64(o, "prefill", 1, m->n_max, &prefill, NULL) == 0 &&
                json_get_i64(o, "decode", 1, m->n_max, &decode, NULL) == 0 && prefill > 0 &&
                decode > 0;
    if (good)
        *ret = (struct thread_plan){(int)prefill, (int)decode};
    json_decref(o);
    buf_release(&text);
    return good;
}

static void remember(const char *dir, const char *path, const struct machine *m,
                     const struct thread_plan *plan)
{
    json_t *o = json_pack("{s:s,s:s,s:i,s:i}", "version", HEARTH_VERSION, "cpu", m->cpu, "prefill",
                          plan->n_prefill, "decode", plan->n_decode);
    struct buf text;
    struct err err = {0};
    buf_init(&text, FILE_BYTES_MAX);
    if (o != NULL && json_write(o, &text) &&
        (fs_mkdirs(dir, 0700, &err) != 0 || fs_write_atomic(path, buf_str(&text), 0600, &err) != 0))
        log_debug("the measured threads are not kept: %s", err.text);
    buf_release(&text);
    json_decref(o);
}

static void measure_machine(const char *dir, const char *path, const struct machine *m,
                            struct thread_plan *ret)
{
    struct calibration c;
    struct err err = {0};
    int64_t start = clock_ns();
    if (calibrate_threads(kernels_get(m->level), m->n_max, &c, &err) != 0) {
        log_debug("the threads are not measured: %s", err.text);
        return;
    }
    *ret = (struct thread_plan){c.n_prefill, c.n_decode};
    log_info("measured in %d ms: %d threads for prompts, %d for answers%s",
             (int)((clock_ns() - start) / 1000000), c.n_prefill, c.n_decode,
             c.steady ? "" : " (the machine is busy: not kept)");
    if (c.steady && path != NULL)
        remember(dir, path, m, ret);
}

void thread_plan_choose(const char *cache_dir, bool measure, struct thread_plan *ret)
{
    struct machine m = {.n_max = cpu_threads_default()};
    *ret = (struct thread_plan){m.n_max, m.n_max};
    if (m.n_max <= 1 || m.n_max > POOL_THREADS_MAX || cpu_level_choose(&m.level, NULL) != 0)
        return;
    cpu_name(m.cpu, sizeof m.cpu);
    char *dir = cache_home(cache_dir);
    char *path = dir != NULL ? file_of(dir, &m) : NULL;
    if ((path == NULL || !recall(path, &m, ret)) && measure)
        measure_machine(dir, path, &m, ret);
    free(path);
    free(dir);
}
