/* The least of a test harness: a failed check says where, and the program ends with 1. */
#ifndef COHORT_TEST_H
#define COHORT_TEST_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                  \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__, #condition); \
            exit(1);                                                                      \
        }                                                                                 \
    } while (0)

#define CHECK_TEXT(found, expected)                                                                        \
    do {                                                                                                   \
        const char *found_ = (found);                                                                      \
        if (strcmp(found_, (expected)) != 0) {                                                             \
            fprintf(stderr, "%s:%d: %s: found '%s', expected '%s'\n", __FILE__, __LINE__, __func__, found_, \
                    (expected));                                                                           \
            exit(1);                                                                                       \
        }                                                                                                  \
    } while (0)

#define RUN(test)             \
    do {                      \
        test();               \
        printf("ok %s\n", #test); \
    } while (0)

/* SplitMix64 (Steele, Lea, Flood 2014): the same numbers for the same seed, everywhere. */
static inline uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* Runs of a fuzz test: the default, or LIBCOHORT_FUZZ_RUNS. */
static inline long fuzz_runs(long standard) {
    const char *given = getenv("LIBCOHORT_FUZZ_RUNS");
    return given == NULL ? standard : strtol(given, NULL, 10);
}

#endif
