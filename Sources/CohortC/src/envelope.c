#include "envelope.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "google/rpc/error_details.pb-c.h"

bool envelope_request_init(envelope_request *request, const char *service, const char *method,
                           const cohort_metadata *first, size_t first_count, const cohort_metadata *second,
                           size_t second_count) {
    *request = (envelope_request){.service = service, .method = method};
    size_t count = first_count + second_count;
    if (count == 0) return true;
    /* One block: the pointers, then what they point to. */
    if (count > SIZE_MAX / 2 / (sizeof(Ttrpc__V1__KeyValue) + sizeof(Ttrpc__V1__KeyValue *))) return false;
    Ttrpc__V1__KeyValue **pointers = malloc(count * (sizeof *pointers + sizeof **pointers));
    if (pointers == NULL) return false;
    Ttrpc__V1__KeyValue *entries = (Ttrpc__V1__KeyValue *)(void *)(pointers + count);
    for (size_t i = 0; i < count; i++) {
        const cohort_metadata *entry = i < first_count ? &first[i] : &second[i - first_count];
        ttrpc__v1__key_value__init(&entries[i]);
        /* protobuf-c's messages are not const; packing does not write to them. */
        entries[i].key = (char *)(uintptr_t)entry->key;
        entries[i].value = (char *)(uintptr_t)entry->value;
        pointers[i] = &entries[i];
    }
    request->metadata = pointers;
    request->metadata_count = count;
    return true;
}

void envelope_request_free(envelope_request *request) {
    free(request->metadata);
    *request = (envelope_request){0};
}

static Ttrpc__V1__Request message_of(const envelope_request *request, const void *payload, size_t size,
                                     int64_t timeout_nano) {
    Ttrpc__V1__Request message = TTRPC__V1__REQUEST__INIT;
    message.service = (char *)(uintptr_t)request->service;
    message.method = (char *)(uintptr_t)request->method;
    message.payload.data = (uint8_t *)(uintptr_t)payload;
    message.payload.len = size;
    message.timeout_nano = timeout_nano;
    message.n_metadata = request->metadata_count;
    message.metadata = request->metadata;
    return message;
}

size_t envelope_request_size(const envelope_request *request, const void *payload, size_t size,
                             int64_t timeout_nano) {
    Ttrpc__V1__Request message = message_of(request, payload, size, timeout_nano);
    return ttrpc__v1__request__get_packed_size(&message);
}

bool envelope_append_request(bytes *out, const envelope_request *request, uint32_t stream_id, uint8_t flags,
                             const void *payload, size_t size, int64_t timeout_nano) {
    Ttrpc__V1__Request message = message_of(request, payload, size, timeout_nano);
    size_t length = ttrpc__v1__request__get_packed_size(&message);
    uint8_t *target = bytes_reserve(out, FRAME_HEADER_BYTES + length);
    if (target == NULL) return false;
    frame_write_header(target, length, stream_id, FRAME_REQUEST, flags);
    ttrpc__v1__request__pack(&message, target + FRAME_HEADER_BYTES);
    bytes_commit(out, FRAME_HEADER_BYTES + length);
    return true;
}

Ttrpc__V1__Response *envelope_decode_response(const uint8_t *body, size_t size) {
    return ttrpc__v1__response__unpack(NULL, size, body);
}

/* The name behind the last slash, as `google.rpc.ErrorInfo`. */
static bool is_type(const Google__Protobuf__Any *any, const char *name) {
    const char *slash = strrchr(any->type_url, '/');
    return strcmp(slash == NULL ? any->type_url : slash + 1, name) == 0;
}

static int64_t nanos_of(const Google__Protobuf__Duration *duration) {
    /* Seconds that would not fit are as good as for ever. */
    if (duration->seconds < 0 || duration->nanos < 0) return 0;
    if (duration->seconds >= INT64_MAX / COHORT_SECOND) return INT64_MAX;
    return duration->seconds * COHORT_SECOND + duration->nanos;
}

static void read_detail(const Google__Protobuf__Any *any, cohort_error *error) {
    if (is_type(any, "google.rpc.ErrorInfo")) {
        Google__Rpc__ErrorInfo *info = google__rpc__error_info__unpack(NULL, any->value.len, any->value.data);
        if (info == NULL) return;
        copy_text(error->reason, sizeof error->reason, info->reason);
        copy_text(error->domain, sizeof error->domain, info->domain);
        google__rpc__error_info__free_unpacked(info, NULL);
    } else if (is_type(any, "google.rpc.RetryInfo")) {
        Google__Rpc__RetryInfo *info = google__rpc__retry_info__unpack(NULL, any->value.len, any->value.data);
        if (info == NULL) return;
        if (info->retry_delay != NULL) error->retry_delay_nanos = nanos_of(info->retry_delay);
        google__rpc__retry_info__free_unpacked(info, NULL);
    }
}

cohort_code envelope_status(const Google__Rpc__Status *status, cohort_error *error) {
    *error = (cohort_error){0};
    if (status == NULL || status->code == COHORT_OK) return COHORT_OK;
    bool known = status->code > 0 && status->code <= COHORT_UNAUTHENTICATED;
    error->code = known ? (cohort_code)status->code : COHORT_UNKNOWN_ERROR;
    copy_text(error->message, sizeof error->message, status->message);
    for (size_t i = 0; i < status->n_details; i++) read_detail(status->details[i], error);
    return error->code;
}
