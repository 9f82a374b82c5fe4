/* Batches of checks, against a scripted server. */
#include "cohort/v1/membership.pb-c.h"
#include "fake_peer.h"
#include "test.h"

void batch_tests(void);

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

void batch_tests(void) {
    RUN(batch_in_any_order);
    RUN(batch_deadline);
    RUN(batch_while_the_server_drains);
    RUN(batch_on_a_lost_connection);
    RUN(malformed_payloads);
    RUN(no_calls_from_callbacks);
}
