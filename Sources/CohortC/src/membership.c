#include "membership.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ names */

const char *cohort_membership_name(cohort_membership membership) {
    switch (membership) {
        case COHORT_MEMBERSHIP_IN:
            return "IN";
        case COHORT_MEMBERSHIP_OUT:
            return "OUT";
        case COHORT_MEMBERSHIP_UNKNOWN:
            return "UNKNOWN";
        case COHORT_MEMBERSHIP_UNSPECIFIED:
            break;
    }
    return "UNSPECIFIED";
}

const char *cohort_reason_name(cohort_reason reason) {
    static const char *const names[] = {
        "UNSPECIFIED",      "RULE_MATCH", "RULE_NO_MATCH", "RULE_ERROR",         "OVERRIDE_INCLUDE",
        "OVERRIDE_EXCLUDE", "LISTED",     "NOT_LISTED",    "CUSTOMER_NOT_FOUND", "BUILDING",
    };
    size_t index = (size_t)reason;
    return index < sizeof names / sizeof *names ? names[index] : names[0];
}

/* ------------------------------------------------------------------ packing and reading */

const uint8_t *membership_pack(cohort_connection *connection, const ProtobufCMessage *message, size_t *size) {
    bytes_consume(&connection->scratch, bytes_count(&connection->scratch));
    *size = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = bytes_reserve(&connection->scratch, *size);
    if (packed != NULL) protobuf_c_message_pack(message, packed);
    return packed;
}

static cohort_code missing(cohort_error *error, const char *field) {
    return fail(error, COHORT_INVALID_ARGUMENT, COHORT_ERROR_INVALID_ARGUMENT, "%s: must not be NULL", field);
}

static cohort_code malformed(cohort_error *error, const char *type) {
    return fail(error, COHORT_INTERNAL, COHORT_ERROR_MALFORMED_RESPONSE, "the response is not a valid cohort.v1.%s",
                type);
}

/* protobuf-c's messages are not const; packing does not write to them. */
static char *text(const char *string) { return (char *)(uintptr_t)string; }

const uint8_t *membership_pack_check(cohort_connection *connection, const cohort_check_request *request, size_t *size,
                                     cohort_error *error) {
    if (request->customer_id == NULL || request->cohort_id == NULL) {
        missing(error, request->customer_id == NULL ? "customer_id" : "cohort_id");
        return NULL;
    }
    Cohort__V1__CheckMembershipRequest message = COHORT__V1__CHECK_MEMBERSHIP_REQUEST__INIT;
    message.customer_id = text(request->customer_id);
    message.cohort_id = text(request->cohort_id);
    message.min_sequence = request->min_sequence;
    message.include_since = request->include_since;
    const uint8_t *packed = membership_pack(connection, &message.base, size);
    if (packed == NULL) fail_out_of_memory(error);
    return packed;
}

cohort_code membership_read_check(void *context, const uint8_t *payload, size_t size, cohort_error *error) {
    Cohort__V1__CheckMembershipResponse *message =
        cohort__v1__check_membership_response__unpack(NULL, size, payload);
    if (message == NULL) return malformed(error, "CheckMembershipResponse");
    cohort_check_result *result = context;
    result->membership = (cohort_membership)message->membership;
    result->reason = (cohort_reason)message->reason;
    result->has_member = message->_member_case == COHORT__V1__CHECK_MEMBERSHIP_RESPONSE___MEMBER_MEMBER;
    result->member = result->has_member && message->member;
    result->has_since = message->since != NULL;
    result->since_seconds = message->since == NULL ? 0 : message->since->seconds;
    result->since_nanos = message->since == NULL ? 0 : message->since->nanos;
    result->cohort_version = message->cohort_version;
    result->sequence = message->sequence;
    copy_text(result->detail, sizeof result->detail, message->detail);
    cohort__v1__check_membership_response__free_unpacked(message, NULL);
    return COHORT_OK;
}

/* ------------------------------------------------------------------ calls */

cohort_code cohort_check(cohort_connection *connection, const cohort_check_request *request,
                         const cohort_call_options *options, cohort_check_result *result, cohort_error *error) {
    if (result != NULL) *result = (cohort_check_result){0};
    cohort_code code = connection_enter(connection, error);
    if (code != COHORT_OK) return code;
    if (request == NULL || result == NULL) return missing(error, request == NULL ? "request" : "result");
    size_t size;
    cohort_error local;
    const uint8_t *payload = membership_pack_check(connection, request, &size, &local);
    if (payload == NULL) return fail_with(error, &local);
    return call_unary(connection, MEMBERSHIP_SERVICE, "CheckMembership", payload, size, options,
                      membership_read_check, result, error);
}

/* The list, its entries and their ids, all in one block. */
static cohort_customer_cohorts *make_cohorts(const Cohort__V1__ListCustomerCohortsResponse *message) {
    size_t text_size = 0;
    for (size_t i = 0; i < message->n_cohorts; i++) text_size += strlen(message->cohorts[i]->cohort_id) + 1;
    cohort_customer_cohorts *list =
        malloc(sizeof *list + message->n_cohorts * sizeof(cohort_customer_cohort) + text_size);
    if (list == NULL) return NULL;
    cohort_customer_cohort *entries = (cohort_customer_cohort *)(void *)(list + 1);
    char *texts = (char *)(entries + message->n_cohorts);
    for (size_t i = 0; i < message->n_cohorts; i++) {
        const Cohort__V1__ListCustomerCohortsResponse__CustomerCohort *from = message->cohorts[i];
        size_t length = strlen(from->cohort_id) + 1;
        memcpy(texts, from->cohort_id, length);
        entries[i] = (cohort_customer_cohort){
            .cohort_id = texts,
            .membership = (cohort_membership)from->membership,
            .cohort_version = from->cohort_version,
        };
        texts += length;
    }
    *list = (cohort_customer_cohorts){
        .cohorts = entries,
        .count = message->n_cohorts,
        .sequence = message->sequence,
        .customer_found = message->customer_found,
    };
    return list;
}

static cohort_code read_cohorts(void *context, const uint8_t *payload, size_t size, cohort_error *error) {
    Cohort__V1__ListCustomerCohortsResponse *message =
        cohort__v1__list_customer_cohorts_response__unpack(NULL, size, payload);
    if (message == NULL) return malformed(error, "ListCustomerCohortsResponse");
    cohort_customer_cohorts **cohorts = context;
    *cohorts = make_cohorts(message);
    cohort__v1__list_customer_cohorts_response__free_unpacked(message, NULL);
    return *cohorts == NULL ? fail_out_of_memory(error) : COHORT_OK;
}

cohort_code cohort_list_customer_cohorts(cohort_connection *connection, const char *customer_id,
                                         uint64_t min_sequence, const cohort_call_options *options,
                                         cohort_customer_cohorts **cohorts, cohort_error *error) {
    if (cohorts != NULL) *cohorts = NULL;
    cohort_code code = connection_enter(connection, error);
    if (code != COHORT_OK) return code;
    if (customer_id == NULL || cohorts == NULL) return missing(error, customer_id == NULL ? "customer_id" : "cohorts");
    Cohort__V1__ListCustomerCohortsRequest message = COHORT__V1__LIST_CUSTOMER_COHORTS_REQUEST__INIT;
    message.customer_id = text(customer_id);
    message.min_sequence = min_sequence;
    size_t size;
    const uint8_t *payload = membership_pack(connection, &message.base, &size);
    if (payload == NULL) return fail_out_of_memory(error);
    return call_unary(connection, MEMBERSHIP_SERVICE, "ListCustomerCohorts", payload, size, options, read_cohorts,
                      cohorts, error);
}

void cohort_customer_cohorts_free(cohort_customer_cohorts *cohorts) { free(cohorts); }

static cohort_code read_count(void *context, const uint8_t *payload, size_t size, cohort_error *error) {
    Cohort__V1__CountMembersResponse *message = cohort__v1__count_members_response__unpack(NULL, size, payload);
    if (message == NULL) return malformed(error, "CountMembersResponse");
    cohort_member_count *count = context;
    *count = (cohort_member_count){
        .members = message->members,
        .unknown = message->unknown,
        .sequence = message->sequence,
        .cohort_version = message->cohort_version,
    };
    cohort__v1__count_members_response__free_unpacked(message, NULL);
    return COHORT_OK;
}

cohort_code cohort_count_members(cohort_connection *connection, const char *cohort_id, uint64_t min_sequence,
                                 const cohort_call_options *options, cohort_member_count *count,
                                 cohort_error *error) {
    if (count != NULL) *count = (cohort_member_count){0};
    cohort_code code = connection_enter(connection, error);
    if (code != COHORT_OK) return code;
    if (cohort_id == NULL || count == NULL) return missing(error, cohort_id == NULL ? "cohort_id" : "count");
    Cohort__V1__CountMembersRequest message = COHORT__V1__COUNT_MEMBERS_REQUEST__INIT;
    message.cohort_id = text(cohort_id);
    message.min_sequence = min_sequence;
    size_t size;
    const uint8_t *payload = membership_pack(connection, &message.base, &size);
    if (payload == NULL) return fail_out_of_memory(error);
    return call_unary(connection, MEMBERSHIP_SERVICE, "CountMembers", payload, size, options, read_count, count,
                      error);
}

/* ------------------------------------------------------------------ members */

/* Shows one page to the callback. */
static cohort_code show_page(cohort_connection *connection, const cohort_message *received,
                             cohort_members_callback callback, void *context, bool *goes_on, cohort_error *error) {
    Cohort__V1__ListMembersResponse *message = cohort__v1__list_members_response__unpack(
        NULL, cohort_message_size(received), cohort_message_data(received));
    if (message == NULL) return malformed(error, "ListMembersResponse");
    cohort_members_page page = {
        .customer_ids = (const char *const *)message->customer_ids,
        .count = message->n_customer_ids,
        .sequence = message->sequence,
        .cohort_version = message->cohort_version,
        .cursor = message->cursor.data,
        .cursor_size = message->cursor.len,
    };
    connection->is_in_callback = true;
    *goes_on = callback(context, &page);
    connection->is_in_callback = false;
    cohort__v1__list_members_response__free_unpacked(message, NULL);
    return COHORT_OK;
}

cohort_code cohort_list_members(cohort_connection *connection, const cohort_members_request *request,
                                const cohort_call_options *options, cohort_members_callback callback, void *context,
                                cohort_error *error) {
    cohort_code code = connection_enter(connection, error);
    if (code != COHORT_OK) return code;
    if (request == NULL || request->cohort_id == NULL || callback == NULL)
        return missing(error, request == NULL ? "request" : callback == NULL ? "callback" : "cohort_id");
    if (request->cursor == NULL && request->cursor_size > 0) return missing(error, "cursor");
    Cohort__V1__ListMembersRequest message = COHORT__V1__LIST_MEMBERS_REQUEST__INIT;
    message.cohort_id = text(request->cohort_id);
    message.min_sequence = request->min_sequence;
    message.page_size = request->page_size;
    message.cursor.data = (uint8_t *)(uintptr_t)request->cursor;
    message.cursor.len = request->cursor_size;
    message.membership = (Cohort__V1__Membership)request->membership;
    size_t size;
    const uint8_t *payload = membership_pack(connection, &message.base, &size);
    if (payload == NULL) return fail_out_of_memory(error);
    cohort_stream *stream;
    code = cohort_stream_open(connection, COHORT_SERVER_STREAM, MEMBERSHIP_SERVICE, "ListMembers", payload, size,
                              options, &stream, error);
    if (code != COHORT_OK) return code;
    for (bool goes_on = true; code == COHORT_OK && goes_on;) {
        cohort_message *received;
        code = cohort_stream_receive(stream, &received, error);
        if (code != COHORT_OK || received == NULL) break;
        code = show_page(connection, received, callback, context, &goes_on, error);
        cohort_message_free(received);
    }
    cohort_stream_free(stream);
    return code;
}
