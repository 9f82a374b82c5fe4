/* Calls with streams, against a scripted server. */
#include "cohort/v1/membership.pb-c.h"
#include "fake_peer.h"
#include "test.h"

void stream_tests(void);

static cohort_stream *open_stream(cohort_connection *connection, cohort_stream_kind kind, int64_t timeout) {
    cohort_call_options options = {.timeout_nanos = timeout};
    cohort_stream *stream;
    cohort_error error;
    const char *payload = kind == COHORT_SERVER_STREAM ? "go" : NULL;
    CHECK(cohort_stream_open(connection, kind, "s.S", "M", payload, payload == NULL ? 0 : 2, &options, &stream,
                             &error) == COHORT_OK);
    return stream;
}

/* Receives a message that must be this; NULL is the end. */
static void expect(cohort_stream *stream, const char *expected) {
    cohort_message *message;
    cohort_error error;
    cohort_code code = cohort_stream_receive(stream, &message, &error);
    if (code != COHORT_OK) fprintf(stderr, "%s %s\n", error.reason, error.message);
    CHECK(code == COHORT_OK && (message == NULL) == (expected == NULL));
    if (message == NULL) return;
    CHECK(cohort_message_size(message) == strlen(expected));
    CHECK(memcmp(cohort_message_data(message), expected, strlen(expected)) == 0);
    cohort_message_free(message);
}

static void expect_failure(cohort_stream *stream, cohort_code expected, const char *reason) {
    cohort_message *message;
    cohort_error error;
    CHECK(cohort_stream_receive(stream, &message, &error) == expected && message == NULL);
    CHECK_TEXT(error.reason, reason);
}

/* ------------------------------------------------------------------ server streams */

static void stream_three(fake_peer *peer, const frame *frame) {
    if (frame->type != FRAME_REQUEST) return;
    CHECK(frame->flags == FRAME_REMOTE_CLOSED);
    uint32_t id = frame->stream_id;
    peer_send(peer, id, FRAME_DATA, 0, "one", 3);
    peer_send(peer, id, FRAME_DATA, 0, "", 0); /* an empty message */
    switch (peer->step) {
        case 0: /* ended by an empty frame, as here and in Go */
            peer_send(peer, id, FRAME_DATA, 0, "three", 5);
            peer_send(peer, id, FRAME_DATA, FRAME_REMOTE_CLOSED | FRAME_NO_DATA, NULL, 0);
            break;
        case 1: /* ended by the last message */
            peer_send(peer, id, FRAME_DATA, FRAME_REMOTE_CLOSED, "three", 5);
            break;
        case 2: /* ended by a Response that has no payload */
            peer_send(peer, id, FRAME_DATA, 0, "three", 5);
            peer_send(peer, id, FRAME_RESPONSE, 0, NULL, 0);
            break;
        default: /* ended by an error */
            peer_send(peer, id, FRAME_DATA, 0, "three", 5);
            peer_refuse(peer, id, COHORT_DATA_LOSS, "LOST");
    }
}

static void server_streams(void) {
    for (int step = 0; step < 8; step++) {
        fake_peer peer = {.on_frame = stream_three, .step = step % 4, .read_chunk = step < 4 ? SIZE_MAX : 1};
        cohort_connection *connection = fake_connection(&peer, step % 2 == 0, NULL);
        cohort_stream *stream = open_stream(connection, COHORT_SERVER_STREAM, 0);
        expect(stream, "one");
        expect(stream, "");
        expect(stream, "three");
        for (int again = 0; again < 2; again++) {
            if (step % 4 == 3) {
                expect_failure(stream, COHORT_DATA_LOSS, "LOST");
            } else {
                expect(stream, NULL);
            }
        }
        cohort_error error;
        CHECK(cohort_stream_send(stream, "x", 1, &error) != COHORT_OK);
        cohort_stream_free(stream);
        peer_run(&peer);
        CHECK(peer.cancels == 0 && connection->buffered_bytes == 0 && connection->call_count == 0);
        cohort_close(connection);
    }
}

/* ------------------------------------------------------------------ streams of the client */

/* Answers when the client closes: the messages, joined. */
static void join(fake_peer *peer, const frame *frame) {
    char *text = peer->context;
    if (frame->type == FRAME_REQUEST) {
        CHECK(frame->flags == (FRAME_REMOTE_OPEN | FRAME_NO_DATA));
        Ttrpc__V1__Request *request = peer_request(frame);
        CHECK(request->payload.len == 0);
        ttrpc__v1__request__free_unpacked(request, NULL);
    }
    if (frame->type != FRAME_DATA) return;
    if ((frame->flags & FRAME_NO_DATA) == 0) {
        snprintf(text + strlen(text), 64 - strlen(text), "[%.*s]", (int)frame->length, (const char *)frame->body);
    }
    if ((frame->flags & FRAME_REMOTE_CLOSED) != 0) peer_answer(peer, frame->stream_id, text, strlen(text));
}

static void client_streams(void) {
    for (size_t chunk = 1; chunk < 30; chunk += 7) {
        char text[64] = "";
        fake_peer peer = {.on_frame = join, .context = text, .write_chunk = chunk};
        cohort_connection *connection = fake_connection(&peer, chunk % 2 == 0, NULL);
        cohort_stream *stream = open_stream(connection, COHORT_CLIENT_STREAM, 0);
        CHECK(cohort_stream_send(stream, "a", 1, NULL) == COHORT_OK);
        CHECK(cohort_stream_send(stream, NULL, 0, NULL) == COHORT_OK);
        CHECK(cohort_stream_send(stream, "bc", 2, NULL) == COHORT_OK);
        CHECK(cohort_stream_close_send(stream, NULL) == COHORT_OK);
        CHECK(cohort_stream_close_send(stream, NULL) == COHORT_OK);
        cohort_error error;
        CHECK(cohort_stream_send(stream, "d", 1, &error) == COHORT_FAILED_PRECONDITION);
        CHECK_TEXT(error.reason, COHORT_ERROR_STREAM_ENDED);
        expect(stream, "[a][][bc]");
        expect(stream, NULL);
        cohort_stream_free(stream);
        cohort_close(connection);
    }
}

static void stream_back(fake_peer *peer, const frame *frame) {
    if (frame->type != FRAME_DATA) return;
    if ((frame->flags & FRAME_REMOTE_CLOSED) != 0)
        return peer_send(peer, frame->stream_id, FRAME_DATA, FRAME_REMOTE_CLOSED | FRAME_NO_DATA, NULL, 0);
    if (frame->length == 4 && memcmp(frame->body, "fail", 4) == 0)
        return peer_refuse(peer, frame->stream_id, COHORT_ABORTED, "ASKED_TO");
    peer_send(peer, frame->stream_id, FRAME_DATA, 0, frame->body, frame->length);
}

static void bidirectional(void) {
    fake_peer peer = {.on_frame = stream_back, .read_chunk = 3};
    cohort_connection *connection = fake_connection(&peer, true, NULL);
    cohort_stream *first = open_stream(connection, COHORT_BIDIRECTIONAL, 0);
    cohort_stream *second = open_stream(connection, COHORT_BIDIRECTIONAL, 0);
    CHECK(cohort_stream_send(first, "1a", 2, NULL) == COHORT_OK);
    CHECK(cohort_stream_send(second, "2a", 2, NULL) == COHORT_OK);
    CHECK(cohort_stream_send(first, "1b", 2, NULL) == COHORT_OK);
    expect(second, "2a");
    expect(first, "1a");
    expect(first, "1b");
    CHECK(cohort_stream_send(second, "fail", 4, NULL) == COHORT_OK);
    CHECK(cohort_stream_close_send(first, NULL) == COHORT_OK);
    expect(first, NULL);
    expect_failure(second, COHORT_ABORTED, "ASKED_TO");
    cohort_error error;
    CHECK(cohort_stream_send(second, "x", 1, &error) == COHORT_ABORTED);
    cohort_stream_free(second);
    cohort_stream_free(first);
    cohort_close(connection);
}

/* ------------------------------------------------------------------ flow control */

static bool grant_some(fake_peer *peer) {
    if (peer->step == 0) return false;
    peer->step -= 1;
    uint8_t body[8] = {0, 0, 0, 1, 0, 1, 0, 0}; /* 65,536 bytes on stream 1 */
    peer_send(peer, 0, FRAME_WINDOW, 0, body, sizeof body);
    return true;
}

static void count_data(fake_peer *peer, const frame *frame) {
    if (frame->type == FRAME_DATA) *(size_t *)peer->context += frame->length;
}

static void sender_waits_for_the_window(void) {
    static uint8_t block[INITIAL_WINDOW];
    size_t received = 0;
    fake_peer peer = {.on_frame = count_data, .on_idle = grant_some, .context = &received};
    cohort_connection *connection = fake_connection(&peer, true, NULL);
    cohort_stream *stream = open_stream(connection, COHORT_CLIENT_STREAM, COHORT_SECOND);
    CHECK(cohort_stream_send(stream, block, sizeof block - 1, NULL) == COHORT_OK);
    /* The last byte of the window lets a whole message pass. */
    CHECK(cohort_stream_send(stream, block, 65536, NULL) == COHORT_OK);
    peer_run(&peer);
    CHECK(received == sizeof block - 1 + 65536);
    /* 65,535 too much: one WINDOW makes it 1 again. */
    peer.step = 1;
    CHECK(cohort_stream_send(stream, block, 1, NULL) == COHORT_OK);
    CHECK(peer.step == 0);
    /* Empty messages cost nothing. */
    CHECK(cohort_stream_send(stream, NULL, 0, NULL) == COHORT_OK);
    cohort_error error;
    CHECK(cohort_stream_send(stream, block, 1, &error) == COHORT_DEADLINE_EXCEEDED);
    peer_run(&peer);
    CHECK(received == sizeof block + 65536 && peer.cancels == 1);
    expect_failure(stream, COHORT_DEADLINE_EXCEEDED, COHORT_ERROR_TIMED_OUT);
    cohort_stream_free(stream);
    cohort_close(connection);
}

static void stock_senders_do_not_wait(void) {
    static uint8_t block[INITIAL_WINDOW];
    size_t received = 0;
    fake_peer peer = {.on_frame = count_data, .context = &received, .write_chunk = 10000};
    cohort_connection *connection = fake_connection(&peer, false, NULL);
    cohort_stream *stream = open_stream(connection, COHORT_CLIENT_STREAM, 0);
    for (int i = 0; i < 10; i++) CHECK(cohort_stream_send(stream, block, sizeof block, NULL) == COHORT_OK);
    peer_run(&peer);
    CHECK(received == 10 * sizeof block);
    cohort_stream_free(stream);
    cohort_close(connection);
}

/* Sends 16 KiB messages while the window lets it. */
static bool send_in_window(fake_peer *peer) {
    static uint8_t block[16 << 10];
    size_t *sent = peer->context;
    if (peer->requests == 0 || *sent >= INITIAL_WINDOW + peer->granted) return false;
    *sent += sizeof block;
    peer_send(peer, 1, FRAME_DATA, 0, block, sizeof block);
    return true;
}

static void receiver_grants_what_was_taken(void) {
    size_t sent = 0;
    fake_peer peer = {.on_idle = send_in_window, .context = &sent};
    cohort_connection *connection = fake_connection(&peer, true, NULL);
    cohort_stream *stream = open_stream(connection, COHORT_SERVER_STREAM, 0);
    size_t taken = 0;
    for (int i = 0; i < 1000; i++) {
        cohort_message *message;
        CHECK(cohort_stream_receive(stream, &message, NULL) == COHORT_OK);
        taken += cohort_message_size(message);
        cohort_message_free(message);
    }
    peer_run(&peer);
    CHECK(taken == 1000u * 16384 && peer.granted + INITIAL_WINDOW > taken);
    CHECK(peer.granted <= taken && peer.windows <= 1000 / 8);
    cohort_stream_free(stream);
    peer_run(&peer);
    CHECK(peer.cancels == 1);
    cohort_close(connection);
}

/* Floods stream 1 without end when anything is asked on stream 3. */
static void flood(fake_peer *peer, const frame *frame) {
    static uint8_t block[1 << 20];
    if (frame->type != FRAME_REQUEST || frame->stream_id == 1) return;
    for (int i = 0; i < 32; i++) peer_send(peer, 1, FRAME_DATA, 0, block, sizeof block);
    peer_echo(peer, frame);
}

static void what_is_not_received_is_bounded(void) {
    for (int is_extended = 0; is_extended < 2; is_extended++) {
        fake_peer peer = {.on_frame = flood};
        cohort_connection *connection = fake_connection(&peer, is_extended, NULL);
        cohort_stream *stream = open_stream(connection, COHORT_SERVER_STREAM, 0);
        cohort_message *reply;
        CHECK(cohort_call(connection, "s.S", "M", "hi", 2, NULL, &reply, NULL) == COHORT_OK);
        cohort_message_free(reply);
        size_t limit = is_extended ? INITIAL_WINDOW + (5u << 20) : connection->max_buffered_bytes;
        CHECK(connection->buffered_bytes <= limit && connection->buffered_bytes > limit / 2);
        /* What came before is still there. */
        cohort_message *message;
        CHECK(cohort_stream_receive(stream, &message, NULL) == COHORT_OK && message != NULL);
        cohort_message_free(message);
        cohort_error error;
        while (cohort_stream_receive(stream, &message, &error) == COHORT_OK) cohort_message_free(message);
        CHECK_TEXT(error.reason, is_extended ? COHORT_ERROR_PROTOCOL_ERROR : COHORT_ERROR_RECEIVE_BUFFER_FULL);
        CHECK(connection->buffered_bytes == 0);
        cohort_stream_free(stream);
        peer_run(&peer);
        CHECK(peer.cancels == (size_t)is_extended);
        cohort_close(connection);
    }
}

/* ------------------------------------------------------------------ ends */

static void ends(void) {
    fake_peer peer = {.on_frame = NULL};
    cohort_connection *connection = fake_connection(&peer, true, NULL);
    cohort_stream *first = open_stream(connection, COHORT_BIDIRECTIONAL, COHORT_SECOND);
    cohort_stream *second = open_stream(connection, COHORT_BIDIRECTIONAL, COHORT_NO_TIMEOUT);
    cohort_stream *third = open_stream(connection, COHORT_SERVER_STREAM, COHORT_SECOND);
    expect_failure(first, COHORT_DEADLINE_EXCEEDED, COHORT_ERROR_TIMED_OUT);
    /* Late messages for it are dropped. */
    peer_send(&peer, 1, FRAME_DATA, 0, "late", 4);
    peer_send(&peer, 3, FRAME_DATA, 0, "here", 4);
    expect(second, "here");
    expect_failure(first, COHORT_DEADLINE_EXCEEDED, COHORT_ERROR_TIMED_OUT);
    cohort_stream_free(first);
    /* The deadline of the third passed while the first was waited for. */
    peer_send(&peer, 5, FRAME_DATA, 0, "late", 4);
    expect_failure(third, COHORT_DEADLINE_EXCEEDED, COHORT_ERROR_TIMED_OUT);
    peer_send(&peer, 3, FRAME_DATA, 0, "kept", 4);
    peer_send(&peer, 3, FRAME_DATA, 0, "kept too", 8);
    expect(second, "kept");
    cohort_close(connection);
    /* Streams outlive the connection. */
    expect(second, "kept too");
    expect_failure(second, COHORT_CANCELLED, COHORT_ERROR_CONNECTION_LOST);
    cohort_error error;
    CHECK(cohort_stream_send(second, "x", 1, &error) == COHORT_CANCELLED);
    CHECK(cohort_stream_close_send(second, &error) == COHORT_CANCELLED);
    cohort_stream_free(third);
    cohort_stream_free(second);
    cohort_stream_free(NULL);
}

/* A stream that never stops does not outlast its deadline. */
static bool send_for_ever(fake_peer *peer) {
    peer->now += COHORT_MILLISECOND;
    peer_send(peer, 1, FRAME_DATA, 0, "more", 4);
    return true;
}

static void deadline_of_an_endless_stream(void) {
    fake_peer peer = {.on_idle = send_for_ever};
    cohort_connection *connection = fake_connection(&peer, false, NULL);
    cohort_stream *stream = open_stream(connection, COHORT_SERVER_STREAM, COHORT_SECOND);
    int count = 0;
    cohort_message *message;
    cohort_error error;
    while (cohort_stream_receive(stream, &message, &error) == COHORT_OK) {
        cohort_message_free(message);
        count += 1;
    }
    CHECK(error.code == COHORT_DEADLINE_EXCEEDED && count > 900 && count < 1000);
    cohort_stream_free(stream);
    cohort_close(connection);
}

/* ------------------------------------------------------------------ members */

static void send_pages(fake_peer *peer, const frame *frame) {
    if (frame->type != FRAME_REQUEST) return;
    for (int page = 0; page < 3; page++) {
        Cohort__V1__ListMembersResponse message = COHORT__V1__LIST_MEMBERS_RESPONSE__INIT;
        char first[16], second[16];
        snprintf(first, sizeof first, "m%d", 2 * page);
        snprintf(second, sizeof second, "m%d", 2 * page + 1);
        message.n_customer_ids = 2;
        message.customer_ids = (char *[]){first, second};
        message.sequence = 9;
        message.cursor.data = (uint8_t *)first;
        message.cursor.len = 2;
        uint8_t packed[128];
        size_t size = cohort__v1__list_members_response__pack(&message, packed);
        peer_send(peer, frame->stream_id, FRAME_DATA, 0, packed, size);
    }
    if (peer->step == 1) return peer_send(peer, frame->stream_id, FRAME_DATA, 0, "\xFF", 1);
    peer_send(peer, frame->stream_id, FRAME_DATA, FRAME_REMOTE_CLOSED | FRAME_NO_DATA, NULL, 0);
}

typedef struct pages {
    int count;
    int wanted;
} pages;

static bool note_page(void *context, const cohort_members_page *page) {
    pages *pages = context;
    char expected[16];
    snprintf(expected, sizeof expected, "m%d", 2 * pages->count);
    CHECK(page->count == 2 && page->sequence == 9 && page->cursor_size == 2);
    CHECK_TEXT(page->customer_ids[0], expected);
    CHECK(memcmp(page->cursor, expected, 2) == 0);
    pages->count += 1;
    return pages->count < pages->wanted;
}

static void members(void) {
    for (int wanted = 1; wanted <= 4; wanted++) {
        fake_peer peer = {.on_frame = send_pages, .read_chunk = 30};
        cohort_connection *connection = fake_connection(&peer, true, NULL);
        cohort_members_request request = {.cohort_id = "RICH"};
        pages pages = {.wanted = wanted};
        cohort_error error;
        CHECK(cohort_list_members(connection, &request, NULL, note_page, &pages, &error) == COHORT_OK);
        CHECK(pages.count == (wanted < 3 ? wanted : 3));
        peer_run(&peer);
        CHECK(wanted >= 3 || peer.cancels == 1);
        peer.step = 1;
        pages = (struct pages){.wanted = 9};
        CHECK(cohort_list_members(connection, &request, NULL, note_page, &pages, &error) == COHORT_INTERNAL);
        CHECK_TEXT(error.reason, COHORT_ERROR_MALFORMED_RESPONSE);
        CHECK(pages.count == 3 && connection->streams == NULL);
        cohort_close(connection);
    }
}

void stream_tests(void) {
    RUN(server_streams);
    RUN(client_streams);
    RUN(bidirectional);
    RUN(sender_waits_for_the_window);
    RUN(stock_senders_do_not_wait);
    RUN(receiver_grants_what_was_taken);
    RUN(what_is_not_received_is_bounded);
    RUN(ends);
    RUN(deadline_of_an_endless_stream);
    RUN(members);
}
