/* Calls with streams. */
#include <stdlib.h>
#include <string.h>

#include "connection.h"

struct cohort_stream {
    call base;
    /* NULL once the connection was closed. */
    cohort_connection *connection;
    /* The other streams of the connection, those that ended among them. */
    cohort_stream *previous_stream;
    cohort_stream *next_stream;
    int64_t deadline;
    bool is_send_closed;
    /* The server has ended the call, or it was given up; `end` tells how, COHORT_OK for well. */
    bool has_ended;
    cohort_error end;
    cohort_message *first;
    cohort_message **last;
    size_t queued_bytes;
    /* Bytes taken for which the server was not yet granted new ones. */
    uint32_t ungranted;
};

/* ------------------------------------------------------------------ what the connection tells */

static void end_with(cohort_stream *self, const cohort_error *error) {
    self->has_ended = true;
    if (error != NULL) self->end = *error;
}

/* Gives the call up for what came. */
static void give_up(cohort_stream *self, const cohort_error *error) {
    connection_abandon(self->connection, &self->base);
    end_with(self, error);
}

/* What a message takes of the connection's buffer. */
static size_t cost(const cohort_message *message) { return sizeof *message + message->size; }

static cohort_message *take_first(cohort_stream *self) {
    cohort_message *message = self->first;
    self->first = message->next;
    if (self->first == NULL) self->last = &self->first;
    message->next = NULL;
    self->queued_bytes -= message->size;
    if (self->connection != NULL) self->connection->buffered_bytes -= cost(message);
    return message;
}

static void drop_messages(cohort_stream *self) {
    while (self->first != NULL) free(take_first(self));
}

static void stream_message(call *base, const uint8_t *data, size_t size) {
    cohort_stream *self = (cohort_stream *)base;
    cohort_connection *connection = self->connection;
    cohort_error error;
    /* Like servers, let the window be exceeded by one message. */
    if (connection->is_extended && self->queued_bytes + self->ungranted >= INITIAL_WINDOW + (size_t)FRAME_MAX_BODY) {
        fail(&error, COHORT_INTERNAL, COHORT_ERROR_PROTOCOL_ERROR, "the server sent more than the window allows");
        return give_up(self, &error);
    }
    if (self->first != NULL && connection->buffered_bytes + size > connection->max_buffered_bytes) {
        fail(&error, COHORT_RESOURCE_EXHAUSTED, COHORT_ERROR_RECEIVE_BUFFER_FULL,
             "messages that were not received from their streams hold more than %zu bytes",
             connection->max_buffered_bytes);
        return give_up(self, &error);
    }
    cohort_message *message = message_create(data, size);
    if (message == NULL) {
        fail_out_of_memory(&error);
        return give_up(self, &error);
    }
    *self->last = message;
    self->last = &message->next;
    self->queued_bytes += size;
    connection->buffered_bytes += cost(message);
}

static void stream_ended(call *base, const cohort_error *error) {
    cohort_stream *self = (cohort_stream *)base;
    end_with(self, error);
}

static const call_handlers stream_handlers = {.message = stream_message, .ended = stream_ended};

/* ------------------------------------------------------------------ opening and ending */

cohort_code cohort_stream_open(cohort_connection *connection, cohort_stream_kind kind, const char *service,
                               const char *method, const void *payload, size_t size,
                               const cohort_call_options *options, cohort_stream **stream, cohort_error *error) {
    if (stream != NULL) *stream = NULL;
    cohort_code code = connection_enter(connection, error);
    if (code != COHORT_OK) return code;
    const char *wrong = NULL;
    if (stream == NULL) wrong = "stream: must not be NULL";
    if (kind < COHORT_SERVER_STREAM || kind > COHORT_BIDIRECTIONAL) wrong = "kind: must be a cohort_stream_kind";
    if (payload == NULL && size > 0) wrong = "payload: must not be NULL";
    if (kind != COHORT_SERVER_STREAM && payload != NULL)
        wrong = "payload: must be NULL, since this kind of call sends its messages on the stream";
    if (wrong != NULL) return fail(error, COHORT_INVALID_ARGUMENT, COHORT_ERROR_INVALID_ARGUMENT, "%s", wrong);

    envelope_request request;
    int64_t deadline;
    code = call_prepare(connection, service, method, options, &request, &deadline, error);
    if (code != COHORT_OK) return code;
    cohort_stream *self = calloc(1, sizeof *self);
    if (self == NULL) {
        code = fail_out_of_memory(error);
    } else {
        self->base.handlers = &stream_handlers;
        self->base.is_answered_once = kind == COHORT_CLIENT_STREAM;
        if (options != NULL) {
            self->base.on_metadata = options->on_metadata;
            self->base.metadata_context = options->metadata_context;
        }
        self->connection = connection;
        self->deadline = deadline;
        self->last = &self->first;
        self->is_send_closed = kind == COHORT_SERVER_STREAM;
        uint8_t flags = kind == COHORT_SERVER_STREAM ? FRAME_REMOTE_CLOSED : FRAME_REMOTE_OPEN | FRAME_NO_DATA;
        code = connection_start(connection, &self->base, &request, flags, payload, size, deadline, error);
    }
    envelope_request_free(&request);
    if (code != COHORT_OK) {
        free(self);
        return code;
    }
    self->next_stream = connection->streams;
    if (self->next_stream != NULL) self->next_stream->previous_stream = self;
    connection->streams = self;
    (void)connection_flush(connection);
    *stream = self;
    return succeed(error);
}

static void detach(cohort_stream *self) {
    cohort_connection *connection = self->connection;
    if (connection == NULL) return;
    if (self->next_stream != NULL) self->next_stream->previous_stream = self->previous_stream;
    if (self->previous_stream != NULL) {
        self->previous_stream->next_stream = self->next_stream;
    } else {
        connection->streams = self->next_stream;
    }
    self->previous_stream = self->next_stream = NULL;
    self->connection = NULL;
}

void connection_detach_streams(cohort_connection *connection) {
    while (connection->streams != NULL) detach(connection->streams);
}

void cohort_stream_free(cohort_stream *self) {
    if (self == NULL || (self->connection != NULL && self->connection->is_in_callback)) return;
    if (!self->has_ended && self->connection != NULL) connection_abandon(self->connection, &self->base);
    drop_messages(self);
    detach(self);
    free(self);
}

static cohort_code stream_enter(cohort_stream *self, cohort_error *error) {
    if (self == NULL)
        return fail(error, COHORT_INVALID_ARGUMENT, COHORT_ERROR_INVALID_ARGUMENT, "stream: must not be NULL");
    /* A closed connection has ended its streams, which can be asked how. */
    return self->connection == NULL ? COHORT_OK : connection_enter(self->connection, error);
}

/* Whether the deadline passed before the call ended; then it is over. */
static bool expire(cohort_stream *self) {
    if (self->has_ended || self->deadline == TIME_NEVER || connection_now(self->connection) < self->deadline)
        return false;
    cohort_error error;
    fail_timed_out(&error);
    give_up(self, &error);
    drop_messages(self);
    return true;
}

/* Waits for something to happen. False when the call has ended. */
static bool advance(cohort_stream *self) {
    if (self->has_ended) return false;
    (void)connection_advance(self->connection, self->deadline);
    return !expire(self) && !self->has_ended;
}

/* ------------------------------------------------------------------ sending */

static cohort_code tell_ended(const cohort_stream *self, cohort_error *error) {
    if (self->end.code != COHORT_OK) return fail_with(error, &self->end);
    return fail(error, COHORT_FAILED_PRECONDITION, COHORT_ERROR_STREAM_ENDED,
                "the server has ended the call; receive what it sent");
}

/* Sends a Data frame and waits until it is written. */
static cohort_code send_data(cohort_stream *self, const void *data, size_t size, uint8_t flags, cohort_error *error) {
    cohort_connection *connection = self->connection;
    expire(self);
    /* The server may have ended the call meanwhile. */
    if (!self->has_ended) connection_poll(connection);
    while (!self->has_ended && ((connection->is_extended && size > 0 && self->base.send_window <= 0) ||
                                bytes_count(&connection->out) > MAX_PENDING)) {
        advance(self);
    }
    if (self->has_ended) return tell_ended(self, error);
    if (!frame_append(&connection->out, self->base.id, FRAME_DATA, flags, data, size)) return fail_out_of_memory(error);
    self->base.send_window -= (int64_t)size;
    if ((flags & FRAME_REMOTE_CLOSED) != 0) self->is_send_closed = true;
    (void)connection_flush(connection);
    while (!self->has_ended && bytes_count(&connection->out) > 0) advance(self);
    if (self->has_ended && self->end.code != COHORT_OK) return fail_with(error, &self->end);
    return succeed(error);
}

cohort_code cohort_stream_send(cohort_stream *self, const void *message, size_t size, cohort_error *error) {
    cohort_code code = stream_enter(self, error);
    if (code != COHORT_OK) return code;
    if (message == NULL && size > 0)
        return fail(error, COHORT_INVALID_ARGUMENT, COHORT_ERROR_INVALID_ARGUMENT, "message: must not be NULL");
    if (self->has_ended) return tell_ended(self, error);
    if (self->is_send_closed)
        return fail(error, COHORT_FAILED_PRECONDITION, COHORT_ERROR_STREAM_ENDED,
                    "no more messages can be sent on this stream");
    if (size > self->connection->max_message_bytes)
        return fail(error, COHORT_RESOURCE_EXHAUSTED, COHORT_ERROR_MESSAGE_TOO_LARGE,
                    "a message of %zu bytes is larger than the limit of %zu", size,
                    self->connection->max_message_bytes);
    return send_data(self, message, size, 0, error);
}

cohort_code cohort_stream_close_send(cohort_stream *self, cohort_error *error) {
    cohort_code code = stream_enter(self, error);
    if (code != COHORT_OK) return code;
    if (self->is_send_closed) return succeed(error);
    if (self->has_ended) return self->end.code == COHORT_OK ? succeed(error) : fail_with(error, &self->end);
    return send_data(self, NULL, 0, FRAME_REMOTE_CLOSED | FRAME_NO_DATA, error);
}

/* ------------------------------------------------------------------ receiving */

/* The window opens again by what was taken, in few large steps. */
static void grant(cohort_stream *self, size_t size) {
    cohort_connection *connection = self->connection;
    if (self->has_ended || !connection->is_extended) return;
    self->ungranted += (uint32_t)size;
    if (self->ungranted < INITIAL_WINDOW / 2) return;
    uint8_t body[8];
    write_u32(body, self->base.id);
    write_u32(body + 4, self->ungranted);
    if (!frame_append(&connection->out, self->base.id, FRAME_WINDOW, 0, body, sizeof body)) return;
    self->ungranted = 0;
    (void)connection_flush(connection);
}

cohort_code cohort_stream_receive(cohort_stream *self, cohort_message **message, cohort_error *error) {
    if (message != NULL) *message = NULL;
    cohort_code code = stream_enter(self, error);
    if (code != COHORT_OK) return code;
    if (message == NULL)
        return fail(error, COHORT_INVALID_ARGUMENT, COHORT_ERROR_INVALID_ARGUMENT, "message: must not be NULL");
    expire(self);
    while (self->first == NULL && advance(self)) continue;
    if (self->first != NULL) {
        *message = take_first(self);
        grant(self, (*message)->size);
        return succeed(error);
    }
    return self->end.code == COHORT_OK ? succeed(error) : fail_with(error, &self->end);
}
