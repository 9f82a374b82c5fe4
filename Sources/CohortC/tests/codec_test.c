/* Frames and envelopes, from raw bytes. */
#include "envelope.h"
#include "error.h"
#include "frame.h"
#include "google/rpc/error_details.pb-c.h"
#include "test.h"

static void feed(frame_decoder *decoder, const void *data, size_t size) {
    size_t room;
    uint8_t *target = frame_decoder_reserve(decoder, size, &room);
    CHECK(target != NULL && room >= size);
    if (size > 0) memcpy(target, data, size);
    frame_decoder_commit(decoder, size);
}

/* ------------------------------------------------------------------ frames */

static void header_bytes(void) {
    bytes out = {0};
    CHECK(frame_append(&out, 0x01020305, FRAME_DATA, FRAME_REMOTE_CLOSED | FRAME_NO_DATA, "abc", 3));
    static const uint8_t expected[] = {0, 0, 0, 3, 1, 2, 3, 5, 3, 5, 'a', 'b', 'c'};
    CHECK(bytes_count(&out) == sizeof expected && memcmp(bytes_first(&out), expected, sizeof expected) == 0);
    bytes_free(&out);
}

/* Three frames, one of them empty and one oversize, with the body limit at 16. */
static const uint8_t three_frames[] = {
    0, 0, 0, 5,  0, 0, 0, 1, 2, 0, 'h', 'e', 'l', 'l', 'o',                               /* a Response */
    0, 0, 0, 0,  0, 0, 0, 3, 3, 5,                                                        /* an empty Data */
    0, 0, 0, 17, 0, 0, 0, 5, 3, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, /* too large */
    0, 0, 0, 1,  0, 0, 0, 7, 9, 0, 'x',                                                   /* an unknown type */
};

typedef struct seen {
    int count;
} seen;

static void take_all(frame_decoder *decoder, seen *seen) {
    for (;;) {
        frame frame;
        decoder_step step = frame_decoder_next(decoder, &frame);
        if (step == DECODER_NEEDS_MORE) return;
        switch (seen->count++) {
            case 0:
                CHECK(step == DECODER_FRAME && frame.stream_id == 1 && frame.type == FRAME_RESPONSE);
                CHECK(frame.flags == 0 && frame.length == 5 && memcmp(frame.body, "hello", 5) == 0);
                break;
            case 1:
                CHECK(step == DECODER_FRAME && frame.stream_id == 3 && frame.type == FRAME_DATA);
                CHECK(frame.flags == 5 && frame.length == 0);
                break;
            case 2:
                CHECK(step == DECODER_OVERSIZE && frame.stream_id == 5 && frame.type == FRAME_DATA);
                CHECK(frame.flags == 1 && frame.length == 17 && frame.body == NULL);
                break;
            case 3:
                CHECK(step == DECODER_FRAME && frame.stream_id == 7 && frame.type == 9 && frame.body[0] == 'x');
                break;
            default:
                CHECK(!"too many frames");
        }
    }
}

static void split_anywhere(void) {
    /* Also at 0 and at the end: all at once. */
    for (size_t first = 0; first <= sizeof three_frames; first++) {
        for (size_t second = first; second <= sizeof three_frames; second++) {
            frame_decoder decoder;
            frame_decoder_init(&decoder, 16);
            seen seen = {0};
            feed(&decoder, three_frames, first);
            take_all(&decoder, &seen);
            feed(&decoder, three_frames + first, second - first);
            take_all(&decoder, &seen);
            feed(&decoder, three_frames + second, sizeof three_frames - second);
            take_all(&decoder, &seen);
            CHECK(seen.count == 4);
            frame_decoder_free(&decoder);
        }
    }
}

static void drip_feed(void) {
    frame_decoder decoder;
    frame_decoder_init(&decoder, 16);
    seen seen = {0};
    for (size_t i = 0; i < sizeof three_frames; i++) {
        feed(&decoder, three_frames + i, 1);
        take_all(&decoder, &seen);
    }
    CHECK(seen.count == 4);
    frame_decoder_free(&decoder);
}

static void oversize_is_not_kept(void) {
    frame_decoder decoder;
    frame_decoder_init(&decoder, FRAME_MAX_BODY);
    uint8_t header[FRAME_HEADER_BYTES];
    frame_write_header(header, 100u << 20, 1, FRAME_RESPONSE, 0);
    feed(&decoder, header, sizeof header);
    static uint8_t zeros[1 << 16];
    frame frame;
    for (size_t left = 100u << 20; left > 0; left -= sizeof zeros) {
        CHECK(frame_decoder_next(&decoder, &frame) == DECODER_NEEDS_MORE);
        feed(&decoder, zeros, sizeof zeros);
        CHECK(decoder.buffer.capacity < 1 << 20);
    }
    CHECK(frame_decoder_next(&decoder, &frame) == DECODER_OVERSIZE && frame.length == 100u << 20);
    feed(&decoder, three_frames, 15);
    CHECK(frame_decoder_next(&decoder, &frame) == DECODER_FRAME && frame.length == 5);
    frame_decoder_free(&decoder);
}

static decoder_step first_step(const void *data, size_t size) {
    frame_decoder decoder;
    frame_decoder_init(&decoder, FRAME_MAX_BODY);
    feed(&decoder, data, size);
    frame frame;
    decoder_step step = frame_decoder_next(&decoder, &frame);
    frame_decoder_free(&decoder);
    return step;
}

static void garbage(void) {
    CHECK(first_step("H", 1) == DECODER_GARBAGE);
    CHECK(first_step("HTTP/1.1 400 Bad Request", 24) == DECODER_GARBAGE);
    CHECK(first_step("\x15\x03\x01\x00\x02\x02\x28\0\0\0", 10) == DECODER_GARBAGE);
    /* 16 MiB, but well-formed otherwise: skipped, as another peer's limit may be larger. */
    CHECK(first_step("\x01\x00\x00\x00\x00\x00\x00\x01\x02\x00", 10) == DECODER_NEEDS_MORE);
    CHECK(first_step("\x00\x00\x00\x00\x00\x00\x00\x01\x02", 9) == DECODER_NEEDS_MORE);
}

static void fuzz_decoder(void) {
    uint64_t state = 20260101;
    for (long run = 0; run < fuzz_runs(20000); run++) {
        frame_decoder decoder;
        frame_decoder_init(&decoder, 64);
        for (int piece = 0; piece < 20; piece++) {
            uint8_t random[40];
            size_t size = next_random(&state) % sizeof random;
            /* Small numbers make headers that are believed. */
            for (size_t i = 0; i < size; i++)
                random[i] = (uint8_t)(next_random(&state) % 4 == 0 ? next_random(&state) % 80 : 0);
            feed(&decoder, random, size);
            frame frame;
            decoder_step step;
            unsigned sum = 0;
            while ((step = frame_decoder_next(&decoder, &frame)) == DECODER_FRAME || step == DECODER_OVERSIZE) {
                CHECK((frame.length <= 64) == (step == DECODER_FRAME));
                for (size_t i = 0; frame.body != NULL && i < frame.length; i++) sum += frame.body[i];
            }
            CHECK(sum < UINT32_MAX && decoder.buffer.capacity <= 4096);
            if (step == DECODER_GARBAGE) break;
        }
        frame_decoder_free(&decoder);
    }
}

/* ------------------------------------------------------------------ envelopes */

static void request_bytes(void) {
    envelope_request request;
    cohort_metadata first[] = {{"a", "1"}};
    cohort_metadata second[] = {{"a", "2"}};
    CHECK(envelope_request_init(&request, "s.S", "M", first, 1, second, 1));
    bytes out = {0};
    CHECK(envelope_append_request(&out, &request, 3, FRAME_REMOTE_CLOSED, "pp", 2, 300));
    static const uint8_t expected[] = {
        0, 0, 0, 31, 0, 0, 0, 3, 1, 1, /* Request on stream 3, remote-closed */
        0x0A, 3, 's', '.', 'S', 0x12, 1, 'M', 0x1A, 2, 'p', 'p', 0x20, 0xAC, 0x02, /* timeout_nano 300 */
        0x2A, 6, 0x0A, 1, 'a', 0x12, 1, '1', 0x2A, 6, 0x0A, 1, 'a', 0x12, 1, '2',
    };
    CHECK(bytes_count(&out) == sizeof expected && memcmp(bytes_first(&out), expected, sizeof expected) == 0);
    CHECK(envelope_request_size(&request, "pp", 2, 300) == sizeof expected - FRAME_HEADER_BYTES);
    bytes_free(&out);
    envelope_request_free(&request);
}

/* A Response with status NOT_FOUND, "no", ErrorInfo{NOPE, test} and RetryInfo{1.5 s}, and metadata a=b. */
static size_t error_response(uint8_t *to) {
    uint8_t info[64], retry[64];
    Google__Rpc__ErrorInfo info_message = GOOGLE__RPC__ERROR_INFO__INIT;
    info_message.reason = (char[]){"NOPE"};
    info_message.domain = (char[]){"test"};
    Google__Protobuf__Duration delay = GOOGLE__PROTOBUF__DURATION__INIT;
    delay.seconds = 1;
    delay.nanos = 500000000;
    Google__Rpc__RetryInfo retry_message = GOOGLE__RPC__RETRY_INFO__INIT;
    retry_message.retry_delay = &delay;
    Google__Protobuf__Any details[2] = {GOOGLE__PROTOBUF__ANY__INIT, GOOGLE__PROTOBUF__ANY__INIT};
    details[0].type_url = (char[]){"type.googleapis.com/google.rpc.ErrorInfo"};
    details[0].value.data = info;
    details[0].value.len = google__rpc__error_info__pack(&info_message, info);
    details[1].type_url = (char[]){"type.googleapis.com/google.rpc.RetryInfo"};
    details[1].value.data = retry;
    details[1].value.len = google__rpc__retry_info__pack(&retry_message, retry);
    Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
    status.code = 5;
    status.message = (char[]){"no"};
    status.n_details = 2;
    status.details = (Google__Protobuf__Any *[]){&details[0], &details[1]};
    Ttrpc__V1__KeyValue entry = TTRPC__V1__KEY_VALUE__INIT;
    entry.key = (char[]){"a"};
    entry.value = (char[]){"b"};
    Ttrpc__V1__Response response = TTRPC__V1__RESPONSE__INIT;
    response.status = &status;
    response.n_metadata = 1;
    response.metadata = (Ttrpc__V1__KeyValue *[]){&entry};
    return ttrpc__v1__response__pack(&response, to);
}

static void error_details(void) {
    uint8_t body[512];
    size_t size = error_response(body);
    Ttrpc__V1__Response *response = envelope_decode_response(body, size);
    CHECK(response != NULL && response->n_metadata == 1);
    CHECK_TEXT(response->metadata[0]->value, "b");
    cohort_error error;
    CHECK(envelope_status(response->status, &error) == COHORT_NOT_FOUND && error.code == COHORT_NOT_FOUND);
    CHECK_TEXT(error.reason, "NOPE");
    CHECK_TEXT(error.domain, "test");
    CHECK_TEXT(error.message, "no");
    CHECK(error.retry_delay_nanos == 1500000000 && !error.not_processed);
    ttrpc__v1__response__free_unpacked(response, NULL);
}

static void odd_statuses(void) {
    cohort_error error;
    CHECK(envelope_status(NULL, &error) == COHORT_OK);
    Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
    CHECK(envelope_status(&status, &error) == COHORT_OK);
    status.code = 77;
    CHECK(envelope_status(&status, &error) == COHORT_UNKNOWN_ERROR);
    status.code = -1;
    CHECK(envelope_status(&status, &error) == COHORT_UNKNOWN_ERROR);
    /* A detail that cannot be decoded does not hide the error. */
    Google__Protobuf__Any detail = GOOGLE__PROTOBUF__ANY__INIT;
    detail.type_url = (char[]){"type.googleapis.com/google.rpc.ErrorInfo"};
    detail.value.data = (uint8_t[]){0xFF};
    detail.value.len = 1;
    status.n_details = 1;
    status.details = (Google__Protobuf__Any *[]){&detail};
    status.code = 14;
    CHECK(envelope_status(&status, &error) == COHORT_UNAVAILABLE && *error.reason == '\0');
}

static void texts_are_cut_at_characters(void) {
    char text[6];
    copy_text(text, sizeof text, "hello");
    CHECK_TEXT(text, "hello");
    copy_text(text, sizeof text, "hello!");
    CHECK_TEXT(text, "hello");
    copy_text(text, sizeof text, "abcd\xC3\xA9");
    CHECK_TEXT(text, "abcd");
    copy_text(text, sizeof text, "abc\xE2\x82\xAC");
    CHECK_TEXT(text, "abc");
    copy_text(text, sizeof text, "ab\xE2\x82\xACz");
    CHECK_TEXT(text, "ab\xE2\x82\xAC");
}

/* Every truncation and every change of one byte of a Response is decoded or refused, and nothing else. */
static void damaged_responses(void) {
    uint8_t body[512];
    size_t size = error_response(body);
    uint64_t state = 7;
    for (size_t i = 0; i < size * 256; i++) {
        /* In memory of just that size, so that one byte too far is found. */
        size_t length = i < size ? i : size;
        uint8_t *copy = malloc(length + 1);
        CHECK(copy != NULL);
        memcpy(copy, body, length);
        if (i >= size) copy[i / 256] = (uint8_t)i;
        for (long more = 0; more < 3 && i >= size && length > 0; more++)
            if (next_random(&state) % 4 == 0) copy[next_random(&state) % length] = (uint8_t)next_random(&state);
        uint8_t *exact = realloc(copy, length > 0 ? length : 1);
        CHECK(exact != NULL);
        Ttrpc__V1__Response *response = envelope_decode_response(exact, length);
        if (response != NULL) {
            cohort_error error;
            (void)envelope_status(response->status, &error);
            CHECK(memchr(error.message, 0, sizeof error.message) != NULL);
            CHECK(memchr(error.reason, 0, sizeof error.reason) != NULL);
            ttrpc__v1__response__free_unpacked(response, NULL);
        }
        free(exact);
    }
}

static void names(void) {
    CHECK_TEXT(cohort_code_name(COHORT_UNAUTHENTICATED), "UNAUTHENTICATED");
    CHECK_TEXT(cohort_code_name((cohort_code)99), "UNKNOWN");
    CHECK_TEXT(cohort_reason_name(COHORT_REASON_BUILDING), "BUILDING");
    CHECK_TEXT(cohort_reason_name((cohort_reason)-1), "UNSPECIFIED");
    CHECK_TEXT(cohort_membership_name((cohort_membership)17), "UNSPECIFIED");
    CHECK_TEXT(cohort_version(), COHORT_VERSION);
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    RUN(header_bytes);
    RUN(split_anywhere);
    RUN(drip_feed);
    RUN(oversize_is_not_kept);
    RUN(garbage);
    RUN(fuzz_decoder);
    RUN(request_bytes);
    RUN(error_details);
    RUN(odd_statuses);
    RUN(texts_are_cut_at_characters);
    RUN(damaged_responses);
    RUN(names);
    return 0;
}
