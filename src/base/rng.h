/*
 * rng: counter-based random numbers (Philox 4x32-10; Salmon et al., "Parallel random numbers: as
 * easy as 1, 2, 3", SC 2011). The value depends only on (seed, stream, counter), so a sequence
 * that is resumed elsewhere draws the same numbers.
 */
#ifndef HEARTH_BASE_RNG_H
#define HEARTH_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

void rng_philox(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t ret_word[4]);
double rng_uniform(uint64_t seed, uint64_t stream, uint64_t counter); /* [0, 1), 53 bits */
void rng_system(void *ret_bytes, size_t len); /* from the operating system: ids, salts, seeds */

#endif
