/*
 * starved: see starved.h.
 */
#include "gateway/starved.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>

int64_t starved_waited_ms(pid_t pid)
{
    char path[96];
    int64_t ran_ns, waited_ns, all_ns = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    for (struct dirent *d = tasks ? readdir(tasks) : NULL; d != NULL; d = readdir(tasks)) {
        if (d->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%.20s/schedstat", (int)pid, d->d_name);
        FILE *f = fopen(path, "re");
        if (f == NULL)
            continue; /* it has ended */
        if (fscanf(f, "%" SCNd64 " %" SCNd64, &ran_ns, &waited_ns) == 2 && waited_ns > 0)
            all_ns += waited_ns;
        fclose(f);
    }
    if (tasks)
        closedir(tasks);
    return all_ns / 1000000;
}

int64_t starved_forgive(struct starved *s, int64_t now_ms, int64_t progress_ms, int64_t waited_ms)
{
    if (s->look_ms == 0 || s->progress_ms != progress_ms) {
        s->forgiven_ms = 0; /* what it waited before it moved is nobody's business */
    } else {
        int64_t waited = waited_ms - s->waited_ms, most = (now_ms - s->look_ms) * 3 / 4;
        s->forgiven_ms += waited < 0 ? 0 : waited < most ? waited : most;
    }
    s->look_ms = now_ms;
    s->progress_ms = progress_ms;
    s->waited_ms = waited_ms;
    return s->forgiven_ms;
}
