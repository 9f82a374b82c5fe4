/* A server that says anything: whatever comes, every call ends, once, and nothing is read that is not there. The
   sanitizers watch. The seed is fixed; LIBCOHORT_FUZZ_RUNS sets how many connections are tried. */
#include "fake_peer.h"
#include "test.h"

void fuzz_tests(void);

typedef struct liar {
    uint64_t state;
    int frames_left;
    size_t told;
} liar;

static uint64_t below(liar *liar, uint64_t limit) { return next_random(&liar->state) % limit; }

static const uint8_t types[] = {
    FRAME_RESPONSE, FRAME_RESPONSE, FRAME_RESPONSE, FRAME_DATA, FRAME_DATA,   FRAME_DATA, FRAME_REQUEST,
    FRAME_PING,     FRAME_PONG,     FRAME_CANCEL,   FRAME_GOAWAY, FRAME_WINDOW, 99,
};

/* A body that is mostly well: an answer, a page, a window. Then bytes of it are changed. */
static size_t make_body(liar *liar, uint8_t *body, size_t room) {
    static const uint8_t samples[][24] = {
        {0x12, 0x06, 0x08, 0x01, 0x10, 0x01, 0x18, 0x01},                         /* Response{payload: a check} */
        {0x0A, 0x04, 0x08, 0x05, 0x12, 0x00},                                     /* Response{status NOT_FOUND} */
        {0x0A, 0x08, 0x08, 0x0E, 0x1A, 0x04, 0x0A, 0x02, 'x', '/'},               /* status with a detail */
        {0x0A, 0x02, 'm', '1', 0x0A, 0x02, 'm', '2', 0x10, 0x07, 0x1A, 0x01, 'c'}, /* a page of members */
        {0, 0, 0, 5, 0, 1, 0, 0},                                                 /* WINDOW */
        {0},
    };
    static const size_t sizes[] = {8, 6, 10, 13, 8, 0};
    size_t which = below(liar, 6);
    size_t size = sizes[which];
    memcpy(body, samples[which], size);
    if (below(liar, 4) == 0) size = below(liar, room);
    for (uint64_t changes = below(liar, 3); size > 0 && changes > 0; changes--)
        body[below(liar, size)] = (uint8_t)next_random(&liar->state);
    return size;
}

static void lie(fake_peer *peer) {
    liar *liar = peer->context;
    uint8_t body[128] = {0};
    size_t size = make_body(liar, body, sizeof body);
    uint32_t id = (uint32_t)below(liar, 20) == 0 ? (uint32_t)next_random(&liar->state) : (uint32_t)below(liar, 24) | 1;
    uint8_t type = types[below(liar, sizeof types)];
    if (type >= FRAME_PING) id = 0;
    uint8_t header[FRAME_HEADER_BYTES];
    size_t length = below(liar, 50) == 0 ? below(liar, 5000) : size;
    frame_write_header(header, length, id, type, (uint8_t)below(liar, 8));
    if (below(liar, 100) == 0) header[below(liar, sizeof header)] = (uint8_t)next_random(&liar->state);
    CHECK(bytes_append(&peer->to_client, header, sizeof header) && bytes_append(&peer->to_client, body, size));
    peer->read_chunk = 1 + below(liar, 60);
}

static bool lie_when_idle(fake_peer *peer) {
    liar *liar = peer->context;
    peer->now += (int64_t)below(liar, 3) * COHORT_MILLISECOND;
    if (liar->frames_left == 0) {
        peer->has_ended = below(liar, 2) == 0;
        return peer->has_ended;
    }
    liar->frames_left -= 1;
    lie(peer);
    return true;
}

static void count_answer(void *context, size_t index, const cohort_check_result *result, const cohort_error *error) {
    (void)index;
    CHECK((result == NULL) != (error == NULL));
    if (result != NULL) CHECK(memchr(result->detail, 0, sizeof result->detail) != NULL);
    ((liar *)context)->told += 1;
}

static bool any_page(void *context, const cohort_members_page *page) {
    size_t sum = 0;
    for (size_t i = 0; i < page->count; i++) sum += strlen(page->customer_ids[i]);
    CHECK(sum < 10000);
    return below(context, 4) != 0;
}

static void use_stream(liar *liar, cohort_stream *stream) {
    for (uint64_t turns = below(liar, 6); turns > 0; turns--) {
        cohort_message *message = NULL;
        switch (below(liar, 3)) {
            case 0:
                (void)cohort_stream_send(stream, "message", 7, NULL);
                break;
            case 1:
                (void)cohort_stream_close_send(stream, NULL);
                break;
            default:
                (void)cohort_stream_receive(stream, &message, NULL);
                cohort_message_free(message);
        }
    }
}

static void one_connection(liar *liar) {
    fake_peer peer = {.on_idle = lie_when_idle, .context = liar, .write_chunk = 1 + below(liar, 200)};
    cohort_options options;
    cohort_options_init(&options);
    options.max_message_bytes = 1024;
    options.max_buffered_bytes = 2048;
    options.max_in_flight = 1 + below(liar, 8);
    liar->frames_left = 30;
    cohort_connection *connection = fake_connection(&peer, below(liar, 2) == 0, &options);
    cohort_call_options call = {.timeout_nanos = COHORT_SECOND};
    cohort_stream *streams[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        cohort_stream_kind kind = (cohort_stream_kind)below(liar, 3);
        (void)cohort_stream_open(connection, kind, "s.S", "M", NULL, 0, &call, &streams[i], NULL);
    }
    cohort_check_request requests[10];
    for (int i = 0; i < 10; i++)
        requests[i] = (cohort_check_request){.customer_id = "someone", .cohort_id = "SOME"};
    for (uint64_t turns = 1 + below(liar, 5); turns > 0; turns--) {
        switch (below(liar, 6)) {
            case 0: {
                liar->told = 0;
                (void)cohort_check_batch(connection, requests, 10, &call, count_answer, liar, NULL);
                CHECK(liar->told == 10);
                break;
            }
            case 1: {
                cohort_check_result result;
                (void)cohort_check(connection, &requests[0], &call, &result, NULL);
                break;
            }
            case 2: {
                cohort_members_request request = {.cohort_id = "SOME"};
                (void)cohort_list_members(connection, &request, &call, any_page, liar, NULL);
                break;
            }
            case 3: {
                cohort_customer_cohorts *cohorts;
                (void)cohort_list_customer_cohorts(connection, "x", 0, &call, &cohorts, NULL);
                cohort_customer_cohorts_free(cohorts);
                break;
            }
            case 4:
                (void)cohort_ping(connection, COHORT_SECOND, NULL);
                break;
            default:
                if (streams[turns % 2] != NULL) use_stream(liar, streams[turns % 2]);
        }
    }
    CHECK(connection->decoder.buffer.capacity <= 1 << 20);
    size_t kept = connection->max_buffered_bytes + 2 * (sizeof(cohort_message) + 1024);
    CHECK(connection->buffered_bytes <= kept);
    if (below(liar, 2) == 0) cohort_stream_free(streams[0]), streams[0] = NULL;
    cohort_close(connection);
    cohort_stream_free(streams[0]);
    cohort_stream_free(streams[1]);
}

static void a_server_that_says_anything(void) {
    for (long run = 0; run < fuzz_runs(20000); run++) {
        liar liar = {.state = UINT64_C(0xC0407) + (uint64_t)run};
        one_connection(&liar);
    }
}

void fuzz_tests(void) { RUN(a_server_that_says_anything); }
