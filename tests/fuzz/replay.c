/*
 * replay: runs a fuzz target without libFuzzer, for every build of the tests: each file of the
 * folders it is given, and then inputs that are made of these by cutting, joining and changing
 * them. Always the same ones: a failure comes again.
 *   fuzz_NOUN_replay FOLDER...
 * HEARTH_FUZZ_RUNS: how many inputs are made; 5000 if it is not set.
 * HEARTH_FUZZ_KEEP: a file in which each of them is written before it is run: the last one failed.
 */
#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "base/rng.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX  65536
#define INPUTS_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct buf inputs[INPUTS_MAX];
static size_t n_inputs;

static uint64_t below(uint64_t n)
{
    static uint64_t i;
    uint32_t word[4];
    rng_philox(1, 0, i++, word);
    return word[0] % n;
}

static void read_input(const char *folder, const char *name)
{
    char path[4096], bytes[4096];
    size_t n;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    CHECK(f != NULL && n_inputs < INPUTS_MAX);
    struct buf *in = &inputs[n_inputs++];
    buf_init(in, 16u << 20);
    while ((n = fread(bytes, 1, sizeof bytes, f)) > 0)
        CHECK(buf_add(in, bytes, n));
    fclose(f);
}

static int visible(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static void read_folder(const char *folder)
{
    struct dirent **list;
    int n = scandir(folder, &list, visible, alphasort);
    if (n <= 0)
        fprintf(stderr, "there is nothing in %s\n", folder);
    CHECK(n > 0);
    for (int i = 0; i < n; i++) {
        read_input(folder, list[i]->d_name);
        free(list[i]);
    }
    free(list);
}

static void run(struct str input)
{
    /* at its own size: a byte too many is found */
    uint8_t *copy = mem_zero(input.len + 1, 1);
    uint8_t *exact = realloc(copy, input.len > 0 ? input.len : 1);
    CHECK(exact != NULL);
    if (input.len > 0)
        memcpy(exact, input.ptr, input.len);
    (void)LLVMFuzzerTestOneInput(exact, input.len);
    free(exact);
}

static void keep(struct str input)
{
    const char *path = getenv("HEARTH_FUZZ_KEEP");
    FILE *f = path != NULL ? fopen(path, "wb") : NULL;
    if (f == NULL)
        return;
    (void)!fwrite(input.ptr, 1, input.len, f);
    fclose(f);
}

static struct str any_input(void)
{
    return buf_str(&inputs[below(n_inputs)]);
}

/* A piece of another input, a few bytes of any value, or less than there was. */
static void change(struct buf *b)
{
    static const char *const words[] = {"{", "}",    "[",  "]",     "\"",      ",",
                                        ":", "null", "-1", "1e999", "\xc3\xa9"};
    struct buf out;
    struct str other = any_input(), whole = buf_str(b);
    size_t at = below(whole.len + 1), n = below(16);
    n = n < whole.len - at ? n : whole.len - at;
    buf_init(&out, INPUT_MAX);
    buf_add_str(&out, str_sub(whole, 0, at));
    switch (below(5)) {
    case 0:
        buf_add_str(&out, str_sub(other, below(other.len + 1), below(64)));
        break;
    case 1:
        buf_add_char(&out, (char)below(256));
        break;
    case 2:
        buf_add_z(&out, words[below(ARRAY_LEN(words))]);
        n = 0;
        break;
    case 3:
        buf_add_str(&out, str_sub(whole, at, n)); /* twice */
        n = 0;
        break;
    default:
        break; /* taken out */
    }
    buf_add_str(&out, str_from(whole, at + n));
    if (!out.overflow && out.len > 0) {
        buf_release(b);
        *b = out;
    } else {
        buf_release(&out);
    }
}

int main(int argc, char **argv)
{
    const char *text = getenv("HEARTH_FUZZ_RUNS");
    long n_runs = text != NULL ? strtol(text, NULL, 10) : 5000;
    for (int i = 1; i < argc; i++)
        read_folder(argv[i]);
    CHECK(n_inputs > 0);
    for (size_t i = 0; i < n_inputs; i++)
        run(buf_str(&inputs[i]));
    for (long i = 0; i < n_runs; i++) {
        struct buf b;
        buf_init(&b, INPUT_MAX);
        buf_add_str(&b, str_sub(any_input(), 0, INPUT_MAX));
        for (uint64_t k = 1 + below(6); k > 0; k--)
            change(&b);
        keep(buf_str(&b));
        run(buf_str(&b));
        buf_release(&b);
    }
    for (size_t i = 0; i < n_inputs; i++)
        buf_release(&inputs[i]);
    printf("%zu inputs, %ld made of them\n", n_inputs, n_runs);
    return 0;
}
