/*
 * fuzz_disk_index: head, table and data of the file of computed prefixes, from bytes that anybody
 * may have written. Whatever is in it, the index stays sound, and what was written after is found.
 *
 * Three bytes each: what of a good file is changed (head, entry, its place) and how; the hashes of
 * entries are made right again when the fourth says so, so that the checks behind them are met.
 */
#include "engine/disk_index.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define N_SLOTS     12
#define BLOCK_BYTES 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void open_index(struct disk_index *x, int fd)
{
    struct err err;
    uint64_t most = (uint64_t)DISK_DATA_AT + N_SLOTS * 4096;
    require(disk_index_open(x, fd, most, BLOCK_BYTES, "model", &err) == 0);
}

static void write_text(struct disk_index *x, int fd, int n, int32_t first)
{
    struct disk_hash parent = {0, 0};
    uint8_t block[BLOCK_BYTES] = {1};
    for (int i = 0; i < n; i++) {
        int32_t token[KV_BLOCK_LEN] = {first, i};
        struct disk_hash key = disk_index_key(x, &parent, 0, token);
        if (disk_index_find_key(x, &key) == DISK_NONE) {
            uint32_t slot = disk_index_take(x, &key, &parent, 0, token);
            require(slot < x->n_slots);
            struct disk_slot *s = &x->slot[slot];
            s->state = DISK_VALID;
            s->meta.data = disk_index_data_hash(x, block);
            s->meta.check = disk_index_check(x, &s->meta);
            require(disk_write_at(fd, &s->meta, sizeof(s->meta), disk_meta_at(slot)));
            require(disk_write_at(fd, block, sizeof(block), disk_data_at(x, slot)));
        }
        require(disk_index_find(x, &key, &parent, 0, token) != DISK_NONE);
        parent = key;
    }
}

/* Every slot is in the order of use, or free, exactly once. */
static void check_index(const struct disk_index *x)
{
    uint32_t n_used = 0, n_free = 0, prev = DISK_NONE;
    for (uint32_t s = x->first; s != DISK_NONE; prev = s, s = x->slot[s].next) {
        require(s < x->n_slots && x->slot[s].prev == prev && ++n_used <= x->n_slots);
        require(x->slot[s].state == DISK_VALID);
        require(disk_index_find_key(x, &x->slot[s].meta.key) == s);
    }
    for (uint32_t s = x->free_first; s != DISK_NONE; s = x->slot[s].next)
        require(s < x->n_slots && x->slot[s].state == DISK_FREE && ++n_free <= x->n_slots);
    require(x->last == prev && n_used == x->n_used && n_used + n_free == x->n_slots);
}

static void edit(const struct disk_index *x, int fd, const uint8_t *data)
{
    uint32_t slot = data[0] % N_SLOTS;
    struct disk_meta m;
    if (data[0] >= 250) {
        require(disk_write_at(fd, &data[2], 1, data[1] * 2));
        return;
    }
    require(disk_read_at(fd, &m, sizeof(m), disk_meta_at(slot)));
    ((uint8_t *)&m)[data[1]] ^= data[2];
    if (data[3] & 1)
        m.key = disk_index_key(x, &m.parent, m.salt, m.token);
    if (data[3] & 2)
        m.check = disk_index_check(x, &m);
    require(
        disk_write_at(fd, &m, sizeof(m), disk_meta_at(data[3] & 4 ? (slot + 1) % N_SLOTS : slot)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct disk_index x;
    int fd = memfd_create("prefix", 0);
    require(fd >= 0);
    open_index(&x, fd);
    write_text(&x, fd, 5, 1);
    write_text(&x, fd, N_SLOTS - 5, 2);
    for (; len >= 4; data += 4, len -= 4)
        edit(&x, fd, data);
    disk_index_release(&x);
    open_index(&x, fd);
    check_index(&x);
    for (uint32_t i = 0; i < x.n_slots; i++)
        if (x.slot[i].state == DISK_VALID)
            disk_index_touch(&x, i);
    check_index(&x);
    write_text(&x, fd, 7, 3);
    check_index(&x);
    require(disk_index_save(&x, fd));
    disk_index_release(&x);
    open_index(&x, fd);
    write_text(&x, fd, 7, 3); /* all still there */
    check_index(&x);
    disk_index_release(&x);
    close(fd);
    return 0;
}
