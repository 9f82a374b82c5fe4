/* A growable queue of bytes: appended at the end, consumed from the start. */
#ifndef COHORT_BYTES_H
#define COHORT_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct bytes {
    uint8_t *data;
    size_t start;
    size_t end;
    size_t capacity;
} bytes;

static inline size_t bytes_count(const bytes *b) { return b->end - b->start; }

/* NULL if nothing was ever reserved. */
static inline const uint8_t *bytes_first(const bytes *b) { return b->data == NULL ? NULL : b->data + b->start; }

/* Makes room for `more` bytes behind the end and returns it; NULL if memory is out. Moves what is there. */
uint8_t *bytes_reserve(bytes *b, size_t more);

/* Says that `count` of the bytes reserved have been written. */
void bytes_commit(bytes *b, size_t count);

bool bytes_append(bytes *b, const void *data, size_t count);

void bytes_consume(bytes *b, size_t count);

void bytes_free(bytes *b);

#endif
