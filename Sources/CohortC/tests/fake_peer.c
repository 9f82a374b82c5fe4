#include "fake_peer.h"

#include "google/rpc/error_details.pb-c.h"
#include "test.h"

static io_status peer_read(transport *base, uint8_t *to, size_t room, size_t *count) {
    fake_peer *self = (fake_peer *)base;
    size_t there = bytes_count(&self->to_client);
    if (there == 0) return self->has_ended ? IO_CLOSED : IO_WOULD_BLOCK;
    size_t step = there < room ? there : room;
    if (step > self->read_chunk) step = self->read_chunk;
    memcpy(to, bytes_first(&self->to_client), step);
    bytes_consume(&self->to_client, step);
    *count = step;
    return IO_OK;
}

static io_status peer_write(transport *base, const uint8_t *from, size_t size, size_t *count) {
    fake_peer *self = (fake_peer *)base;
    if (self->is_deaf) return IO_CLOSED;
    size_t step = size < self->write_room ? size : self->write_room;
    if (step == 0) return IO_WOULD_BLOCK;
    self->write_room -= step;
    size_t room;
    uint8_t *target = frame_decoder_reserve(&self->from_client, step, &room);
    CHECK(target != NULL);
    memcpy(target, from, step);
    frame_decoder_commit(&self->from_client, step);
    *count = step;
    return IO_OK;
}

static void note(fake_peer *self, const frame *frame) {
    self->last_id = frame->stream_id;
    self->last_flags = frame->flags;
    /* Whatever a client sends bears an odd id. */
    CHECK(frame->stream_id % 2 == 1);
    switch (frame->type) {
        case FRAME_REQUEST: {
            Ttrpc__V1__Request *request = peer_request(frame);
            self->requests += 1;
            self->last_timeout = request->timeout_nano;
            snprintf(self->last_method, sizeof self->last_method, "%s", request->method);
            ttrpc__v1__request__free_unpacked(request, NULL);
            break;
        }
        case FRAME_CANCEL:
            self->cancels += 1;
            break;
        case FRAME_PONG:
            self->pongs += 1;
            break;
        case FRAME_WINDOW:
            CHECK(frame->length == 8 && read_u32(frame->body) == frame->stream_id);
            self->windows += 1;
            self->granted += read_u32(frame->body + 4);
            break;
        default:
            break;
    }
}

void peer_run(fake_peer *self) {
    frame frame;
    decoder_step step;
    while ((step = frame_decoder_next(&self->from_client, &frame)) == DECODER_FRAME) {
        note(self, &frame);
        if (self->on_frame != NULL) self->on_frame(self, &frame);
    }
    CHECK(step == DECODER_NEEDS_MORE);
}

static io_status peer_wait(transport *base, bool for_write, int64_t deadline) {
    fake_peer *self = (fake_peer *)base;
    peer_run(self);
    bool has_room = for_write && (self->write_room > 0 || self->write_chunk > 0);
    if (for_write) self->write_room = self->write_chunk;
    if (has_room || bytes_count(&self->to_client) > 0 || self->has_ended) return IO_OK;
    if (self->on_idle != NULL && self->on_idle(self)) return IO_OK;
    /* A wait that could never end is a test that failed. */
    CHECK(deadline != TIME_NEVER);
    CHECK(deadline >= self->now);
    self->now = deadline;
    return IO_WOULD_BLOCK;
}

static int64_t peer_now(transport *base) { return ((fake_peer *)base)->now; }

static const char *peer_problem(transport *base) {
    (void)base;
    return "a fake problem";
}

static void peer_close(transport *base) {
    fake_peer *self = (fake_peer *)base;
    bytes_free(&self->to_client);
    frame_decoder_free(&self->from_client);
}

static const transport_operations peer_operations = {
    .read = peer_read,
    .write = peer_write,
    .wait = peer_wait,
    .now = peer_now,
    .problem = peer_problem,
    .close = peer_close,
};

cohort_connection *fake_connection(fake_peer *peer, bool is_extended, const cohort_options *options) {
    peer->base.operations = &peer_operations;
    peer->now = 1000;
    if (peer->read_chunk == 0) peer->read_chunk = SIZE_MAX;
    if (peer->write_chunk == 0) peer->write_chunk = SIZE_MAX;
    peer->write_room = peer->write_chunk;
    frame_decoder_init(&peer->from_client, FRAME_MAX_BODY);
    cohort_options checked;
    cohort_error error;
    CHECK(options_check(options, &checked, &error) == COHORT_OK);
    cohort_connection *connection;
    CHECK(connection_create(&peer->base, is_extended, &checked, &connection, &error) == COHORT_OK);
    return connection;
}

void peer_send(fake_peer *peer, uint32_t id, uint8_t type, uint8_t flags, const void *body, size_t size) {
    CHECK(frame_append(&peer->to_client, id, type, flags, body, size));
}

static void send_response(fake_peer *peer, uint32_t id, const Ttrpc__V1__Response *response) {
    size_t size = ttrpc__v1__response__get_packed_size(response);
    uint8_t *body = malloc(size + 1);
    CHECK(body != NULL);
    ttrpc__v1__response__pack(response, body);
    peer_send(peer, id, FRAME_RESPONSE, 0, body, size);
    free(body);
}

void peer_answer(fake_peer *peer, uint32_t id, const void *payload, size_t size) {
    Ttrpc__V1__Response response = TTRPC__V1__RESPONSE__INIT;
    response.payload.data = (uint8_t *)(uintptr_t)payload;
    response.payload.len = size;
    send_response(peer, id, &response);
}

void peer_refuse(fake_peer *peer, uint32_t id, int code, const char *reason) {
    uint8_t packed[256];
    Google__Rpc__ErrorInfo info = GOOGLE__RPC__ERROR_INFO__INIT;
    info.reason = (char *)(uintptr_t)reason;
    info.domain = (char[]){"test"};
    Google__Protobuf__Any detail = GOOGLE__PROTOBUF__ANY__INIT;
    detail.type_url = (char[]){"type.googleapis.com/google.rpc.ErrorInfo"};
    detail.value.data = packed;
    detail.value.len = google__rpc__error_info__pack(&info, packed);
    Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
    status.code = code;
    status.message = (char[]){"refused"};
    status.n_details = 1;
    status.details = (Google__Protobuf__Any *[]){&detail};
    Ttrpc__V1__KeyValue entry = TTRPC__V1__KEY_VALUE__INIT;
    entry.key = (char[]){"answered-by"};
    entry.value = (char[]){"a fake"};
    Ttrpc__V1__Response response = TTRPC__V1__RESPONSE__INIT;
    response.status = &status;
    response.n_metadata = 1;
    response.metadata = (Ttrpc__V1__KeyValue *[]){&entry};
    send_response(peer, id, &response);
}

Ttrpc__V1__Request *peer_request(const frame *frame) {
    CHECK(frame->type == FRAME_REQUEST);
    Ttrpc__V1__Request *request = ttrpc__v1__request__unpack(NULL, frame->length, frame->body);
    CHECK(request != NULL);
    return request;
}

void peer_echo(fake_peer *peer, const frame *frame) {
    if (frame->type != FRAME_REQUEST) return;
    Ttrpc__V1__Request *request = peer_request(frame);
    peer_answer(peer, frame->stream_id, request->payload.data, request->payload.len);
    ttrpc__v1__request__free_unpacked(request, NULL);
}

cohort_code say(cohort_connection *connection, const char *payload, char *reply, size_t room, cohort_error *error) {
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
