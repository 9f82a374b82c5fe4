/* The connection against a scripted server: unary calls, batches, and all that can go wrong with them. */
#include "cohort/v1/membership.pb-c.h"
#include "fake_peer.h"
#include "test.h"

void stream_tests(void);
void fuzz_tests(void);

static cohort_code say(cohort_connection *connection, const char *payload, char *reply, size_t room,
                       cohort_error *error) {
    cohort_message *message;
    cohort_code code =
        cohort_call(connection, "test.Echo", "Say", payload, strlen(payload), NULL, &message, error);
    CHECK((code == COHORT_OK) == (message != NULL));
    if (message != NULL) {
        snprintf(reply, room, "%.*s", (int)cohort_message_size(message), (const char *)cohort_message_data(message));
        cohort_message_free(message);
    }
    return code;
}

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

/* ------------------------------------------------------------------ batches */

typedef struct told {
    int count[64];
    cohort_code code[64];
    char detail[64][16];
    bool not_processed[64];
    size_t total;
    cohort_connection *connection;
} told;

static void note_answer(void *context, size_t index, const cohort_check_result *result, const cohort_error *error) {
    told *told = context;
    CHECK(index < 64 && (result == NULL) != (error == NULL));
    told->count[index] += 1;
    told->total += 1;
    told->code[index] = error == NULL ? COHORT_OK : error->code;
    told->not_processed[index] = error != NULL && error->not_processed;
    if (result != NULL) snprintf(told->detail[index], sizeof told->detail[index], "%.15s", result->detail);
}

/* A CheckMembershipResponse whose detail is the customer's id. */
static void answer_check(fake_peer *peer, uint32_t id, const char *customer) {
    Cohort__V1__CheckMembershipResponse message = COHORT__V1__CHECK_MEMBERSHIP_RESPONSE__INIT;
    message.membership = COHORT__V1__MEMBERSHIP__MEMBERSHIP_IN;
    message._member_case = COHORT__V1__CHECK_MEMBERSHIP_RESPONSE___MEMBER_MEMBER;
    message.member = true;
    message.detail = (char *)(uintptr_t)customer;
    uint8_t packed[128];
    peer_answer(peer, id, packed, cohort__v1__check_membership_response__pack(&message, packed));
}

static void requests_of(cohort_check_request *requests, char ids[][24], size_t count) {
    for (size_t i = 0; i < count; i++) {
        snprintf(ids[i], sizeof ids[i], "c%zu", i);
        requests[i] = (cohort_check_request){.customer_id = ids[i], .cohort_id = "RICH"};
    }
}

/* Keeps requests, and answers them last first when the client waits for more. */
typedef struct held {
    uint32_t ids[64];
    char customers[64][24];
    size_t count;
    size_t most;
} held;

static void hold_check(fake_peer *peer, const frame *frame) {
    held *held = peer->context;
    Ttrpc__V1__Request *request = peer_request(frame);
    Cohort__V1__CheckMembershipRequest *check =
        cohort__v1__check_membership_request__unpack(NULL, request->payload.len, request->payload.data);
    CHECK(check != NULL && held->count < 64);
    held->ids[held->count] = frame->stream_id;
    snprintf(held->customers[held->count], 24, "%.23s", check->customer_id);
    held->count += 1;
    if (held->count > held->most) held->most = held->count;
    cohort__v1__check_membership_request__free_unpacked(check, NULL);
    ttrpc__v1__request__free_unpacked(request, NULL);
}

static bool answer_held(fake_peer *peer) {
    held *held = peer->context;
    if (held->count == 0) return false;
    while (held->count > 0) {
        held->count -= 1;
        if (strcmp(held->customers[held->count], "c7") == 0) {
            peer_refuse(peer, held->ids[held->count], COHORT_UNAVAILABLE, "SEQUENCE_NOT_REACHED");
        } else {
            answer_check(peer, held->ids[held->count], held->customers[held->count]);
        }
    }
    return true;
}

static void batch_in_any_order(void) {
    for (size_t in_flight = 1; in_flight <= 64; in_flight++) {
        held held = {0};
        fake_peer peer = {.on_frame = hold_check, .on_idle = answer_held, .context = &held, .read_chunk = in_flight};
        cohort_options options;
        cohort_options_init(&options);
        options.max_in_flight = in_flight;
        cohort_connection *connection = fake_connection(&peer, false, &options);
        cohort_check_request requests[50];
        char ids[50][24];
        requests_of(requests, ids, 50);
        requests[20].cohort_id = NULL;
        told told = {0};
        cohort_error error;
        CHECK(cohort_check_batch(connection, requests, 50, NULL, note_answer, &told, &error) == COHORT_OK);
        for (size_t i = 0; i < 50; i++) {
            CHECK(told.count[i] == 1);
            CHECK(told.code[i] == (i == 7 ? COHORT_UNAVAILABLE : i == 20 ? COHORT_INVALID_ARGUMENT : COHORT_OK));
            if (told.code[i] == COHORT_OK) CHECK_TEXT(told.detail[i], ids[i]);
        }
        CHECK(told.total == 50 && peer.requests == 49);
        CHECK(held.most == (in_flight < 49 ? in_flight : 49));
        CHECK(cohort_check_batch(connection, NULL, 0, NULL, note_answer, &told, &error) == COHORT_OK);
        cohort_close(connection);
    }
}

/* Answers the first ten and no more. */
static void answer_ten(fake_peer *peer, const frame *frame) {
    if (frame->type != FRAME_REQUEST || frame->stream_id > 19) return;
    answer_check(peer, frame->stream_id, "x");
}

static void batch_deadline(void) {
    fake_peer peer = {.on_frame = answer_ten};
    cohort_options options;
    cohort_options_init(&options);
    options.max_in_flight = 15;
    cohort_connection *connection = fake_connection(&peer, true, &options);
    cohort_check_request requests[50];
    char ids[50][24];
    requests_of(requests, ids, 50);
    told told = {0};
    cohort_error error;
    cohort_call_options call_options = {.timeout_nanos = COHORT_SECOND};
    CHECK(cohort_check_batch(connection, requests, 50, &call_options, note_answer, &told, &error) ==
          COHORT_DEADLINE_EXCEEDED);
    for (size_t i = 0; i < 50; i++) {
        CHECK(told.count[i] == 1 && told.code[i] == (i < 10 ? COHORT_OK : COHORT_DEADLINE_EXCEEDED));
        /* 10 answered, 15 more were sent. */
        CHECK(told.not_processed[i] == (i >= 25));
    }
    peer_run(&peer);
    CHECK(peer.requests == 25 && peer.cancels == 15);
    /* The connection goes on. */
    peer.on_frame = peer_echo;
    char reply[32];
    CHECK(say(connection, "next", reply, sizeof reply, &error) == COHORT_OK);
    cohort_close(connection);
}

static void drain_after_five(fake_peer *peer, const frame *frame) {
    if (frame->type != FRAME_REQUEST) return;
    if (frame->stream_id <= 9) answer_check(peer, frame->stream_id, "x");
    if (frame->stream_id == 15) {
        uint8_t body[8] = {0, 0, 0, 11};
        peer_send(peer, 0, FRAME_GOAWAY, 0, body, sizeof body);
        answer_check(peer, 11, "x");
    }
}

static void batch_while_the_server_drains(void) {
    fake_peer peer = {.on_frame = drain_after_five};
    cohort_options options;
    cohort_options_init(&options);
    options.max_in_flight = 10;
    cohort_connection *connection = fake_connection(&peer, true, &options);
    cohort_check_request requests[50];
    char ids[50][24];
    requests_of(requests, ids, 50);
    told told = {0};
    cohort_error error;
    CHECK(cohort_check_batch(connection, requests, 50, NULL, note_answer, &told, &error) == COHORT_UNAVAILABLE);
    CHECK_TEXT(error.reason, COHORT_ERROR_GOING_AWAY);
    /* Ids 1 to 11 are calls 0 to 5: the last was answered after the GOAWAY. */
    for (size_t i = 0; i < 50; i++)
        CHECK(told.count[i] == 1 && told.code[i] == (i < 6 ? COHORT_OK : COHORT_UNAVAILABLE));
    for (size_t i = 6; i < 50; i++) CHECK(told.not_processed[i]);
    cohort_close(connection);
}

static void end_after_five(fake_peer *peer, const frame *frame) {
    if (frame->stream_id <= 9) answer_check(peer, frame->stream_id, "x");
    peer->has_ended = true;
}

static void batch_on_a_lost_connection(void) {
    fake_peer peer = {.on_frame = end_after_five};
    cohort_connection *connection = fake_connection(&peer, false, NULL);
    cohort_check_request requests[50];
    char ids[50][24];
    requests_of(requests, ids, 50);
    told told = {0};
    cohort_error error;
    CHECK(cohort_check_batch(connection, requests, 50, NULL, note_answer, &told, &error) == COHORT_UNAVAILABLE);
    for (size_t i = 0; i < 50; i++)
        CHECK(told.count[i] == 1 && told.code[i] == (i < 5 ? COHORT_OK : COHORT_UNAVAILABLE));
    CHECK(cohort_check_batch(connection, requests, 50, NULL, note_answer, &told, &error) == COHORT_UNAVAILABLE);
    for (size_t i = 0; i < 50; i++) CHECK(told.count[i] == 2 && told.not_processed[i]);
    cohort_close(connection);
}

static void answer_no_check(fake_peer *peer, const frame *frame) {
    peer_answer(peer, frame->stream_id, "\x08\xFF", 2);
}

static void malformed_payloads(void) {
    fake_peer peer = {.on_frame = answer_no_check};
    cohort_connection *connection = fake_connection(&peer, false, NULL);
    cohort_check_request request = {.customer_id = "a", .cohort_id = "B"};
    cohort_check_result result;
    cohort_customer_cohorts *cohorts;
    cohort_member_count count;
    cohort_error error;
    CHECK(cohort_check(connection, &request, NULL, &result, &error) == COHORT_INTERNAL);
    CHECK_TEXT(error.reason, COHORT_ERROR_MALFORMED_RESPONSE);
    CHECK(cohort_list_customer_cohorts(connection, "a", 0, NULL, &cohorts, &error) == COHORT_INTERNAL);
    CHECK(cohorts == NULL);
    CHECK(cohort_count_members(connection, "B", 0, NULL, &count, &error) == COHORT_INTERNAL);
    told told = {0};
    CHECK(cohort_check_batch(connection, &request, 1, NULL, note_answer, &told, &error) == COHORT_OK);
    CHECK(told.count[0] == 1 && told.code[0] == COHORT_INTERNAL);
    cohort_close(connection);
}

static void call_from_inside(void *context, size_t index, const cohort_check_result *result,
                             const cohort_error *error) {
    (void)index, (void)result, (void)error;
    told *told = context;
    char reply[32];
    cohort_error refusal;
    CHECK(say(told->connection, "x", reply, sizeof reply, &refusal) == COHORT_FAILED_PRECONDITION);
    CHECK_TEXT(refusal.reason, COHORT_ERROR_REENTRANT_CALL);
    CHECK(cohort_connection_is_usable(told->connection));
    cohort_close(told->connection);
    told->total += 1;
}

static void no_calls_from_callbacks(void) {
    fake_peer peer = {.on_frame = answer_ten};
    cohort_connection *connection = fake_connection(&peer, false, NULL);
    cohort_check_request request = {.customer_id = "a", .cohort_id = "B"};
    told told = {.connection = connection};
    CHECK(cohort_check_batch(connection, &request, 1, NULL, call_from_inside, &told, NULL) == COHORT_OK);
    CHECK(told.total == 1);
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
    RUN(batch_in_any_order);
    RUN(batch_deadline);
    RUN(batch_while_the_server_drains);
    RUN(batch_on_a_lost_connection);
    RUN(malformed_payloads);
    RUN(no_calls_from_callbacks);
    RUN(wrong_arguments);
    stream_tests();
    fuzz_tests();
    return 0;
}
