/*
 * pool: one parallel loop at a time over a fixed set of threads.
 *
 * One 32-bit word `state` says everything: [epoch:21][open:1][n_joined:10]. The caller publishes a
 * loop by storing a new epoch with the open bit; a worker joins by adding 1 to n_joined with a
 * compare-and-swap that needs the open bit, and leaves by subtracting 1. The caller takes items
 * like a worker, clears the open bit when none is left, and waits for n_joined to reach zero.
 * Hence:
 *   - fn, ctx and n_items change only while the word is closed with nobody joined;
 *   - a worker that comes late finds the word closed and is not waited for;
 *   - an epoch that wraps around costs at most one missed loop of one worker, never a wrong one,
 *     since a join is valid whenever the word is open.
 * Sleeping is futex_wait on that word with the value last seen, so a change in between is never
 * missed. n_asleep and caller_asleep only save the wake-up calls; both sides of each use
 * sequentially consistent operations (store the word, then read the count; raise the count, then
 * compare the word inside futex_wait).
 * Workers from `n_active` on are parked: they sleep on that word instead. One that has not noticed
 * yet may join a loop, which does no harm: limits are about speed.
 */
#include "kernels/pool.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "kernels/cpu.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define JOINED_MASK 0x3ffu
#define OPEN        0x400u
#define EPOCH_ONE   0x800u
#define EPOCH_MASK  (~(uint32_t)(EPOCH_ONE - 1))

/* Longer than the serial stretches between the loops of a forward pass, and short against a
 * scheduler's time slice. */
#define SPIN_NS 40000

enum { WAKE_WORKERS = 1, WAKE_CALLER = 2, WAKE_PARKED = 4 };

_Static_assert(POOL_THREADS_MAX <= JOINED_MASK, "n_joined must fit its field");

struct pool_thread {
    struct pool *pool;
    pthread_t id;
    int index;
};

struct pool {
    _Alignas(64) _Atomic uint32_t state;
    _Atomic int n_asleep;
    _Atomic bool caller_asleep;
    _Atomic bool stop;
    _Atomic uint32_t n_active; /* threads that take part, the caller's included; changes rarely */

    _Alignas(64) _Atomic uint32_t next; /* the next item to take */

    _Alignas(64) pool_fn fn;
    void *ctx;
    uint32_t n_items;

    int n_threads;
    int64_t spin_ns;            /* 0 when there are more threads than cpus to run them */
    struct pool_thread *thread; /* [n_threads - 1] */
};

static void cpu_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void futex_wait(_Atomic uint32_t *word, uint32_t seen, int who)
{
    syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, seen, NULL, NULL, who);
}

static void futex_wake(_Atomic uint32_t *word, int n, int who)
{
    syscall(SYS_futex, word, FUTEX_WAKE_BITSET_PRIVATE, n, NULL, NULL, who);
}

static void take_items(struct pool *p, int i_thread)
{
    for (;;) {
        uint32_t i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (i >= p->n_items)
            return;
        p->fn(p->ctx, (int)i, i_thread);
    }
}

/* Spins until *word leaves `seen` or the time is up; returns the last value seen. */
static uint32_t spin_while(_Atomic uint32_t *word, uint32_t seen, int64_t spin_ns)
{
    if (spin_ns <= 0)
        return atomic_load(word);
    int64_t end = clock_ns() + spin_ns;
    do {
        for (int i = 0; i < 32; i++) {
            uint32_t now = atomic_load_explicit(word, memory_order_acquire);
            if (now != seen)
                return now;
            cpu_pause();
        }
    } while (clock_ns() < end);
    return atomic_load(word);
}

/* Waits for an open loop other than that of epoch `done`, joins it and returns its epoch. False
 * when the pool stops. */
static bool join_loop(struct pool *p, int index, uint32_t done, uint32_t *ret_epoch)
{
    uint32_t seen = atomic_load(&p->state);
    for (;;) {
        uint32_t n_active = atomic_load(&p->n_active);
        if (atomic_load(&p->stop))
            return false;
        if ((uint32_t)index >= n_active) {
            futex_wait(&p->n_active, n_active, WAKE_PARKED);
            seen = atomic_load(&p->state);
            continue;
        }
        if ((seen & OPEN) && (seen & EPOCH_MASK) != done) {
            if (atomic_compare_exchange_weak(&p->state, &seen, seen + 1)) {
                *ret_epoch = seen & EPOCH_MASK;
                return true;
            }
            continue;
        }
        uint32_t now = spin_while(&p->state, seen, p->spin_ns);
        if (now == seen) {
            atomic_fetch_add(&p->n_asleep, 1);
            if (!atomic_load(&p->stop))
                futex_wait(&p->state, seen, WAKE_WORKERS);
            atomic_fetch_sub(&p->n_asleep, 1);
            now = atomic_load(&p->state);
        }
        seen = now;
    }
}

static void *worker_main(void *arg)
{
    struct pool_thread *t = arg;
    struct pool *p = t->pool;
    uint32_t epoch = 0; /* no loop has this epoch before 2^21 of them have run */
    while (join_loop(p, t->index, epoch, &epoch)) {
        take_items(p, t->index);
        uint32_t left = atomic_fetch_sub(&p->state, 1) - 1;
        if (!(left & (OPEN | JOINED_MASK)) && atomic_load(&p->caller_asleep))
            futex_wake(&p->state, 1, WAKE_CALLER);
    }
    return NULL;
}

static void wait_for_joined(struct pool *p)
{
    uint32_t seen = atomic_fetch_and(&p->state, ~OPEN) & ~OPEN;
    while (seen & JOINED_MASK) {
        uint32_t now = spin_while(&p->state, seen, p->spin_ns);
        if (now == seen) {
            atomic_store(&p->caller_asleep, true);
            futex_wait(&p->state, seen, WAKE_CALLER);
            atomic_store(&p->caller_asleep, false);
            now = atomic_load(&p->state);
        }
        seen = now;
    }
}

void pool_run(struct pool *p, pool_fn fn, void *ctx, int n_items)
{
    if (n_items <= 1 || atomic_load_explicit(&p->n_active, memory_order_relaxed) == 1) {
        for (int i = 0; i < n_items; i++)
            fn(ctx, i, 0);
        return;
    }
    p->fn = fn;
    p->ctx = ctx;
    p->n_items = (uint32_t)n_items;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    uint32_t state = atomic_load(&p->state);
    CHECK(!(state & (OPEN | JOINED_MASK))); /* pool_run within pool_run */
    atomic_store(&p->state, (state + EPOCH_ONE) | OPEN);
    if (atomic_load(&p->n_asleep) > 0)
        futex_wake(&p->state, n_items - 1, WAKE_WORKERS);
    take_items(p, 0);
    wait_for_joined(p);
}

void pool_limit(struct pool *p, int n_threads)
{
    uint32_t n = n_threads < 1 ? 1 : (uint32_t)n_threads;
    if (n > (uint32_t)p->n_threads)
        n = (uint32_t)p->n_threads;
    if (n == atomic_load_explicit(&p->n_active, memory_order_relaxed))
        return;
    atomic_store(&p->n_active, n);
    futex_wake(&p->n_active, POOL_THREADS_MAX, WAKE_PARKED);
    futex_wake(&p->state, POOL_THREADS_MAX, WAKE_WORKERS); /* those that are to park now */
}

static void *thread_start(void *arg)
{
    pthread_setname_np(pthread_self(), "hearth-pool");
    return worker_main(arg);
}

/* Threads may run on one cpu of each physical core and the kernel places them there: pinning each
 * to its own cpu would stall a loop whenever another process wants that cpu. */
static void restrict_to(pthread_attr_t *attr, const int *cpu, int n_cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int i = 0; i < n_cpu; i++)
        if (cpu[i] < CPU_SETSIZE)
            CPU_SET(cpu[i], &set);
    if (CPU_COUNT(&set) > 0)
        pthread_attr_setaffinity_np(attr, sizeof set, &set);
}

/* Starts the workers with all signals blocked but SIGBUS; returns 0 or an errno. */
static int start_threads(struct pool *p, const pthread_attr_t *attr)
{
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGBUS); /* a map that breaks under a thread is reported by its handler */
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int rc = 0;
    int wanted = p->n_threads;
    p->n_threads = 1;
    for (int i = 1; i < wanted && rc == 0; i++) {
        struct pool_thread *t = &p->thread[i - 1];
        *t = (struct pool_thread){.pool = p, .index = i};
        rc = pthread_create(&t->id, attr, thread_start, t);
        if (rc == 0)
            p->n_threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

int pool_new(int n_threads, struct pool **ret, struct err *err)
{
    if (n_threads < 1 || n_threads > POOL_THREADS_MAX)
        return err_set(err, ERR_INVALID, "%d threads: give 1 to %d", n_threads, POOL_THREADS_MAX);
    struct pool *p = mem_try_aligned(sizeof *p);
    struct pool_thread *thread = mem_try_array((size_t)n_threads, sizeof *thread);
    if (!p || !thread) {
        mem_free_aligned(p);
        free(thread);
        return err_set(err, ERR_NOMEM, "no memory for a pool of %d threads", n_threads);
    }
    p->thread = thread;
    p->n_threads = n_threads;
    atomic_store(&p->n_active, (uint32_t)n_threads);
    int cpu[POOL_THREADS_MAX];
    int n_cpu = cpu_physical(cpu, POOL_THREADS_MAX);
    /* Who spins takes time from the threads that work, where cpus or a quota are short of them. */
    p->spin_ns = n_threads <= cpu_threads_default() ? SPIN_NS : 0;
    pthread_attr_t attr;
    int rc = pthread_attr_init(&attr);
    if (rc == 0) {
        if (n_threads <= n_cpu)
            restrict_to(&attr, cpu, n_cpu);
        rc = start_threads(p, &attr);
        pthread_attr_destroy(&attr);
    }
    if (rc != 0) {
        pool_free(p);
        return err_set_errno(err, rc, "cannot start %d compute threads", n_threads);
    }
    *ret = p;
    return 0;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    atomic_store(&p->stop, true);
    atomic_fetch_add(&p->state, EPOCH_ONE);
    atomic_store(&p->n_active, UINT32_MAX);
    futex_wake(&p->state, POOL_THREADS_MAX, WAKE_WORKERS);
    futex_wake(&p->n_active, POOL_THREADS_MAX, WAKE_PARKED);
    for (int i = 1; i < p->n_threads; i++)
        pthread_join(p->thread[i - 1].id, NULL);
    free(p->thread);
    mem_free_aligned(p);
}

int pool_n_threads(const struct pool *p)
{
    return p->n_threads;
}
