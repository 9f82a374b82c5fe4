#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *cohort_version(void) { return COHORT_VERSION; }

const char *cohort_code_name(cohort_code code) {
    static const char *const names[] = {
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    };
    size_t index = (size_t)code;
    return index < sizeof names / sizeof *names ? names[index] : "UNKNOWN";
}

void copy_text(char *to, size_t size, const char *from) {
    size_t length = strnlen(from, size);
    if (length == size) {
        length = size - 1;
        /* Back to where a character begins: continuation bytes are 10xxxxxx. */
        while (length > 0 && ((unsigned char)from[length] & 0xC0) == 0x80) length -= 1;
    }
    memcpy(to, from, length);
    to[length] = '\0';
}

cohort_code fail(cohort_error *error, cohort_code code, const char *reason, const char *format, ...) {
    if (error == NULL) return code;
    *error = (cohort_error){.code = code};
    copy_text(error->reason, sizeof error->reason, reason);
    copy_text(error->domain, sizeof error->domain, COHORT_LOCAL_DOMAIN);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    return code;
}

cohort_code fail_with(cohort_error *error, const cohort_error *from) {
    /* Read first: the two may be the same. */
    cohort_code code = from->code;
    if (error != NULL && error != from) *error = *from;
    return code;
}

cohort_code succeed(cohort_error *error) {
    if (error != NULL) memset(error, 0, sizeof *error);
    return COHORT_OK;
}

cohort_code fail_out_of_memory(cohort_error *error) {
    return fail(error, COHORT_RESOURCE_EXHAUSTED, COHORT_ERROR_OUT_OF_MEMORY, "out of memory");
}
