/*
 * progress: see progress.h.
 */
#include "cli/progress.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REDRAW_MS       100
#define LINE_MS         10000
#define POINT_MS        300 /* the rate is of the last 16 * 300 ms */
#define BAR_CELLS       24
#define BAR_CELLS_LEAST 6
#define WIDTH_LEAST     40

void progress_init(struct progress *p, bool quiet)
{
    *p = (struct progress){.quiet = quiet, .terminal = isatty(STDERR_FILENO) == 1};
}

void progress_size(int64_t bytes, char ret[24])
{
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB"};
    double v = (double)bytes;
    int i = 0;
    while (v >= 999.95 && i < 4) {
        v /= 1000;
        i++;
    }
    snprintf(ret, 24, i == 0 ? "%.0f %s" : "%.1f %s", v, unit[i]);
}

void progress_age(int64_t since_ms, char ret[40])
{
    int64_t s = (clock_wall_ms() - since_ms) / 1000;
    if (s < 60)
        snprintf(ret, 40, "just now");
    else if (s < 2 * 3600)
        snprintf(ret, 40, "%lld minutes ago", (long long)(s / 60));
    else if (s < 2 * 86400)
        snprintf(ret, 40, "%lld hours ago", (long long)(s / 3600));
    else
        snprintf(ret, 40, "%lld days ago", (long long)(s / 86400));
}

static void add_point(struct progress *p, int64_t now)
{
    int last = (p->n_points - 1) % PROGRESS_RATE_POINTS;
    if (p->n_points > 0 && now - p->at_ms[last] < POINT_MS)
        return;
    int next = p->n_points++ % PROGRESS_RATE_POINTS;
    p->at_ms[next] = now;
    p->at_bytes[next] = p->done;
}

/* Bytes per second over the ring; 0 while there is too little to say. */
static double rate(const struct progress *p, int64_t now)
{
    if (p->n_points == 0)
        return 0;
    int oldest = p->n_points <= PROGRESS_RATE_POINTS ? 0 : p->n_points % PROGRESS_RATE_POINTS;
    int64_t ms = now - p->at_ms[oldest], bytes = p->done - p->at_bytes[oldest];
    return ms < POINT_MS || bytes <= 0 ? 0 : (double)bytes * 1000.0 / (double)ms;
}

/* " 45 MB of 98 MB  12 MB/s  0m04s left" */
static void describe(const struct progress *p, int64_t now, char *ret, size_t size)
{
    char done[24], total[24], speed[24], left[40] = "";
    double r = rate(p, now);
    progress_size(p->done, done);
    progress_size(p->total, total);
    progress_size((int64_t)r, speed);
    if (r > 0 && p->total > p->done) {
        int64_t s = (int64_t)((double)(p->total - p->done) / r) + 1;
        if (s < 100 * 3600)
            snprintf(left, sizeof(left), s >= 3600 ? "  %lldh%02lldm left" : "  %lldm%02llds left",
                     (long long)(s >= 3600 ? s / 3600 : s / 60),
                     (long long)(s >= 3600 ? s % 3600 / 60 : s % 60));
    }
    int n = 0;
    ret[0] = '\0';
    if (p->total > 0)
        n = snprintf(ret, size, " %s of %s", done, total);
    else if (p->done > 0)
        n = snprintf(ret, size, " %s", done);
    if (r > 0)
        snprintf(ret + n, size - (size_t)n, "  %s/s%s", speed, left);
}

/* " 45% [#####      ]", as wide as the line has room for. */
static void draw_bar(const struct progress *p, int room, char *ret, size_t size)
{
    ret[0] = '\0';
    if (p->total <= 0)
        return;
    int n = snprintf(ret, size, " %3d%%", (int)(100.0 * (double)p->done / (double)p->total));
    int cells = room - n - 3 < BAR_CELLS ? room - n - 3 : BAR_CELLS;
    if (!p->terminal || cells < BAR_CELLS_LEAST)
        return;
    int full = (int)((double)cells * (double)p->done / (double)p->total);
    full = full > cells ? cells : full;
    char *at = ret + n;
    *at++ = ' ';
    *at++ = '[';
    memset(at, ' ', (size_t)cells);
    memset(at, '#', (size_t)full);
    at[cells] = ']';
    at[cells + 1] = '\0';
}

static void draw(struct progress *p, int64_t now)
{
    char text[160], bar[64];
    struct winsize w;
    int width =
        ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col >= WIDTH_LEAST ? w.ws_col - 1 : 79;
    describe(p, now, text, sizeof(text));
    draw_bar(p, width - (int)strlen(p->status) - (int)strlen(text), bar, sizeof(bar));
    if (p->terminal) {
        char line[400];
        snprintf(line, sizeof(line), "%s%s%s", p->status, bar, text);
        fprintf(stderr, "\r%.*s\033[K", width, line);
    } else {
        fprintf(stderr, "%s%s%s\n", p->status, bar, text);
    }
    fflush(stderr);
    p->open = p->terminal;
    p->shown_ms = now;
}

void progress_show(struct progress *p, const char *status, int64_t done, int64_t total)
{
    int64_t now = clock_ms();
    bool changed = strcmp(status, p->status) != 0;
    if (p->quiet)
        return;
    if (changed) {
        progress_end(p);
        snprintf(p->status, sizeof(p->status), "%s", status);
        p->n_points = 0;
    }
    p->done = done;
    p->total = total;
    if (total > 0 || done > 0)
        add_point(p, now);
    bool complete = total > 0 && done >= total;
    if (changed || now - p->shown_ms >= (p->terminal ? REDRAW_MS : LINE_MS) ||
        (complete && p->terminal))
        draw(p, now);
}

void progress_end(struct progress *p)
{
    if (p->open)
        fputc('\n', stderr);
    p->open = false;
}
