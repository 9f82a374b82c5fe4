/* Many checks on one connection, without waiting for one answer before the next request. */
#include <stdlib.h>

#include "membership.h"

typedef struct batch batch;

/* A request that is on its way. */
typedef struct slot {
    call base;
    batch *batch;
    struct slot *next_free;
    size_t index;
    bool has_result;
    cohort_check_result result;
} slot;

struct batch {
    cohort_connection *connection;
    cohort_check_callback callback;
    void *context;
    slot *slots;
    slot *free_slots;
    size_t in_flight;
    /* A call was ended by the end of the connection. */
    bool is_lost;
    cohort_error reader_error;
};

static void tell(batch *self, size_t index, const cohort_check_result *result, const cohort_error *error) {
    self->connection->is_in_callback = true;
    self->callback(self->context, index, result, error);
    self->connection->is_in_callback = false;
}

static void slot_message(call *base, const uint8_t *data, size_t size) {
    slot *self = (slot *)base;
    self->has_result = membership_read_check(&self->result, data, size, &self->batch->reader_error) == COHORT_OK;
}

static void slot_ended(call *base, const cohort_error *error) {
    slot *self = (slot *)base;
    batch *batch = self->batch;
    /* The answer was well but for its payload: reader_error is of this very call, told just before. */
    if (error == NULL && !self->has_result) error = &batch->reader_error;
    if (batch->connection->is_closed) batch->is_lost = true;
    tell(batch, self->index, error == NULL ? &self->result : NULL, error);
    self->next_free = batch->free_slots;
    batch->free_slots = self;
    batch->in_flight -= 1;
}

static const call_handlers slot_handlers = {.message = slot_message, .ended = slot_ended};

/* Queues one request. What is wrong with the request alone is told at once and is COHORT_OK for the batch. */
static cohort_code send_one(batch *self, const envelope_request *envelope, const cohort_check_request *request,
                            size_t index, const cohort_call_options *options, int64_t deadline,
                            cohort_error *error) {
    size_t size;
    const uint8_t *payload = membership_pack_check(self->connection, request, &size, error);
    if (payload == NULL) {
        error->not_processed = true;
        if (error->code != COHORT_INVALID_ARGUMENT) return error->code;
        tell(self, index, NULL, error);
        return COHORT_OK;
    }
    slot *slot = self->free_slots;
    slot->base = (call){.handlers = &slot_handlers, .is_answered_once = true};
    if (options != NULL) {
        slot->base.on_metadata = options->on_metadata;
        slot->base.metadata_context = options->metadata_context;
    }
    slot->batch = self;
    slot->index = index;
    slot->has_result = false;
    cohort_code code =
        connection_start(self->connection, &slot->base, envelope, 0, payload, size, deadline, error);
    if (code == COHORT_RESOURCE_EXHAUSTED) {
        /* An id too large to send. */
        tell(self, index, NULL, error);
        return COHORT_OK;
    }
    if (code != COHORT_OK) return code;
    self->free_slots = slot->next_free;
    self->in_flight += 1;
    return COHORT_OK;
}

/* Gives up what has not been answered. */
static void abandon_all(batch *self, size_t slot_count, const cohort_error *error) {
    for (size_t i = 0; i < slot_count && self->in_flight > 0; i++) {
        slot *slot = &self->slots[i];
        if (slot->batch == NULL || connection_find(self->connection, slot->base.id) != &slot->base) continue;
        connection_abandon(self->connection, &slot->base);
        slot_ended(&slot->base, error);
    }
}

/* Sends what may be on its way at once. Stops at what ends the whole batch. */
static cohort_code send_some(batch *self, const envelope_request *envelope, const cohort_check_request *requests,
                             size_t count, const cohort_call_options *options, int64_t deadline, size_t *next,
                             cohort_error *error) {
    while (*next < count && self->free_slots != NULL && bytes_count(&self->connection->out) < MAX_PENDING) {
        cohort_code code = send_one(self, envelope, &requests[*next], *next, options, deadline, error);
        if (code != COHORT_OK) return code;
        *next += 1;
    }
    return COHORT_OK;
}

static cohort_code run(batch *self, const envelope_request *envelope, const cohort_check_request *requests,
                       size_t count, size_t slot_count, const cohort_call_options *options, int64_t deadline,
                       cohort_error *error) {
    cohort_connection *connection = self->connection;
    size_t next = 0;
    cohort_code code = COHORT_OK;
    cohort_error why;
    for (;;) {
        if (code == COHORT_OK) code = send_some(self, envelope, requests, count, options, deadline, &next, &why);
        /* Where no more can be sent, as when the server drains, what is on its way is still answered. */
        if (self->in_flight == 0 && (next == count || code != COHORT_OK)) break;
        io_status status = connection_advance(connection, deadline);
        if (status == IO_FAILED) {
            if (self->is_lost || next < count) code = fail_with(&why, &connection->failure);
            break;
        }
        bool late = status == IO_WOULD_BLOCK || connection_now(connection) >= deadline;
        if (late && (next < count || self->in_flight > 0)) {
            code = fail_timed_out(&why);
            break;
        }
    }
    if (code == COHORT_OK) return code;
    fail_with(error, &why);
    why.not_processed = false;
    abandon_all(self, slot_count, &why);
    why.not_processed = true;
    for (; next < count; next++) tell(self, next, NULL, &why);
    return code;
}

cohort_code cohort_check_batch(cohort_connection *connection, const cohort_check_request *requests, size_t count,
                               const cohort_call_options *options, cohort_check_callback callback, void *context,
                               cohort_error *error) {
    cohort_error local;
    if (error == NULL) error = &local;
    cohort_code code = connection_enter(connection, error);
    if (code != COHORT_OK) return code;
    if (callback == NULL || (requests == NULL && count > 0))
        return fail(error, COHORT_INVALID_ARGUMENT, COHORT_ERROR_INVALID_ARGUMENT, "%s: must not be NULL",
                    callback == NULL ? "callback" : "requests");
    batch self = {.connection = connection, .callback = callback, .context = context};
    envelope_request envelope = {0};
    int64_t deadline = TIME_NEVER;
    size_t slot_count = count < connection->max_in_flight ? count : connection->max_in_flight;
    code = call_prepare(connection, MEMBERSHIP_SERVICE, "CheckMembership", options, &envelope, &deadline, error);
    if (code == COHORT_OK) {
        self.slots = calloc(slot_count + 1, sizeof *self.slots);
        if (self.slots == NULL) code = fail_out_of_memory(error);
    }
    if (code == COHORT_OK) {
        for (size_t i = 0; i < slot_count; i++) {
            self.slots[i].next_free = self.free_slots;
            self.free_slots = &self.slots[i];
        }
        code = run(&self, &envelope, requests, count, slot_count, options, deadline, error);
    } else {
        cohort_error outcome = *error;
        outcome.not_processed = true;
        for (size_t i = 0; i < count; i++) tell(&self, i, NULL, &outcome);
    }
    envelope_request_free(&envelope);
    free(self.slots);
    return code == COHORT_OK ? succeed(error) : code;
}
