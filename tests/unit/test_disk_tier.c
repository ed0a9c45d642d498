/*
 * disk_tier: blocks that are written come back byte for byte, also in another life of the process;
 * whatever is wrong with the file is found out and costs the block or the file, nothing else.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "engine/prefix_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define BLOCK_BYTES 5000 /* no multiple of anything */
#define N_BLOCKS    64
#define TEXT_BLOCKS 20
#define SLOT_BYTES  8192

/* One life of a worker: memory and prefix cache new, the file as it was. */
struct life {
    struct prefix_cache cache;
    struct disk_tier *tier;
    uint8_t *slab;
    uint32_t block[N_BLOCKS];
    int n;
};

static int new_file(void)
{
    int fd = memfd_create("prefix", 0);
    assert_true(fd >= 0);
    return fd;
}

static uint64_t bytes_for(int n_slots)
{
    return (uint64_t)DISK_DATA_AT + (uint64_t)n_slots * SLOT_BYTES;
}

static void begin_as(struct life *l, int fd, int n_slots, const char *identity)
{
    struct err err = {0};
    memset(l, 0, sizeof(*l));
    assert_int_equal(prefix_cache_init(&l->cache, N_BLOCKS, &err), 0);
    l->slab = calloc(N_BLOCKS, BLOCK_BYTES);
    assert_non_null(l->slab);
    const struct disk_tier_opts o = {fd,      bytes_for(n_slots), identity, BLOCK_BYTES, l->slab,
                                     N_BLOCKS};
    if (disk_tier_new(&o, &l->tier, &err) != 0)
        fail_msg("%s", err.text);
    l->cache.disk = l->tier;
}

static void begin(struct life *l, int fd, int n_slots)
{
    begin_as(l, fd, n_slots, "model 1");
}

static void work(struct life *l)
{
    while (disk_tier_pump(l->tier, &l->cache) | (int)disk_tier_work(l->tier))
        ;
    disk_tier_pump(l->tier, &l->cache);
}

/* killed: nothing is written at the end. */
static void end(struct life *l, bool killed)
{
    if (!killed)
        disk_tier_stop(l->tier, &l->cache, 5000);
    disk_tier_free(l->tier);
    prefix_cache_release(&l->cache);
    free(l->slab);
}

static struct disk_tier_stats stats_of(const struct life *l)
{
    struct disk_tier_stats s;
    disk_tier_get_stats(l->tier, &s);
    return s;
}

/* Text t: its first `shared` blocks are those of text 0. */
static void make_text(int t, int shared, int32_t *token)
{
    for (int i = 0; i < TEXT_BLOCKS * KV_BLOCK_LEN; i++)
        token[i] = (i / KV_BLOCK_LEN < shared ? 0 : t * 1000) + i;
}

/* What the block of these tokens, and those before it, would be computed to. */
static void fill(uint8_t *data, const int32_t *token, int i_block)
{
    uint64_t seed = 1;
    for (int i = 0; i < (i_block + 1) * KV_BLOCK_LEN; i++)
        seed = seed * 0x9e3779b97f4a7c15ull + (uint64_t)token[i];
    for (int i = 0; i < BLOCK_BYTES;
         i++, seed = seed * 6364136223846793005ull + 1442695040888963407ull)
        data[i] = (uint8_t)(seed >> 56);
}

static void check_bytes(const uint8_t *data, const int32_t *token, int i_block)
{
    uint8_t *wanted = malloc(BLOCK_BYTES);
    assert_non_null(wanted);
    fill(wanted, token, i_block);
    assert_memory_equal(data, wanted, BLOCK_BYTES);
    free(wanted);
}

/* Computes the first n blocks of a text and lets them go. */
static void compute(struct life *l, const int32_t *token, uint64_t salt, int n)
{
    uint32_t parent = BLOCK_NONE, held[TEXT_BLOCKS];
    for (int i = 0; i < n; i++) {
        const int32_t *at = &token[i * KV_BLOCK_LEN];
        uint32_t block = prefix_cache_find(&l->cache, parent, salt, at);
        if (block != BLOCK_NONE) {
            block_pool_ref(&l->cache.pool, block);
        } else {
            assert_true(prefix_cache_take(&l->cache, &block));
            fill(l->slab + (size_t)block * BLOCK_BYTES, token, i);
            prefix_cache_insert(&l->cache, parent, salt, at, block);
        }
        held[i] = parent = block;
        work(l);
    }
    for (int i = n; i-- > 0;)
        block_pool_unref(&l->cache.pool, held[i]);
}

/* Reads what the disk has of a text; checks each byte; how many blocks. */
static int read_back(struct life *l, const int32_t *token, uint64_t salt)
{
    int n = disk_tier_look(l->tier, BLOCK_NONE, salt, token, TEXT_BLOCKS), n_done = 0;
    for (int i = 0; i < n; i++)
        assert_true(prefix_cache_take(&l->cache, &l->block[i]));
    disk_tier_read(l->tier, BLOCK_NONE, salt, token, l->block, n);
    for (int i = 0; i < n; i++)
        assert_int_equal(disk_tier_result(l->tier, l->block[i]), DISK_PENDING);
    work(l);
    bool lost = false;
    for (int i = 0; i < n; i++) {
        enum disk_result r = disk_tier_result(l->tier, l->block[i]);
        assert_int_not_equal(r, DISK_PENDING);
        lost |= r == DISK_LOST;
        if (r == DISK_DONE)
            check_bytes(l->slab + (size_t)l->block[i] * BLOCK_BYTES, token, i);
        n_done += !lost;
        block_pool_unref(&l->cache.pool, l->block[i]);
    }
    return n_done;
}

static int32_t text[8][TEXT_BLOCKS * KV_BLOCK_LEN];

static int setup(void **state)
{
    (void)state;
    for (int t = 0; t < 8; t++)
        make_text(t, t == 1 ? 5 : 0, text[t]);
    return 0;
}

/* ---- the tests ---- */

static void test_blocks_outlive_the_process(void **state)
{
    (void)state;
    for (int killed = 0; killed < 2; killed++) {
        struct life l;
        int fd = new_file();
        begin(&l, fd, 100);
        compute(&l, text[0], 0, 20);
        compute(&l, text[1], 0, 12); /* 5 of them the same */
        assert_int_equal(stats_of(&l).n_written, 27);
        end(&l, killed);
        begin(&l, fd, 100);
        assert_int_equal(stats_of(&l).n_used, 27);
        assert_int_equal(read_back(&l, text[0], 0), 20);
        assert_int_equal(read_back(&l, text[1], 0), 12);
        assert_int_equal(read_back(&l, text[2], 0), 0);
        assert_int_equal(read_back(&l, text[0], 1), 0); /* another salt: another tenant */
        compute(&l, text[0], 0, 20);                    /* nothing is written twice */
        assert_int_equal(stats_of(&l).n_written, 0);
        end(&l, killed);
        close(fd);
    }
}

static void test_another_head_begins_the_file_anew(void **state)
{
    (void)state;
    static const struct {
        const char *identity;
        off_t at; /* of a byte that is changed, or -1 */
        int n_kept;
    } way[] = {
        {"model 1", -1, 4},  {"model 2", -1, 0},  {"model 1 ", -1, 0}, {"model 1", 0, 0},
        {"model 1", 8, 0},   {"model 1", 12, 0},  {"model 1", 16, 0},  {"model 1", 40, 0},
        {"model 1", 300, 0}, {"model 1", 408, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(way); i++) {
        struct life l;
        int fd = new_file();
        begin(&l, fd, 10);
        compute(&l, text[0], 0, 4);
        end(&l, false);
        uint8_t byte;
        if (way[i].at >= 0) {
            assert_int_equal(pread(fd, &byte, 1, way[i].at), 1);
            byte ^= 1;
            assert_int_equal(pwrite(fd, &byte, 1, way[i].at), 1);
        }
        begin_as(&l, fd, 10, way[i].identity);
        assert_int_equal(read_back(&l, text[0], 0), way[i].n_kept);
        compute(&l, text[0], 0, 6);
        end(&l, false);
        begin_as(&l, fd, 10, way[i].identity);
        assert_int_equal(read_back(&l, text[0], 0), 6);
        end(&l, false);
        close(fd);
    }
}

/* Every bit of entry and data counts. */
static void test_a_damaged_slot_is_a_miss(void **state)
{
    (void)state;
    static const off_t data_at[] = {0, 1, 2500, BLOCK_BYTES - 1};
    for (int i = 0; i < 256 / 4 + (int)ARRAY_LEN(data_at); i++) {
        struct life l;
        int fd = new_file();
        begin(&l, fd, 10);
        compute(&l, text[0], 0, 6);
        end(&l, false);
        /* slot 3 holds the fourth block: slots are given in order */
        bool in_entry = i < 256 / 4;
        off_t at = in_entry ? DISK_HEAD_BYTES + 3 * 256 + i * 4
                            : DISK_DATA_AT + 3 * SLOT_BYTES + data_at[i - 256 / 4];
        uint8_t byte;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        begin(&l, fd, 10);
        assert_int_equal(stats_of(&l).n_used, in_entry ? 5 : 6);
        assert_int_equal(read_back(&l, text[0], 0), 3);
        assert_int_equal(stats_of(&l).n_bad, in_entry ? 0 : 1);
        assert_int_equal(stats_of(&l).n_used, 5);
        assert_int_equal(read_back(&l, text[0], 0), 3);
        compute(&l, text[0], 0, 6); /* the missing one is written again, and finds its children */
        assert_int_equal(stats_of(&l).n_written, 1);
        assert_int_equal(read_back(&l, text[0], 0), 6);
        end(&l, false);
        close(fd);
    }
}

static void test_data_of_another_write_is_a_miss(void **state)
{
    (void)state;
    struct life l;
    int fd = new_file();
    uint8_t data[BLOCK_BYTES];
    begin(&l, fd, 10);
    compute(&l, text[0], 0, 6);
    end(&l, false);
    assert_true(disk_read_at(fd, data, sizeof(data), DISK_DATA_AT + 4 * SLOT_BYTES));
    assert_true(disk_write_at(fd, data, sizeof(data), DISK_DATA_AT + 2 * SLOT_BYTES));
    begin(&l, fd, 10);
    assert_int_equal(read_back(&l, text[0], 0), 2);
    end(&l, false);
    /* cut short within a block, within the table, and within the head */
    static const off_t length[] = {DISK_DATA_AT + 4 * SLOT_BYTES + 17, DISK_HEAD_BYTES + 300, 100};
    static const int n_left[] = {2, 0, 0};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ftruncate(fd, length[i]), 0);
        begin(&l, fd, 10);
        assert_int_equal(read_back(&l, text[0], 0), n_left[i]);
        end(&l, true);
    }
    close(fd);
}

/* The order of use decides, and of a text the end goes first. */
static void test_slots_are_reused_by_age(void **state)
{
    (void)state;
    for (int restart = 0; restart < 3; restart++) { /* 1: stopped, 2: killed */
        struct life l;
        int fd = new_file();
        begin(&l, fd, 12);
        compute(&l, text[0], 0, 6);
        compute(&l, text[2], 0, 6);
        if (restart > 0) {
            end(&l, restart == 2);
            begin(&l, fd, 12);
        }
        compute(&l, text[3], 0, 2); /* the end of text 0 goes */
        assert_int_equal(read_back(&l, text[0], 0), 4);
        assert_int_equal(read_back(&l, text[2], 0), 6);
        read_back(&l, text[0], 0); /* used: now text 3, then 2 is the oldest */
        if (restart > 0) {
            end(&l, false);
            begin(&l, fd, 12);
        }
        compute(&l, text[4], 0, 5);
        assert_int_equal(read_back(&l, text[0], 0), 4);
        assert_int_equal(read_back(&l, text[3], 0), 0);
        assert_int_equal(read_back(&l, text[2], 0), 3);
        assert_int_equal(read_back(&l, text[4], 0), 5);
        compute(&l, text[5], 0, 20); /* longer than the file: its beginning stays */
        assert_int_equal(read_back(&l, text[5], 0), 12);
        struct stat st;
        assert_int_equal(fstat(fd, &st), 0);
        assert_true((uint64_t)st.st_size <= bytes_for(12));
        end(&l, false);
        close(fd);
    }
}

static void test_another_bound(void **state)
{
    (void)state;
    struct life l;
    struct stat st;
    int fd = new_file();
    begin(&l, fd, 12);
    compute(&l, text[0], 0, 12);
    end(&l, false);
    begin(&l, fd, 5); /* the first slots stay */
    assert_int_equal(fstat(fd, &st), 0);
    assert_true((uint64_t)st.st_size <= bytes_for(5));
    assert_int_equal(read_back(&l, text[0], 0), 5);
    end(&l, false);
    begin(&l, fd, 30);
    assert_int_equal(read_back(&l, text[0], 0), 5);
    compute(&l, text[0], 0, 20);
    assert_int_equal(read_back(&l, text[0], 0), 20);
    end(&l, false);
    struct disk_index x;
    struct err err = {0};
    assert_int_equal(disk_index_open(&x, fd, 1000, BLOCK_BYTES, "", &err), ERR_LIMIT);
    assert_int_equal(disk_index_open(&x, fd, UINT64_MAX, SIZE_MAX, "", &err), ERR_LIMIT);
    assert_int_equal(disk_index_bytes(1000, BLOCK_BYTES), 0);
    close(fd);
}

/* Two texts with the same key, as a hostile file could have them: tokens decide. */
static void test_equal_keys_are_not_trusted(void **state)
{
    (void)state;
    struct life l;
    struct disk_index x;
    struct disk_hash none = {0, 0}, key;
    int fd = new_file();
    begin(&l, fd, 10);
    end(&l, false);
    assert_int_equal(disk_index_open(&x, fd, bytes_for(10), BLOCK_BYTES, "model 1", NULL), 0);
    key = disk_index_key(&x, &none, 0, text[0]);
    uint32_t slot = disk_index_take(&x, &key, &none, 0, text[2]);
    assert_int_not_equal(slot, DISK_NONE);
    assert_int_equal(disk_index_find_key(&x, &key), slot);
    assert_int_equal(disk_index_find(&x, &key, &none, 0, text[0]), DISK_NONE);
    assert_int_equal(disk_index_find(&x, &key, &none, 0, text[2]), slot);
    assert_int_equal(disk_index_find(&x, &key, &none, 7, text[2]), DISK_NONE);
    assert_int_equal(disk_index_find(&x, &key, &key, 0, text[2]), DISK_NONE);
    /* and in the file it is no entry at all */
    x.slot[slot].meta.check = disk_index_check(&x, &x.slot[slot].meta);
    assert_true(disk_write_at(fd, &x.slot[slot].meta, 256, disk_meta_at(slot)));
    assert_true(disk_write_at(fd, text, BLOCK_BYTES, disk_data_at(&x, slot)));
    disk_index_release(&x);
    begin(&l, fd, 10);
    assert_int_equal(stats_of(&l).n_used, 0);
    end(&l, false);
    close(fd);
}

/* The same entry twice, stamps as large as they come: hashes right, sense none. */
static void test_hostile_entries(void **state)
{
    (void)state;
    struct life l;
    struct disk_index x;
    struct disk_meta m;
    int fd = new_file();
    begin(&l, fd, 10);
    compute(&l, text[0], 0, 6);
    end(&l, false);
    assert_int_equal(disk_index_open(&x, fd, bytes_for(10), BLOCK_BYTES, "model 1", NULL), 0);
    for (uint32_t i = 0; i < 6; i++) {
        m = x.slot[i].meta;
        m.stamp = UINT64_MAX - i / 2;
        m.check = disk_index_check(&x, &m);
        assert_true(disk_write_at(fd, &m, sizeof(m), disk_meta_at(i)));
        if (i == 3)
            assert_true(disk_write_at(fd, &m, sizeof(m), disk_meta_at(8)));
    }
    assert_true(disk_write_at(fd, text, BLOCK_BYTES, disk_data_at(&x, 9)));
    disk_index_release(&x);
    begin(&l, fd, 10);
    assert_int_equal(stats_of(&l).n_used, 6);
    assert_int_equal(read_back(&l, text[0], 0), 6);
    compute(&l, text[2], 0, 10);
    assert_int_equal(read_back(&l, text[2], 0), 10);
    end(&l, false);
    begin(&l, fd, 10);
    assert_int_equal(read_back(&l, text[2], 0), 10);
    end(&l, false);
    close(fd);
}

/* A full disk: nothing is kept of what did not fit, and the rest goes on. */
static void test_errors_of_writing(void **state)
{
    (void)state;
    struct life l;
    char path[] = "/tmp/test_disk_tier.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    begin(&l, fd, 10);
    struct rlimit was, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    small = was;
    small.rlim_cur = (rlim_t)DISK_DATA_AT + 3 * SLOT_BYTES + 100;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    compute(&l, text[0], 0, 6);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(stats_of(&l).n_written, 3);
    assert_int_equal(stats_of(&l).n_failed, 1); /* then it rests */
    assert_int_equal(read_back(&l, text[0], 0), 3);
    end(&l, false);
    begin(&l, fd, 10);
    assert_int_equal(read_back(&l, text[0], 0), 3);
    end(&l, false);
    close(fd);
    /* a file that cannot be written at all */
    struct err err = {0};
    struct disk_index x;
    fd = open("/dev/null", O_RDONLY);
    assert_int_equal(disk_index_open(&x, fd, bytes_for(3), BLOCK_BYTES, "m", &err), ERR_IO);
    close(fd);
}

/* Reads that nobody wants any more: queued, over, and in the middle. */
static void test_cancelled_reads(void **state)
{
    (void)state;
    struct life l;
    int fd = new_file();
    begin(&l, fd, 30);
    compute(&l, text[0], 0, 10);
    end(&l, false);
    begin(&l, fd, 30);
    assert_int_equal(disk_tier_look(l.tier, BLOCK_NONE, 0, text[0], 8), 8);
    for (int i = 0; i < 8; i++)
        assert_true(prefix_cache_take(&l.cache, &l.block[i]));
    disk_tier_read(l.tier, BLOCK_NONE, 0, text[0], l.block, 8);
    for (int i = 0; i < 3; i++)
        assert_true(disk_tier_work(l.tier));
    for (int i = 8; i-- > 0;) { /* 5 that wait, 3 that are over */
        assert_true(disk_tier_cancel(l.tier, l.block[i]));
        block_pool_unref(&l.cache.pool, l.block[i]);
    }
    assert_false(disk_tier_work(l.tier));
    assert_int_equal(disk_tier_n_orphans(l.tier), 0);
    assert_int_equal(read_back(&l, text[0], 0), 10);
    /* the slots are not pinned any more */
    compute(&l, text[2], 0, 20);
    compute(&l, text[3], 0, 10);
    assert_int_equal(read_back(&l, text[3], 0), 10);
    assert_int_equal(read_back(&l, text[2], 0), 20);
    end(&l, false);
    close(fd);
}

static void nothing(void *ctx)
{
    (void)ctx;
}

/* With its thread, cancels at any moment: each block comes back once. */
static void test_cancels_meet_the_thread(void **state)
{
    (void)state;
    struct life l;
    struct err err;
    int fd = new_file(), n_orphans = 0;
    begin(&l, fd, 30);
    compute(&l, text[0], 0, 16);
    end(&l, false);
    begin(&l, fd, 30);
    assert_int_equal(disk_tier_start(l.tier, nothing, NULL, &err), 0);
    for (int round = 0; round < 500 || (n_orphans == 0 && round < 1000000); round++) {
        int n = 0;
        assert_int_equal(disk_tier_look(l.tier, BLOCK_NONE, 0, text[0], 16), 16);
        while (n < 16 && prefix_cache_take(&l.cache, &l.block[n]))
            n++;
        disk_tier_read(l.tier, BLOCK_NONE, 0, text[0], l.block, n);
        for (volatile int spin = 0; spin < round % 50 * 500; spin++)
            ;
        for (int i = n; i-- > 0;)
            if (disk_tier_cancel(l.tier, l.block[i]))
                block_pool_unref(&l.cache.pool, l.block[i]);
        n_orphans += disk_tier_n_orphans(l.tier);
        disk_tier_reap(l.tier, &l.cache.pool);
    }
    while (disk_tier_n_orphans(l.tier) > 0)
        disk_tier_reap(l.tier, &l.cache.pool);
    assert_int_equal(l.cache.pool.n_free, N_BLOCKS);
    assert_true(n_orphans > 0);
    end(&l, false);
    close(fd);
}

/* What the disk is slower at than the model is computed; some time it is tried again. */
static void test_price(void **state)
{
    (void)state;
    struct life l;
    int fd = new_file();
    begin(&l, fd, 30);
    compute(&l, text[0], 0, 10);
    assert_int_equal(read_back(&l, text[0], 0), 10);
    double ms = stats_of(&l).read_ms;
    assert_true(ms > 0);
    disk_tier_set_price(l.tier, ms * 2);
    assert_int_equal(disk_tier_look(l.tier, BLOCK_NONE, 0, text[0], 20), 10);
    disk_tier_set_price(l.tier, ms / 2);
    assert_int_equal(disk_tier_look(l.tier, BLOCK_NONE, 0, text[0], 20), 0);
    int n = 1;
    while (disk_tier_look(l.tier, BLOCK_NONE, 0, text[0], 20) == 0)
        n++;
    assert_in_range(n, 50, 100);
    end(&l, false);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_outlive_the_process),
        cmocka_unit_test(test_another_head_begins_the_file_anew),
        cmocka_unit_test(test_a_damaged_slot_is_a_miss),
        cmocka_unit_test(test_data_of_another_write_is_a_miss),
        cmocka_unit_test(test_slots_are_reused_by_age),
        cmocka_unit_test(test_another_bound),
        cmocka_unit_test(test_equal_keys_are_not_trusted),
        cmocka_unit_test(test_hostile_entries),
        cmocka_unit_test(test_errors_of_writing),
        cmocka_unit_test(test_cancelled_reads),
        cmocka_unit_test(test_cancels_meet_the_thread),
        cmocka_unit_test(test_price),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
