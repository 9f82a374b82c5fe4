/* A byte stream with time: what a connection is made over. Tests put their own in its place. */
#ifndef COHORT_TRANSPORT_H
#define COHORT_TRANSPORT_H

#include "cohort.h"

/* A deadline that never comes. */
#define TIME_NEVER INT64_MAX

typedef enum io_status {
    IO_OK,
    /* Nothing can be done now; for `wait`, the deadline came. */
    IO_WOULD_BLOCK,
    /* The peer ended the stream. */
    IO_CLOSED,
    /* `problem` tells. */
    IO_FAILED,
} io_status;

typedef struct transport transport;

typedef struct transport_operations {
    /* Reads at most `room` bytes, without waiting. */
    io_status (*read)(transport *self, uint8_t *to, size_t room, size_t *count);
    /* Writes at most `size` bytes, without waiting. What was not written is offered again, perhaps with more. */
    io_status (*write)(transport *self, const uint8_t *from, size_t size, size_t *count);
    /* Waits until there may be something to read, or to write if `for_write`. */
    io_status (*wait)(transport *self, bool for_write, int64_t deadline);
    /* Nanoseconds on a clock that never goes back. */
    int64_t (*now)(transport *self);
    /* What went wrong last; lives until the next call. */
    const char *(*problem)(transport *self);
    /* Ends the stream and frees it. */
    void (*close)(transport *self);
} transport_operations;

struct transport {
    const transport_operations *operations;
};

/* The deadline so many nanoseconds from now; COHORT_NO_TIMEOUT is TIME_NEVER. */
int64_t deadline_after(int64_t now, int64_t timeout_nanos);

/* Connects over TLS 1.3. `deadline` is on CLOCK_MONOTONIC. */
cohort_code tls_transport_connect(const char *host, uint16_t port, const cohort_options *options, int64_t deadline,
                                  transport **result, bool *is_extended, cohort_error *error);

/* CLOCK_MONOTONIC. */
int64_t monotonic_now(void);

#endif
