/* Unary calls, and PING. */
#include <stdlib.h>
#include <string.h>

#include "connection.h"

cohort_message *message_create(const uint8_t *data, size_t size) {
    cohort_message *message = malloc(sizeof *message + size);
    if (message == NULL) return NULL;
    message->next = NULL;
    message->size = size;
    if (size > 0) memcpy(message->data, data, size);
    return message;
}

const uint8_t *cohort_message_data(const cohort_message *message) { return message->data; }

size_t cohort_message_size(const cohort_message *message) { return message->size; }

void cohort_message_free(cohort_message *message) { free(message); }

typedef struct unary_call {
    call base;
    reply_reader reader;
    void *context;
    cohort_error *error;
    cohort_code code;
    bool has_ended;
} unary_call;

static void unary_message(call *base, const uint8_t *data, size_t size) {
    unary_call *self = (unary_call *)base;
    self->code = self->reader(self->context, data, size, self->error);
}

static void unary_ended(call *base, const cohort_error *error) {
    unary_call *self = (unary_call *)base;
    self->has_ended = true;
    if (error != NULL) self->code = fail_with(self->error, error);
}

static const call_handlers unary_handlers = {.message = unary_message, .ended = unary_ended};

cohort_code call_unary(cohort_connection *connection, const char *service, const char *method, const void *payload,
                       size_t size, const cohort_call_options *options, reply_reader reader, void *context,
                       cohort_error *error) {
    envelope_request request;
    int64_t deadline;
    cohort_code code = call_prepare(connection, service, method, options, &request, &deadline, error);
    if (code != COHORT_OK) return code;
    unary_call self = {
        .base = {.handlers = &unary_handlers, .is_answered_once = true},
        .reader = reader,
        .context = context,
        .error = error,
    };
    if (options != NULL) {
        self.base.on_metadata = options->on_metadata;
        self.base.metadata_context = options->metadata_context;
    }
    code = connection_start(connection, &self.base, &request, 0, payload, size, deadline, error);
    envelope_request_free(&request);
    if (code != COHORT_OK) return code;
    while (!self.has_ended) {
        bool late = connection_advance(connection, deadline) == IO_WOULD_BLOCK ||
                    (deadline != TIME_NEVER && connection_now(connection) >= deadline);
        if (late && !self.has_ended) {
            connection_abandon(connection, &self.base);
            return fail_timed_out(error);
        }
    }
    if (self.code == COHORT_OK) succeed(error);
    return self.code;
}

static cohort_code keep_reply(void *context, const uint8_t *payload, size_t size, cohort_error *error) {
    cohort_message **reply = context;
    *reply = message_create(payload, size);
    return *reply == NULL ? fail_out_of_memory(error) : COHORT_OK;
}

cohort_code cohort_call(cohort_connection *connection, const char *service, const char *method, const void *payload,
                        size_t size, const cohort_call_options *options, cohort_message **reply,
                        cohort_error *error) {
    if (reply != NULL) *reply = NULL;
    cohort_code code = connection_enter(connection, error);
    if (code != COHORT_OK) return code;
    if (reply == NULL || (payload == NULL && size > 0))
        return fail(error, COHORT_INVALID_ARGUMENT, COHORT_ERROR_INVALID_ARGUMENT, "%s: must not be NULL",
                    reply == NULL ? "reply" : "payload");
    return call_unary(connection, service, method, payload, size, options, keep_reply, reply, error);
}

cohort_code cohort_ping(cohort_connection *connection, int64_t timeout_nanos, cohort_error *error) {
    cohort_code code = connection_enter(connection, error);
    if (code != COHORT_OK) return code;
    if (timeout_nanos < 0 && timeout_nanos != COHORT_NO_TIMEOUT)
        return fail(error, COHORT_INVALID_ARGUMENT, COHORT_ERROR_INVALID_ARGUMENT,
                    "timeout_nanos: must be positive, 0 or COHORT_NO_TIMEOUT");
    if (!connection->is_extended)
        return fail(error, COHORT_FAILED_PRECONDITION, COHORT_ERROR_NOT_EXTENDED,
                    "the server does not speak ttrpc-x1, so it cannot be pinged");
    if (connection->is_closed) return fail_with(error, &connection->failure);
    connection->ping_number += 1;
    connection->is_awaiting_pong = true;
    if (!frame_append(&connection->out, CLIENT_CONNECTION_ID, FRAME_PING, 0, &connection->ping_number,
                      sizeof connection->ping_number))
        return fail_out_of_memory(error);
    int64_t timeout = timeout_nanos == 0 ? connection->call_timeout_nanos : timeout_nanos;
    int64_t deadline = deadline_after(connection_now(connection), timeout);
    while (connection->is_awaiting_pong) {
        io_status status = connection_advance(connection, deadline);
        if (status == IO_FAILED) return fail_with(error, &connection->failure);
        bool late = status == IO_WOULD_BLOCK || (deadline != TIME_NEVER && connection_now(connection) >= deadline);
        if (late && connection->is_awaiting_pong) {
            connection->is_awaiting_pong = false;
            return fail_timed_out(error);
        }
    }
    return succeed(error);
}
