// Hints to the processor that Swift has no words for.
#ifndef COHORT_PREFETCH_H
#define COHORT_PREFETCH_H

// Begins to bring the cache line of an address near, to be read once. The address need not be valid.
static inline void cohort_prefetch(const void *address) { __builtin_prefetch(address, 0, 1); }

#endif
