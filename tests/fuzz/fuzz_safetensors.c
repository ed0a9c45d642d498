/*
 * fuzz_safetensors: bytes as a safetensors file. Whatever is taken can be read to its last byte.
 */
#include "base/check.h"
#include "format/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct safetensors *s;
    struct err err;
    if (safetensors_open_memory(data, len, &s, &err) != 0)
        return 0;
    unsigned sum = 0;
    for (size_t i = 0; i < safetensors_n(s); i++) {
        const struct safetensor *t = safetensors_at(s, i);
        CHECK(safetensors_find(s, t->name) != NULL && t->n_dims <= SAFETENSORS_DIMS_MAX);
        for (uint64_t k = 0; k < t->n_bytes; k++)
            sum += t->data[k];
    }
    safetensors_free(s);
    return sum == 1 ? -1 : 0;
}
