/*
 * Calls any method of a ttRPC server with raw messages: how other test suites drive libcohort.
 *
 *     rpc-client --endpoint 127.0.0.1:7443 --ca ca.pem bidirectional test.v1.Echo Chat 0a0161 0a0162
 *
 * Messages are hexadecimal, `-` is an empty one. Prints a line for each message received (the same way, or its size with
 * --sizes), `metadata KEY VALUE` for response metadata, then `end`; or `error CODE REASON MESSAGE`.
 * Exit status: 0 the call succeeded, 1 it failed, 2 wrong usage.
 */
#include <cohort.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage_text[] =
    "usage: rpc-client --endpoint HOST:PORT [--ca FILE] [--cert FILE --key FILE] [--server-name NAME]\n"
    "                  [--alpn x1|ttrpc|none] [--timeout SECONDS] [--metadata KEY=VALUE] [--max-message BYTES]\n"
    "                  [--sizes yes] [--take COUNT] [--times COUNT] KIND [SERVICE METHOD [MESSAGE…]]\n"
    "  KIND is unary, server, client, bidirectional or ping.\n"
    "  --take COUNT    receives so many messages of a stream, then gives the call up\n"
    "  --times COUNT   makes the call so many times on one connection\n"
    "  bidirectional receives one message after each that it sends, and the rest when it has closed\n";

typedef struct settings {
    char host[256];
    uint16_t port;
    cohort_options options;
    cohort_call_options call;
    cohort_metadata metadata;
    bool sizes;
    long take;
    long times;
} settings;

typedef struct bytes {
    uint8_t *data;
    size_t size;
} bytes;

static int usage(void) {
    fputs(usage_text, stderr);
    return 2;
}

static int report(const cohort_error *error) {
    printf("error %s %s %s\n", cohort_code_name(error->code), *error->reason == '\0' ? "-" : error->reason,
           error->message);
    return 1;
}

static int digit(char character) {
    static const char digits[] = "0123456789abcdef";
    const char *found = character == '\0' ? NULL : strchr(digits, character);
    return found == NULL ? -1 : (int)(found - digits);
}

/* False if it is not hexadecimal. */
static bool parse_message(const char *text, bytes *message) {
    size_t length = strcmp(text, "-") == 0 ? 0 : strlen(text);
    *message = (bytes){.data = malloc(length / 2 + 1), .size = length / 2};
    bool is_well = message->data != NULL && length % 2 == 0;
    for (size_t i = 0; is_well && i < message->size; i++) {
        int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
        is_well = high >= 0 && low >= 0;
        message->data[i] = (uint8_t)((unsigned)high << 4 | (unsigned)low);
    }
    if (!is_well) free(message->data);
    return is_well;
}

static void print_message(const settings *settings, const cohort_message *message) {
    size_t size = cohort_message_size(message);
    const uint8_t *data = cohort_message_data(message);
    if (settings->sizes) {
        printf("%zu\n", size);
        return;
    }
    for (size_t i = 0; i < size; i++) printf("%02x", data[i]);
    printf(size == 0 ? "-\n" : "\n");
}

static void print_metadata(void *context, const char *key, const char *value) {
    (void)context;
    printf("metadata %s %s\n", key, value);
}

/* ------------------------------------------------------------------ calls */

static int unary(cohort_connection *connection, const settings *settings, const char *service, const char *method,
                 const bytes *message) {
    cohort_message *reply;
    cohort_error error;
    if (cohort_call(connection, service, method, message->data, message->size, &settings->call, &reply, &error) !=
        COHORT_OK)
        return report(&error);
    print_message(settings, reply);
    cohort_message_free(reply);
    printf("end\n");
    return 0;
}

/* Receives up to `most` messages. Tells by `has_ended` whether the stream did. */
static cohort_code receive(const settings *settings, cohort_stream *stream, long most, bool *has_ended,
                           cohort_error *error) {
    for (long i = 0; i < most && !*has_ended; i++) {
        cohort_message *message;
        cohort_code code = cohort_stream_receive(stream, &message, error);
        if (code != COHORT_OK) return code;
        if (message == NULL) {
            *has_ended = true;
        } else {
            print_message(settings, message);
            cohort_message_free(message);
        }
    }
    return COHORT_OK;
}

static int stream(cohort_connection *connection, const settings *settings, cohort_stream_kind kind,
                  const char *service, const char *method, const bytes *messages, size_t count) {
    bool is_server = kind == COHORT_SERVER_STREAM;
    cohort_stream *stream;
    cohort_error error;
    cohort_code code =
        cohort_stream_open(connection, kind, service, method, is_server ? messages[0].data : NULL,
                           is_server ? messages[0].size : 0, &settings->call, &stream, &error);
    if (code != COHORT_OK) return report(&error);
    bool has_ended = false;
    for (size_t i = 0; !is_server && code == COHORT_OK && !has_ended && i < count; i++) {
        code = cohort_stream_send(stream, messages[i].data, messages[i].size, &error);
        /* That the server has ended the call is told by receiving. */
        if (code == COHORT_FAILED_PRECONDITION && strcmp(error.reason, COHORT_ERROR_STREAM_ENDED) == 0) {
            code = COHORT_OK;
            break;
        }
        if (code == COHORT_OK && kind == COHORT_BIDIRECTIONAL)
            code = receive(settings, stream, 1, &has_ended, &error);
    }
    if (code == COHORT_OK && settings->take < 0) code = cohort_stream_close_send(stream, &error);
    if (code == COHORT_OK)
        code = receive(settings, stream, settings->take < 0 ? LONG_MAX : settings->take, &has_ended, &error);
    cohort_stream_free(stream);
    if (code != COHORT_OK) return report(&error);
    printf(has_ended ? "end\n" : "given up\n");
    return 0;
}

static int once(cohort_connection *connection, const settings *settings, char **arguments, const bytes *messages,
                size_t count) {
    const char *kind = arguments[0];
    if (strcmp(kind, "ping") == 0) {
        cohort_error error;
        if (cohort_ping(connection, settings->call.timeout_nanos, &error) != COHORT_OK) return report(&error);
        printf("end\n");
        return 0;
    }
    const char *service = arguments[1], *method = arguments[2];
    if (strcmp(kind, "unary") == 0 && count == 1) return unary(connection, settings, service, method, messages);
    if (strcmp(kind, "server") == 0 && count == 1)
        return stream(connection, settings, COHORT_SERVER_STREAM, service, method, messages, count);
    if (strcmp(kind, "client") == 0)
        return stream(connection, settings, COHORT_CLIENT_STREAM, service, method, messages, count);
    if (strcmp(kind, "bidirectional") == 0)
        return stream(connection, settings, COHORT_BIDIRECTIONAL, service, method, messages, count);
    return usage();
}

/* ------------------------------------------------------------------ settings */

static bool set(settings *settings, const char *name, char *value) {
    if (strcmp(name, "--ca") == 0) return (settings->options.ca_file = value), true;
    if (strcmp(name, "--cert") == 0) return (settings->options.certificate_file = value), true;
    if (strcmp(name, "--key") == 0) return (settings->options.key_file = value), true;
    if (strcmp(name, "--server-name") == 0) return (settings->options.server_name = value), true;
    if (strcmp(name, "--sizes") == 0) return (settings->sizes = true), true;
    if (strcmp(name, "--take") == 0) return (settings->take = strtol(value, NULL, 10)), true;
    if (strcmp(name, "--times") == 0) return (settings->times = strtol(value, NULL, 10)), true;
    if (strcmp(name, "--max-message") == 0)
        return (settings->options.max_message_bytes = strtoul(value, NULL, 10)), true;
    if (strcmp(name, "--timeout") == 0)
        return (settings->call.timeout_nanos = (int64_t)(strtod(value, NULL) * (double)COHORT_SECOND)), true;
    if (strcmp(name, "--endpoint") == 0) {
        char *colon = strrchr(value, ':');
        if (colon == NULL || (size_t)(colon - value) >= sizeof settings->host) return false;
        memcpy(settings->host, value, (size_t)(colon - value));
        settings->port = (uint16_t)strtoul(colon + 1, NULL, 10);
        return true;
    }
    if (strcmp(name, "--metadata") == 0) {
        char *equals = strchr(value, '=');
        if (equals == NULL) return false;
        *equals = '\0';
        settings->metadata = (cohort_metadata){.key = value, .value = equals + 1};
        settings->call.metadata = &settings->metadata;
        settings->call.metadata_count = 1;
        return true;
    }
    if (strcmp(name, "--alpn") == 0) {
        static const char *const names[] = {"x1", "ttrpc", "none"};
        for (unsigned i = 0; i < 3; i++) {
            if (strcmp(value, names[i]) == 0) return (settings->options.alpn = (cohort_alpn)i), true;
        }
    }
    return false;
}

int main(int count, char **arguments) {
    settings settings = {.take = -1, .times = 1};
    cohort_options_init(&settings.options);
    cohort_call_options_init(&settings.call);
    settings.call.on_metadata = print_metadata;
    int at = 1;
    for (; at + 1 < count && strncmp(arguments[at], "--", 2) == 0; at += 2) {
        if (!set(&settings, arguments[at], arguments[at + 1])) return usage();
    }
    int left = count - at;
    if (left < 1 || (left < 3 && strcmp(arguments[at], "ping") != 0)) return usage();
    size_t message_count = left > 3 ? (size_t)(left - 3) : 0;
    bytes *messages = calloc(message_count + 1, sizeof *messages);
    if (messages == NULL) return 1;
    for (size_t i = 0; i < message_count; i++) {
        if (!parse_message(arguments[at + 3 + (int)i], &messages[i])) return usage();
    }

    cohort_connection *connection;
    cohort_error error;
    if (cohort_connect(settings.host, settings.port, &settings.options, &connection, &error) != COHORT_OK)
        return report(&error);
    int status = 0;
    for (long i = 0; i < settings.times && status == 0; i++)
        status = once(connection, &settings, arguments + at, messages, message_count);
    cohort_close(connection);
    for (size_t i = 0; i < message_count; i++) free(messages[i].data);
    free(messages);
    return status;
}
