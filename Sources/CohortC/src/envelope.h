/* What stands inside Request and Response frames. */
#ifndef COHORT_ENVELOPE_H
#define COHORT_ENVELOPE_H

#include "bytes.h"
#include "cohort.h"
#include "frame.h"
#include "ttrpc/v1/envelope.pb-c.h"

/* What is the same in every request of a call or a batch. */
typedef struct envelope_request {
    const char *service;
    const char *method;
    Ttrpc__V1__KeyValue **metadata;
    size_t metadata_count;
} envelope_request;

/* Joins two lists of metadata; the strings are not copied. False if memory is out. */
bool envelope_request_init(envelope_request *request, const char *service, const char *method,
                           const cohort_metadata *first, size_t first_count, const cohort_metadata *second,
                           size_t second_count);
void envelope_request_free(envelope_request *request);

/* Bytes of the Request's body. */
size_t envelope_request_size(const envelope_request *request, const void *payload, size_t size, int64_t timeout_nano);

/* Appends a whole Request frame; false if memory is out. */
bool envelope_append_request(bytes *out, const envelope_request *request, uint32_t stream_id, uint8_t flags,
                             const void *payload, size_t size, int64_t timeout_nano);

/* Decodes a Response, to be freed with ttrpc__v1__response__free_unpacked; NULL if it is none. */
Ttrpc__V1__Response *envelope_decode_response(const uint8_t *body, size_t size);

/* The error that a status tells, COHORT_OK if none. */
cohort_code envelope_status(const Google__Rpc__Status *status, cohort_error *error);

#endif
