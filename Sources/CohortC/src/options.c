#include <stdlib.h>
#include <string.h>

#include "connection.h"

void cohort_options_init(cohort_options *options) {
    *options = (cohort_options){
        .struct_size = sizeof *options,
        .alpn = COHORT_ALPN_TTRPC_X1,
        .connect_timeout_nanos = 10 * COHORT_SECOND,
        .call_timeout_nanos = 30 * COHORT_SECOND,
        .max_message_bytes = FRAME_MAX_BODY,
        .max_buffered_bytes = (size_t)16 << 20,
        .max_in_flight = 512,
    };
}

void cohort_call_options_init(cohort_call_options *options) { *options = (cohort_call_options){0}; }

static cohort_code wrong(cohort_error *error, const char *what) {
    return fail(error, COHORT_INVALID_ARGUMENT, COHORT_ERROR_INVALID_ARGUMENT, "%s", what);
}

static cohort_code check_metadata(const cohort_metadata *metadata, size_t count, cohort_error *error) {
    if (count > 0 && metadata == NULL) return wrong(error, "metadata: must not be NULL where metadata_count is not 0");
    for (size_t i = 0; i < count; i++) {
        if (metadata[i].key == NULL || metadata[i].value == NULL)
            return wrong(error, "metadata: keys and values must not be NULL");
    }
    return COHORT_OK;
}

cohort_code options_check(const cohort_options *given, cohort_options *options, cohort_error *error) {
    cohort_options_init(options);
    if (given == NULL) return COHORT_OK;
    /* Callers of an older header know fewer fields; the rest keep their defaults. */
    if (given->struct_size < offsetof(cohort_options, metadata_count) + sizeof given->metadata_count ||
        given->struct_size > 65536)
        return wrong(error, "options: set them up with cohort_options_init()");
    memcpy(options, given, given->struct_size < sizeof *options ? given->struct_size : sizeof *options);
    if (options->alpn < COHORT_ALPN_TTRPC_X1 || options->alpn > COHORT_ALPN_NONE)
        return wrong(error, "alpn: must be one of COHORT_ALPN_…");
    if ((options->certificate_file == NULL) != (options->key_file == NULL))
        return wrong(error, "certificate_file and key_file: set both or none");
    if (options->connect_timeout_nanos <= 0 && options->connect_timeout_nanos != COHORT_NO_TIMEOUT)
        return wrong(error, "connect_timeout_nanos: must be positive or COHORT_NO_TIMEOUT");
    if (options->call_timeout_nanos <= 0 && options->call_timeout_nanos != COHORT_NO_TIMEOUT)
        return wrong(error, "call_timeout_nanos: must be positive or COHORT_NO_TIMEOUT");
    if (options->max_message_bytes < 1024 || options->max_message_bytes > FRAME_MAX_BODY)
        return wrong(error, "max_message_bytes: must be 1,024 to 4,194,304");
    if (options->max_in_flight < 1 || options->max_in_flight > 65536)
        return wrong(error, "max_in_flight: must be 1 to 65,536");
    return check_metadata(options->metadata, options->metadata_count, error);
}

cohort_code call_prepare(cohort_connection *self, const char *service, const char *method,
                         const cohort_call_options *options, envelope_request *request, int64_t *deadline,
                         cohort_error *error) {
    static const cohort_call_options none = {0};
    if (options == NULL) options = &none;
    if (service == NULL || method == NULL) return wrong(error, "service and method: must not be NULL");
    if (options->timeout_nanos < 0 && options->timeout_nanos != COHORT_NO_TIMEOUT)
        return wrong(error, "timeout_nanos: must be positive, 0 or COHORT_NO_TIMEOUT");
    cohort_code code = check_metadata(options->metadata, options->metadata_count, error);
    if (code != COHORT_OK) return code;
    code = connection_check_usable(self, error);
    if (code != COHORT_OK) return code;
    int64_t timeout = options->timeout_nanos == 0 ? self->call_timeout_nanos : options->timeout_nanos;
    *deadline = deadline_after(connection_now(self), timeout);
    if (!envelope_request_init(request, service, method, self->metadata, self->metadata_count, options->metadata,
                               options->metadata_count))
        return fail_out_of_memory(error);
    return COHORT_OK;
}

/* The host without the brackets of an IPv6 address; to be freed. */
static char *bare_host(const char *host) {
    size_t length = strlen(host);
    char *copy = strdup(host);
    if (copy != NULL && length > 2 && host[0] == '[' && host[length - 1] == ']') {
        memmove(copy, host + 1, length - 2);
        copy[length - 2] = '\0';
    }
    return copy;
}

cohort_code cohort_connect(const char *host, uint16_t port, const cohort_options *options,
                           cohort_connection **connection, cohort_error *error) {
    cohort_error ignored;
    if (error == NULL) error = &ignored;
    if (connection == NULL) return wrong(error, "connection: must not be NULL");
    *connection = NULL;
    if (host == NULL || *host == '\0') return wrong(error, "host: must not be empty");
    if (port == 0) return wrong(error, "port: must be 1 to 65535");
    cohort_options checked;
    cohort_code code = options_check(options, &checked, error);
    if (code != COHORT_OK) return code;
    char *name = bare_host(host);
    if (name == NULL) return fail_out_of_memory(error);
    transport *transport = NULL;
    bool is_extended = false;
    int64_t deadline = deadline_after(monotonic_now(), checked.connect_timeout_nanos);
    code = tls_transport_connect(name, port, &checked, deadline, &transport, &is_extended, error);
    free(name);
    if (code != COHORT_OK) return code;
    return connection_create(transport, is_extended, &checked, connection, error);
}
