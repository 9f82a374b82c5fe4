#include "bytes.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* What is empty and larger than this gives its memory back. */
#define BYTES_KEPT ((size_t)1 << 18)

uint8_t *bytes_reserve(bytes *b, size_t more) {
    if (b->capacity - b->end >= more && b->data != NULL) return b->data + b->end;
    size_t count = bytes_count(b);
    if (more > SIZE_MAX / 2 - count) return NULL;
    size_t needed = count + more;
    if (b->data != NULL && needed <= b->capacity && b->start >= count) {
        /* Half or more of the memory is free at the front: moving costs no more than what was consumed. */
        if (count > 0) memcpy(b->data, b->data + b->start, count);
    } else {
        size_t capacity = b->capacity < 4096 ? 4096 : b->capacity;
        while (capacity < needed + needed / 2) capacity *= 2;
        uint8_t *data = malloc(capacity);
        if (data == NULL) return NULL;
        if (count > 0) memcpy(data, b->data + b->start, count);
        free(b->data);
        b->data = data;
        b->capacity = capacity;
    }
    b->start = 0;
    b->end = count;
    return b->data + b->end;
}

void bytes_commit(bytes *b, size_t count) {
    assert(count <= b->capacity - b->end);
    b->end += count;
}

bool bytes_append(bytes *b, const void *data, size_t count) {
    if (count == 0) return true;
    uint8_t *target = bytes_reserve(b, count);
    if (target == NULL) return false;
    memcpy(target, data, count);
    b->end += count;
    return true;
}

void bytes_consume(bytes *b, size_t count) {
    assert(count <= bytes_count(b));
    b->start += count;
    if (b->start == b->end) {
        b->start = b->end = 0;
        if (b->capacity > BYTES_KEPT) bytes_free(b);
    }
}

void bytes_free(bytes *b) {
    free(b->data);
    *b = (bytes){0};
}
