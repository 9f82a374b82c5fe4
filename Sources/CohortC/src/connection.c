#include "connection.h"

#include <stdlib.h>
#include <string.h>

enum {
    READ_SIZE = 32 << 10,
    MIN_BUCKETS = 64,
    /* What is on its way for calls that were given up may be much, and the next call has a deadline. */
    MAX_IDLE_READS = 64,
};

/* ------------------------------------------------------------------ life */

cohort_code connection_create(transport *transport, bool is_extended, const cohort_options *options,
                              cohort_connection **result, cohort_error *error) {
    cohort_connection *self = calloc(1, sizeof *self);
    if (self == NULL) {
        transport->operations->close(transport);
        return fail_out_of_memory(error);
    }
    self->transport = transport;
    self->is_extended = is_extended;
    self->next_id = 1;
    self->calls_left = MAX_CALLS;
    self->max_message_bytes = options->max_message_bytes;
    self->max_buffered_bytes = options->max_buffered_bytes;
    self->max_in_flight = options->max_in_flight;
    self->call_timeout_nanos = options->call_timeout_nanos;
    frame_decoder_init(&self->decoder, options->max_message_bytes);
    self->bucket_count = MIN_BUCKETS;
    self->buckets = calloc(self->bucket_count, sizeof *self->buckets);
    /* Room for one more, since calloc of nothing may be NULL. */
    self->metadata = calloc(options->metadata_count + 1, sizeof *self->metadata);
    bool has_memory = self->buckets != NULL && self->metadata != NULL;
    for (size_t i = 0; has_memory && i < options->metadata_count; i++) {
        char *key = strdup(options->metadata[i].key);
        char *value = strdup(options->metadata[i].value);
        self->metadata[i] = (cohort_metadata){.key = key, .value = value};
        self->metadata_count += 1;
        has_memory = key != NULL && value != NULL;
    }
    if (!has_memory) {
        cohort_close(self);
        return fail_out_of_memory(error);
    }
    *result = self;
    return succeed(error);
}

void cohort_close(cohort_connection *self) {
    if (self == NULL || self->is_in_callback) return;
    cohort_error error;
    fail(&error, COHORT_CANCELLED, COHORT_ERROR_CONNECTION_LOST, "the connection was closed here");
    if (self->is_closed || self->buckets == NULL) {
        self->is_closed = true;
    } else {
        connection_fail(self, &error);
    }
    connection_detach_streams(self);
    self->transport->operations->close(self->transport);
    for (size_t i = 0; i < self->metadata_count; i++) {
        free((void *)(uintptr_t)self->metadata[i].key);
        free((void *)(uintptr_t)self->metadata[i].value);
    }
    free(self->metadata);
    free(self->buckets);
    frame_decoder_free(&self->decoder);
    bytes_free(&self->out);
    bytes_free(&self->scratch);
    free(self);
}

bool cohort_connection_is_extended(const cohort_connection *self) { return self->is_extended; }

bool cohort_connection_is_usable(cohort_connection *self) {
    if (self->is_in_callback) return !self->is_closed && !self->is_going_away && self->calls_left > 0;
    return connection_check_usable(self, NULL) == COHORT_OK;
}

void connection_fail(cohort_connection *self, const cohort_error *error) {
    if (self->is_closed) return;
    self->is_closed = true;
    self->failure = *error;
    for (size_t i = 0; i < self->bucket_count; i++) {
        while (self->buckets[i] != NULL) connection_end_call(self, self->buckets[i], error);
    }
}

void connection_violated(cohort_connection *self, const char *what) {
    cohort_error error;
    fail(&error, COHORT_UNAVAILABLE, COHORT_ERROR_PROTOCOL_ERROR, "the server broke the protocol: %s", what);
    connection_fail(self, &error);
}

cohort_code connection_enter(cohort_connection *self, cohort_error *error) {
    if (self == NULL)
        return fail(error, COHORT_INVALID_ARGUMENT, COHORT_ERROR_INVALID_ARGUMENT, "connection: must not be NULL");
    if (self->is_in_callback)
        return fail(error, COHORT_FAILED_PRECONDITION, COHORT_ERROR_REENTRANT_CALL,
                    "the connection cannot be used from inside its own callback");
    return COHORT_OK;
}

cohort_code fail_timed_out(cohort_error *error) {
    return fail(error, COHORT_DEADLINE_EXCEEDED, COHORT_ERROR_TIMED_OUT, "the call was not answered in time");
}

/* ------------------------------------------------------------------ the calls that run */

/* Ids are odd. */
static call **bucket_of(const cohort_connection *self, uint32_t id) {
    return &self->buckets[(id >> 1) & (self->bucket_count - 1)];
}

call *connection_find(cohort_connection *self, uint32_t id) {
    call *call = *bucket_of(self, id);
    while (call != NULL && call->id != id) call = call->next;
    return call;
}

static void insert(cohort_connection *self, call *added) {
    if (self->call_count >= self->bucket_count) {
        /* Without memory for it the table just gets slower. */
        call **larger = calloc(self->bucket_count * 2, sizeof *larger);
        if (larger != NULL) {
            call **smaller = self->buckets;
            size_t count = self->bucket_count;
            self->buckets = larger;
            self->bucket_count = count * 2;
            for (size_t i = 0; i < count; i++) {
                for (call *moved = smaller[i]; moved != NULL;) {
                    call *next = moved->next;
                    call **bucket = bucket_of(self, moved->id);
                    moved->next = *bucket;
                    *bucket = moved;
                    moved = next;
                }
            }
            free(smaller);
        }
    }
    call **bucket = bucket_of(self, added->id);
    added->next = *bucket;
    *bucket = added;
    self->call_count += 1;
}

void connection_remove(cohort_connection *self, call *removed) {
    call **link = bucket_of(self, removed->id);
    while (*link != NULL && *link != removed) link = &(*link)->next;
    if (*link == NULL) return;
    *link = removed->next;
    self->call_count -= 1;
}

void connection_end_call(cohort_connection *self, call *call, const cohort_error *error) {
    connection_remove(self, call);
    call->handlers->ended(call, error);
}

void connection_abandon(cohort_connection *self, call *call) {
    connection_remove(self, call);
    if (self->is_closed || !self->is_extended) return;
    /* If memory is out the server is not told, which it can live with. */
    (void)frame_append(&self->out, call->id, FRAME_CANCEL, 0, NULL, 0);
    (void)connection_flush(self);
}

static cohort_code check_open(const cohort_connection *self, cohort_error *error) {
    if (self->is_closed) {
        fail_with(error, &self->failure);
    } else if (self->is_going_away) {
        fail(error, COHORT_UNAVAILABLE, COHORT_ERROR_GOING_AWAY, "the server is shutting down; connect to another");
    } else if (self->calls_left == 0) {
        fail(error, COHORT_UNAVAILABLE, COHORT_ERROR_STREAM_IDS_USED_UP,
             "the connection has made as many calls as it can; connect anew");
    } else {
        return COHORT_OK;
    }
    if (error != NULL) error->not_processed = true;
    return self->is_closed ? self->failure.code : COHORT_UNAVAILABLE;
}

static io_status read_once(cohort_connection *self);

cohort_code connection_check_usable(cohort_connection *self, cohort_error *error) {
    /* While calls run, their answers tell; an idle connection may have been ended by the server. */
    if (!self->is_closed && self->call_count == 0) {
        for (int i = 0; i < MAX_IDLE_READS && read_once(self) == IO_OK; i++) continue;
        (void)connection_flush(self);
    }
    return check_open(self, error);
}

cohort_code connection_start(cohort_connection *self, call *call, const envelope_request *request, uint8_t flags,
                             const void *payload, size_t size, int64_t deadline, cohort_error *error) {
    cohort_code code = check_open(self, error);
    if (code != COHORT_OK) return code;
    int64_t timeout = 0;
    if (deadline != TIME_NEVER) {
        timeout = deadline - connection_now(self);
        if (timeout <= 0) {
            fail_timed_out(error);
            if (error != NULL) error->not_processed = true;
            return COHORT_DEADLINE_EXCEEDED;
        }
    }
    size_t length = envelope_request_size(request, payload, size, timeout);
    if (length > self->max_message_bytes) {
        fail(error, COHORT_RESOURCE_EXHAUSTED, COHORT_ERROR_MESSAGE_TOO_LARGE,
             "a request of %zu bytes is larger than the limit of %zu", length, self->max_message_bytes);
        if (error != NULL) error->not_processed = true;
        return COHORT_RESOURCE_EXHAUSTED;
    }
    call->id = self->next_id;
    call->send_window = INITIAL_WINDOW;
    if (!envelope_append_request(&self->out, request, call->id, flags, payload, size, timeout))
        return fail_out_of_memory(error);
    self->next_id += 2;
    self->calls_left -= 1;
    insert(self, call);
    return COHORT_OK;
}

/* ------------------------------------------------------------------ reading and writing */

static void lost(cohort_connection *self, io_status status) {
    cohort_error error;
    const char *why = status == IO_CLOSED ? "the server closed it" : self->transport->operations->problem(self->transport);
    fail(&error, COHORT_UNAVAILABLE, COHORT_ERROR_CONNECTION_LOST, "the connection is lost: %s", why);
    connection_fail(self, &error);
}

/* IO_OK if something was read and handled. */
static io_status read_once(cohort_connection *self) {
    size_t room = 0;
    uint8_t *target = frame_decoder_reserve(&self->decoder, READ_SIZE, &room);
    if (target == NULL) {
        cohort_error error;
        fail_out_of_memory(&error);
        connection_fail(self, &error);
        return IO_FAILED;
    }
    size_t count = 0;
    io_status status = self->transport->operations->read(self->transport, target, room, &count);
    switch (status) {
        case IO_OK:
            frame_decoder_commit(&self->decoder, count);
            connection_handle_frames(self);
            return self->is_closed ? IO_FAILED : IO_OK;
        case IO_WOULD_BLOCK:
            if (!self->is_write_broken) return IO_WOULD_BLOCK;
            lost(self, IO_CLOSED);
            return IO_FAILED;
        default:
            lost(self, status);
            return IO_FAILED;
    }
}

bool connection_flush(cohort_connection *self) {
    bool has_written = false;
    while (!self->is_closed && !self->is_write_broken && bytes_count(&self->out) > 0) {
        size_t count = 0;
        io_status status = self->transport->operations->write(self->transport, bytes_first(&self->out),
                                                              bytes_count(&self->out), &count);
        if (status == IO_OK) {
            bytes_consume(&self->out, count);
            has_written = true;
            continue;
        }
        /* What the server said before it went away is still to be read. */
        if (status != IO_WOULD_BLOCK) self->is_write_broken = true;
        break;
    }
    return has_written;
}

void connection_poll(cohort_connection *self) {
    if (!self->is_closed) (void)read_once(self);
}

io_status connection_advance(cohort_connection *self, int64_t deadline) {
    if (self->is_closed) return IO_FAILED;
    /* That all is written may be what the caller waits for. */
    if (connection_flush(self)) return IO_OK;
    io_status status = read_once(self);
    if (status != IO_WOULD_BLOCK) return status;
    status = self->transport->operations->wait(self->transport, bytes_count(&self->out) > 0, deadline);
    if (status == IO_OK || status == IO_WOULD_BLOCK) return status;
    lost(self, status);
    return IO_FAILED;
}
