/* What each frame of the server does. */
#include <stdio.h>
#include <string.h>

#include "connection.h"

/* An answer to a call that was given up is dropped; one to a call that was never made is not ttRPC. */
static void check_dead_id(cohort_connection *self, uint32_t id) {
    if ((id & 1) == 1 && id < self->next_id) return;
    char what[64];
    snprintf(what, sizeof what, "an answer on stream %lu, which was not opened", (unsigned long)id);
    connection_violated(self, what);
}

/* Ends a call for what its answer is like. */
static void refuse(cohort_connection *self, call *call, cohort_code code, const char *reason, const char *why) {
    cohort_error error;
    fail(&error, code, reason, "%s", why);
    connection_end_call(self, call, &error);
}

static void report_metadata(cohort_connection *self, const call *call, const Ttrpc__V1__Response *response) {
    if (!self->is_extended || call->on_metadata == NULL) return;
    self->is_in_callback = true;
    for (size_t i = 0; i < response->n_metadata; i++)
        call->on_metadata(call->metadata_context, response->metadata[i]->key, response->metadata[i]->value);
    self->is_in_callback = false;
}

static void response(cohort_connection *self, const frame *frame) {
    call *call = connection_find(self, frame->stream_id);
    if (call == NULL) return check_dead_id(self, frame->stream_id);
    Ttrpc__V1__Response *response = envelope_decode_response(frame->body, frame->length);
    if (response == NULL)
        return refuse(self, call, COHORT_INTERNAL, COHORT_ERROR_MALFORMED_RESPONSE,
                      "the response is not a valid ttrpc Response");
    report_metadata(self, call, response);
    cohort_error error;
    if (response->status != NULL && envelope_status(response->status, &error) != COHORT_OK) {
        connection_end_call(self, call, &error);
    } else {
        /* The empty payload of a stream's last Response is no message. */
        if (call->is_answered_once || response->payload.len > 0)
            call->handlers->message(call, response->payload.data, response->payload.len);
        connection_end_call(self, call, NULL);
    }
    ttrpc__v1__response__free_unpacked(response, NULL);
}

static void cancel(cohort_connection *self, uint32_t id) {
    if (self->is_extended) (void)frame_append(&self->out, id, FRAME_CANCEL, 0, NULL, 0);
}

static void data(cohort_connection *self, const frame *frame) {
    call *call = connection_find(self, frame->stream_id);
    if (call == NULL) return check_dead_id(self, frame->stream_id);
    if (call->is_answered_once) {
        cancel(self, call->id);
        return refuse(self, call, COHORT_INTERNAL, COHORT_ERROR_PROTOCOL_ERROR,
                      "the server streams the answer of a call that has one response");
    }
    if ((frame->flags & FRAME_NO_DATA) == 0) {
        call->handlers->message(call, frame->body, frame->length);
        /* It may have had enough. */
        if (connection_find(self, frame->stream_id) != call) return;
    }
    if ((frame->flags & FRAME_REMOTE_CLOSED) != 0) connection_end_call(self, call, NULL);
}

static void oversize(cohort_connection *self, const frame *frame) {
    if (frame->type != FRAME_RESPONSE && frame->type != FRAME_DATA) return;
    call *call = connection_find(self, frame->stream_id);
    if (call == NULL) return check_dead_id(self, frame->stream_id);
    if (frame->type == FRAME_DATA) cancel(self, call->id);
    cohort_error error;
    fail(&error, COHORT_RESOURCE_EXHAUSTED, COHORT_ERROR_MESSAGE_TOO_LARGE,
         "an answer of %lu bytes is larger than the limit of %zu", (unsigned long)frame->length,
         self->max_message_bytes);
    connection_end_call(self, call, &error);
}

static void ping(cohort_connection *self, const frame *frame) {
    if (frame->length > MAX_PING_BYTES) return connection_violated(self, "a PING is too long");
    /* A server that asks and does not read what it is told gets no more. */
    if (bytes_count(&self->out) > MAX_PENDING) return;
    (void)frame_append(&self->out, CLIENT_CONNECTION_ID, FRAME_PONG, 0, frame->body, frame->length);
}

static void pong(cohort_connection *self, const frame *frame) {
    if (frame->length == sizeof self->ping_number &&
        memcmp(frame->body, &self->ping_number, sizeof self->ping_number) == 0)
        self->is_awaiting_pong = false;
}

static void go_away(cohort_connection *self, const frame *frame) {
    if (frame->length < 8) return connection_violated(self, "a GOAWAY is too short");
    self->is_going_away = true;
    uint32_t last = read_u32(frame->body);
    cohort_error error;
    fail(&error, COHORT_UNAVAILABLE, COHORT_ERROR_GOING_AWAY,
         "the server is shutting down and did not begin the call; connect to another");
    error.not_processed = true;
    for (size_t i = 0; i < self->bucket_count; i++) {
        for (call *call = self->buckets[i], *next; call != NULL; call = next) {
            next = call->next;
            if (call->id > last) connection_end_call(self, call, &error);
        }
    }
}

static void window(cohort_connection *self, const frame *frame) {
    if (frame->length != 8) return connection_violated(self, "a WINDOW is not 8 bytes long");
    call *call = connection_find(self, read_u32(frame->body));
    if (call == NULL) return;
    call->send_window += read_u32(frame->body + 4);
    if (call->send_window > INT32_MAX) connection_violated(self, "a window is larger than 2^31-1");
}

static void extension(cohort_connection *self, const frame *frame) {
    switch (frame->type) {
        case FRAME_PING:
            return ping(self, frame);
        case FRAME_PONG:
            return pong(self, frame);
        case FRAME_GOAWAY:
            return go_away(self, frame);
        case FRAME_WINDOW:
            return window(self, frame);
        default:
            return;
    }
}

static void handle(cohort_connection *self, const frame *frame) {
    switch (frame->type) {
        case FRAME_RESPONSE:
            return response(self, frame);
        case FRAME_DATA:
            return data(self, frame);
        default:
            /* Types that are not known are ignored, all of them where no extension was agreed on. */
            if (self->is_extended) extension(self, frame);
    }
}

void connection_handle_frames(cohort_connection *self) {
    while (!self->is_closed) {
        frame frame;
        switch (frame_decoder_next(&self->decoder, &frame)) {
            case DECODER_NEEDS_MORE:
                return;
            case DECODER_FRAME:
                handle(self, &frame);
                break;
            case DECODER_OVERSIZE:
                oversize(self, &frame);
                break;
            case DECODER_GARBAGE:
                return connection_violated(self, "what it sends is not ttRPC");
        }
    }
}
