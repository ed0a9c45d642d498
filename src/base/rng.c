/*
 * rng: see rng.h. Philox 4x32 with 10 rounds; constants from the paper's section 4.
 */
#include "base/rng.h"

#include "base/check.h"

#include <errno.h>
#include <sys/random.h>

#define PHILOX_M0     0xD2511F53u
#define PHILOX_M1     0xCD9E8D57u
#define PHILOX_W0     0x9E3779B9u
#define PHILOX_W1     0xBB67AE85u
#define PHILOX_ROUNDS 10

void rng_philox(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t ret_word[4])
{
    uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)(counter >> 32);
    uint32_t c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        uint64_t p0 = (uint64_t)PHILOX_M0 * c0, p1 = (uint64_t)PHILOX_M1 * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    ret_word[0] = c0;
    ret_word[1] = c1;
    ret_word[2] = c2;
    ret_word[3] = c3;
}

double rng_uniform(uint64_t seed, uint64_t stream, uint64_t counter)
{
    uint32_t w[4];
    rng_philox(seed, stream, counter, w);
    uint64_t bits = ((uint64_t)w[0] << 32 | w[1]) >> 11; /* 53 bits */
    return (double)bits * 0x1p-53;
}

void rng_system(void *ret_bytes, size_t len)
{
    unsigned char *p = ret_bytes;
    while (len) {
        ssize_t n = getrandom(p, len < 256 ? len : 256, 0);
        if (n < 0 && errno == EINTR)
            continue;
        CHECK(n > 0);
        p += n;
        len -= (size_t)n;
    }
}
