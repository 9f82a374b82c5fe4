/* The connection against a scripted server: unary calls, and all that can go wrong with them. */
#include "fake_peer.h"
#include "test.h"

void batch_tests(void);
void stream_tests(void);
void fuzz_tests(void);

/* ------------------------------------------------------------------ unary calls */

static void answered(void) {
    for (size_t chunk = 1; chunk < 40; chunk++) {
        fake_peer peer = {.on_frame = peer_echo, .read_chunk = chunk, .write_chunk = chunk};
        cohort_connection *connection = fake_connection(&peer, chunk % 2 == 0, NULL);
        char reply[32];
        cohort_error error;
        for (uint32_t i = 0; i < 5; i++) {
            CHECK(say(connection, "hello", reply, sizeof reply, &error) == COHORT_OK);
            CHECK_TEXT(reply, "hello");
            CHECK(peer.last_id == 2 * i + 1 && peer.last_flags == 0);
            /* 30 s, less what has passed: nothing. */
            CHECK(peer.last_timeout == 30 * COHORT_SECOND);
        }
        CHECK(say(connection, "", reply, sizeof reply, &error) == COHORT_OK);
        CHECK_TEXT(reply, "");
        CHECK(error.code == COHORT_OK && cohort_connection_is_usable(connection));
        cohort_close(connection);
    }
}

static void answer_error(fake_peer *peer, const frame *frame) {
    peer_refuse(peer, frame->stream_id, COHORT_NOT_FOUND, "NOPE");
}

static void note_metadata(void *context, const char *key, const char *value) {
    CHECK_TEXT(key, "answered-by");
    CHECK_TEXT(value, "a fake");
    *(int *)context += 1;
}

static void refused(void) {
    for (int is_extended = 0; is_extended < 2; is_extended++) {
        fake_peer peer = {.on_frame = answer_error};
        cohort_connection *connection = fake_connection(&peer, is_extended, NULL);
        int entries = 0;
        cohort_call_options options = {.on_metadata = note_metadata, .metadata_context = &entries};
        cohort_error error;
        cohort_message *reply;
        CHECK(cohort_call(connection, "test.Echo", "Say", NULL, 0, &options, &reply, &error) == COHORT_NOT_FOUND);
        CHECK_TEXT(error.reason, "NOPE");
        CHECK_TEXT(error.domain, "test");
        CHECK_TEXT(error.message, "refused");
        CHECK(reply == NULL && entries == is_extended);
        CHECK(cohort_call(connection, "test.Echo", "Say", NULL, 0, NULL, &reply, NULL) == COHORT_NOT_FOUND);
        cohort_close(connection);
    }
}

/* Answers the first call only when the second comes, and before it. */
static void answer_late(fake_peer *peer, const frame *frame) {
    if (frame->type != FRAME_REQUEST || frame->stream_id == 1) return;
    peer_answer(peer, 1, "late", 4);
    peer_echo(peer, frame);
}

static void late_answer_is_dropped(void) {
    for (int is_extended = 0; is_extended < 2; is_extended++) {
        fake_peer peer = {.on_frame = answer_late};
        cohort_connection *connection = fake_connection(&peer, is_extended, NULL);
        char reply[32];
        cohort_error error;
        CHECK(say(connection, "first", reply, sizeof reply, &error) == COHORT_DEADLINE_EXCEEDED);
        CHECK_TEXT(error.reason, COHORT_ERROR_TIMED_OUT);
        CHECK_TEXT(error.domain, COHORT_LOCAL_DOMAIN);
        CHECK(!error.not_processed && peer.now == 1000 + 30 * COHORT_SECOND);
        CHECK(say(connection, "second", reply, sizeof reply, &error) == COHORT_OK);
        CHECK_TEXT(reply, "second");
        /* A peer that knows CANCEL was told. */
        CHECK(peer.cancels == (size_t)is_extended);
        CHECK(say(connection, "third", reply, sizeof reply, &error) == COHORT_OK);
        CHECK_TEXT(reply, "third");
        cohort_close(connection);
    }
}

static void timeouts(void) {
    fake_peer peer = {.on_frame = NULL};
    cohort_connection *connection = fake_connection(&peer, true, NULL);
    cohort_call_options options = {.timeout_nanos = 5 * COHORT_MILLISECOND};
    cohort_error error;
    cohort_message *reply;
    CHECK(cohort_call(connection, "s.S", "M", NULL, 0, &options, &reply, &error) == COHORT_DEADLINE_EXCEEDED);
    CHECK(peer.last_timeout == 5 * COHORT_MILLISECOND && peer.now == 1000 + 5 * COHORT_MILLISECOND);
    options.timeout_nanos = -7;
    CHECK(cohort_call(connection, "s.S", "M", NULL, 0, &options, &reply, &error) == COHORT_INVALID_ARGUMENT);
    options.timeout_nanos = COHORT_NO_TIMEOUT;
    peer.on_frame = peer_echo;
    CHECK(cohort_call(connection, "s.S", "M", NULL, 0, &options, &reply, &error) == COHORT_OK);
    CHECK(peer.last_timeout == 0);
    cohort_message_free(reply);
    options.timeout_nanos = INT64_MAX;
    CHECK(cohort_call(connection, "s.S", "M", NULL, 0, &options, &reply, &error) == COHORT_OK);
    cohort_message_free(reply);
    cohort_close(connection);
}

static void answer_badly(fake_peer *peer, const frame *frame) {
    static uint8_t large[2000];
    if (frame->type != FRAME_REQUEST) return;
    switch (peer->step++) {
        case 0:
            return peer_send(peer, frame->stream_id, FRAME_RESPONSE, 0, "\xFF\xFF", 2);
        case 1:
            return peer_send(peer, frame->stream_id, FRAME_RESPONSE, 0, large, sizeof large);
        case 2:
            return peer_send(peer, frame->stream_id, FRAME_DATA, 0, "x", 1);
        case 3:
            /* A type from the future, and frames of extensions that may not have been agreed on. */
            peer_send(peer, frame->stream_id, 99, 0, "?", 1);
            peer_send(peer, 0, FRAME_PING, 0, "ping", 4);
            peer_send(peer, 0, FRAME_CANCEL, 0, NULL, 0);
            return peer_echo(peer, frame);
        default:
            return peer_send(peer, 1001, FRAME_RESPONSE, 0, NULL, 0);
    }
}

static void bad_answers(void) {
    for (int is_extended = 0; is_extended < 2; is_extended++) {
        fake_peer peer = {.on_frame = answer_badly, .read_chunk = 7};
        cohort_options options;
        cohort_options_init(&options);
        options.max_message_bytes = 1024;
        cohort_connection *connection = fake_connection(&peer, is_extended, &options);
        char reply[32];
        cohort_error error;
        CHECK(say(connection, "a", reply, sizeof reply, &error) == COHORT_INTERNAL);
        CHECK_TEXT(error.reason, COHORT_ERROR_MALFORMED_RESPONSE);
        CHECK(say(connection, "b", reply, sizeof reply, &error) == COHORT_RESOURCE_EXHAUSTED);
        CHECK_TEXT(error.reason, COHORT_ERROR_MESSAGE_TOO_LARGE);
        CHECK(say(connection, "c", reply, sizeof reply, &error) == COHORT_INTERNAL);
        CHECK_TEXT(error.reason, COHORT_ERROR_PROTOCOL_ERROR);
        CHECK(say(connection, "d", reply, sizeof reply, &error) == COHORT_OK);
        CHECK_TEXT(reply, "d");
        CHECK(say(connection, "e", reply, sizeof reply, &error) == COHORT_UNAVAILABLE);
        CHECK_TEXT(error.reason, COHORT_ERROR_PROTOCOL_ERROR);
        CHECK(!error.not_processed && !cohort_connection_is_usable(connection));
        CHECK(say(connection, "f", reply, sizeof reply, &error) == COHORT_UNAVAILABLE && error.not_processed);
        CHECK(peer.requests == 5 && peer.pongs == (size_t)is_extended);
        cohort_close(connection);
    }
}

static void answer_garbage(fake_peer *peer, const frame *frame) {
    (void)frame;
    CHECK(bytes_append(&peer->to_client, "HTTP/1.1 400 Bad Request\r\n\r\n", 28));
}

static void garbage_ends_the_connection(void) {
    fake_peer peer = {.on_frame = answer_garbage};
    cohort_connection *connection = fake_connection(&peer, false, NULL);
    char reply[32];
    cohort_error error;
    CHECK(say(connection, "a", reply, sizeof reply, &error) == COHORT_UNAVAILABLE);
    CHECK(strstr(error.message, "not ttRPC") != NULL);
    cohort_close(connection);
}

static void end_now(fake_peer *peer, const frame *frame) {
    (void)frame;
    peer->has_ended = true;
}

static void lost_connections(void) {
    char reply[32];
    cohort_error error;
    {
        fake_peer peer = {.on_frame = end_now};
        cohort_connection *connection = fake_connection(&peer, false, NULL);
        CHECK(say(connection, "a", reply, sizeof reply, &error) == COHORT_UNAVAILABLE);
        CHECK_TEXT(error.reason, COHORT_ERROR_CONNECTION_LOST);
        /* The server may have seen it. */
        CHECK(!error.not_processed);
        cohort_close(connection);
    }
    {
        /* Ended while nothing ran: the next call knows that it was not made. */
        fake_peer peer = {.on_frame = peer_echo};
        cohort_connection *connection = fake_connection(&peer, false, NULL);
        CHECK(say(connection, "a", reply, sizeof reply, &error) == COHORT_OK);
        peer.has_ended = true;
        CHECK(say(connection, "b", reply, sizeof reply, &error) == COHORT_UNAVAILABLE);
        CHECK(error.not_processed && peer.requests == 1);
        cohort_close(connection);
    }
    {
        /* What the server said before it stopped listening is still heard. */
        fake_peer peer = {.is_deaf = true};
        cohort_connection *connection = fake_connection(&peer, false, NULL);
        CHECK(say(connection, "a", reply, sizeof reply, &error) == COHORT_UNAVAILABLE);
        CHECK_TEXT(error.reason, COHORT_ERROR_CONNECTION_LOST);
        cohort_close(connection);
    }
}

static void large_requests_are_refused(void) {
    fake_peer peer = {.on_frame = peer_echo};
    cohort_connection *connection = fake_connection(&peer, false, NULL);
    cohort_error error;
    cohort_message *reply;
    uint8_t *payload = calloc(1, FRAME_MAX_BODY);
    CHECK(payload != NULL);
    CHECK(cohort_call(connection, "s.S", "M", payload, FRAME_MAX_BODY, NULL, &reply, &error) ==
          COHORT_RESOURCE_EXHAUSTED);
    CHECK_TEXT(error.reason, COHORT_ERROR_MESSAGE_TOO_LARGE);
    CHECK(error.not_processed && peer.requests == 0);
    CHECK(cohort_call(connection, "s.S", "M", payload, FRAME_MAX_BODY - 100, NULL, &reply, &error) == COHORT_OK);
    CHECK(cohort_message_size(reply) == FRAME_MAX_BODY - 100 && peer.last_id == 1);
    cohort_message_free(reply);
    free(payload);
    cohort_close(connection);
}

static void ids_run_out(void) {
    fake_peer peer = {.on_frame = peer_echo};
    cohort_connection *connection = fake_connection(&peer, true, NULL);
    connection->calls_left = 2;
    char reply[32];
    cohort_error error;
    CHECK(say(connection, "a", reply, sizeof reply, &error) == COHORT_OK);
    CHECK(say(connection, "b", reply, sizeof reply, &error) == COHORT_OK);
    CHECK(!cohort_connection_is_usable(connection));
    CHECK(say(connection, "c", reply, sizeof reply, &error) == COHORT_UNAVAILABLE);
    CHECK_TEXT(error.reason, COHORT_ERROR_STREAM_IDS_USED_UP);
    CHECK(error.not_processed && peer.requests == 2);
    cohort_close(connection);
}

static void check_request_metadata(fake_peer *peer, const frame *frame) {
    Ttrpc__V1__Request *request = peer_request(frame);
    CHECK(request->n_metadata == 2);
    CHECK_TEXT(request->metadata[0]->key, "authorization");
    CHECK_TEXT(request->metadata[1]->key, "traceparent");
    CHECK_TEXT(request->metadata[1]->value, "00-1");
    ttrpc__v1__request__free_unpacked(request, NULL);
    peer_echo(peer, frame);
}

static void request_metadata(void) {
    cohort_options options;
    cohort_options_init(&options);
    /* The connection keeps its own copy. */
    char value[] = "Bearer x";
    cohort_metadata of_connection[] = {{"authorization", value}};
    options.metadata = of_connection;
    options.metadata_count = 1;
    fake_peer peer = {.on_frame = check_request_metadata};
    cohort_connection *connection = fake_connection(&peer, false, &options);
    memset(value, 'z', sizeof value - 1);
    cohort_metadata of_call[] = {{"traceparent", "00-1"}};
    cohort_call_options call_options = {.metadata = of_call, .metadata_count = 1};
    cohort_message *reply;
    CHECK(cohort_call(connection, "s.S", "M", NULL, 0, &call_options, &reply, NULL) == COHORT_OK);
    cohort_message_free(reply);
    of_call[0].value = NULL;
    CHECK(cohort_call(connection, "s.S", "M", NULL, 0, &call_options, &reply, NULL) == COHORT_INVALID_ARGUMENT);
    cohort_close(connection);
}

/* ------------------------------------------------------------------ ttrpc-x1 */

static void answer_ping(fake_peer *peer, const frame *frame) {
    if (frame->type != FRAME_PING || peer->step > 0) return;
    CHECK(frame->stream_id == 1 && frame->length == 8);
    peer_send(peer, 0, FRAME_PONG, 0, "other", 5);
    peer_send(peer, 0, FRAME_PONG, 0, frame->body, frame->length);
}

static void pings(void) {
    fake_peer peer = {.on_frame = answer_ping};
    cohort_connection *connection = fake_connection(&peer, true, NULL);
    cohort_error error;
    CHECK(cohort_ping(connection, 0, &error) == COHORT_OK);
    peer.step = 1;
    CHECK(cohort_ping(connection, COHORT_SECOND, &error) == COHORT_DEADLINE_EXCEEDED);
    peer.step = 0;
    CHECK(cohort_ping(connection, COHORT_SECOND, &error) == COHORT_OK);
    uint8_t long_ping[65] = {0};
    peer_send(&peer, 0, FRAME_PING, 0, long_ping, 65);
    CHECK(cohort_ping(connection, 0, &error) == COHORT_UNAVAILABLE);
    CHECK_TEXT(error.reason, COHORT_ERROR_PROTOCOL_ERROR);
    cohort_close(connection);

    fake_peer stock = {0};
    connection = fake_connection(&stock, false, NULL);
    CHECK(cohort_ping(connection, 0, &error) == COHORT_FAILED_PRECONDITION);
    CHECK_TEXT(error.reason, COHORT_ERROR_NOT_EXTENDED);
    cohort_close(connection);
}

static void wrong_arguments(void) {
    cohort_error error;
    cohort_connection *connection;
    cohort_options options;
    cohort_options_init(&options);
    CHECK(cohort_connect(NULL, 1, &options, &connection, &error) == COHORT_INVALID_ARGUMENT && connection == NULL);
    CHECK(cohort_connect("localhost", 0, &options, &connection, &error) == COHORT_INVALID_ARGUMENT);
    options.ca_file = "/nonexistent/ca.pem";
    CHECK(cohort_connect("localhost", 1, &options, &connection, &error) == COHORT_INVALID_ARGUMENT);
    CHECK(strstr(error.message, "ca_file: cannot use /nonexistent/ca.pem") != NULL && error.not_processed);
    options.ca_file = NULL;
    options.certificate_file = "x";
    CHECK(cohort_connect("localhost", 1, &options, &connection, &error) == COHORT_INVALID_ARGUMENT);
    options.certificate_file = NULL;
    options.max_message_bytes = FRAME_MAX_BODY + 1;
    CHECK(cohort_connect("localhost", 1, &options, &connection, &error) == COHORT_INVALID_ARGUMENT);
    options = (cohort_options){0};
    CHECK(cohort_connect("localhost", 1, &options, &connection, &error) == COHORT_INVALID_ARGUMENT);
    CHECK(strstr(error.message, "cohort_options_init") != NULL);
    cohort_check_result result;
    CHECK(cohort_check(NULL, NULL, NULL, &result, &error) == COHORT_INVALID_ARGUMENT);
    cohort_close(NULL);
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    RUN(answered);
    RUN(refused);
    RUN(late_answer_is_dropped);
    RUN(timeouts);
    RUN(bad_answers);
    RUN(garbage_ends_the_connection);
    RUN(lost_connections);
    RUN(large_requests_are_refused);
    RUN(ids_run_out);
    RUN(request_metadata);
    RUN(pings);
    RUN(wrong_arguments);
    batch_tests();
    stream_tests();
    fuzz_tests();
    return 0;
}
