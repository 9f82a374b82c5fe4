/* Filling in what the caller is told of a failure. */
#ifndef COHORT_ERROR_H
#define COHORT_ERROR_H

#include "cohort.h"

/* Copies as much of `from` as fits into `size` bytes with the NUL, never half a UTF-8 sequence. */
void copy_text(char *to, size_t size, const char *from);

/* Makes an error of this library. `error` may be NULL. Returns `code`. */
cohort_code fail(cohort_error *error, cohort_code code, const char *reason, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Copies `from`, unless `error` is NULL. Returns its code. */
cohort_code fail_with(cohort_error *error, const cohort_error *from);

/* Clears the caller's error, unless it is NULL. Returns COHORT_OK. */
cohort_code succeed(cohort_error *error);

cohort_code fail_out_of_memory(cohort_error *error);

#endif
