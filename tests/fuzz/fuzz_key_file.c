/*
 * fuzz_key_file: a file of keys that somebody wrote by hand, or something damaged. Either it is
 * refused with a reason, or every row of it is one that key_file_create could have made.
 */
#include "base/check.h"
#include "store/key_file.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_row(const struct key_file *f, int i)
{
    const struct key *k = &f->key[i];
    size_t n = strnlen(k->name, sizeof k->name);
    CHECK(n > 0 && n <= KEY_NAME_MAX && k->name[n] == '\0');
    CHECK(digest_valid(str_z(k->hash)));
    CHECK(k->tenant >= 1 && k->tenant <= f->last_tenant);
    CHECK(k->priority >= 0 && k->priority < KEY_N_PRIORITIES);
    CHECK(k->requests_max >= 0 && k->tokens_per_minute >= 0 && k->created_ms >= 0);
    for (int j = 0; j < i; j++)
        CHECK(strcmp(f->key[j].name, k->name) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[64];
    struct key_file f;
    struct err err = {0};
    if (fd < 0) {
        fd = memfd_create("keys", MFD_CLOEXEC);
        CHECK(fd >= 0 && fchmod(fd, 0600) == 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    if (key_file_read(path, &f, &err) != 0) {
        CHECK(err.code != 0 && err.text[0] != '\0');
        return 0;
    }
    CHECK(f.n_key <= KEYS_MAX);
    for (int i = 0; i < f.n_key; i++)
        check_row(&f, i);
    const struct key *k = key_file_find(&f, (struct str){(const char *)data, size});
    CHECK(k == NULL || (k >= f.key && k < f.key + f.n_key));
    key_file_release(&f);
    return 0;
}
