/* A ttRPC connection: ids, calls that wait for answers, flow control. Knows bytes and time, but no socket. */
#ifndef COHORT_CONNECTION_H
#define COHORT_CONNECTION_H

#include "envelope.h"
#include "error.h"
#include "frame.h"
#include "transport.h"

enum {
    /* Data a sender may have on its way before the first WINDOW frame. */
    INITIAL_WINDOW = 256 << 10,
    MAX_PING_BYTES = 64,
    /* On which a client sends extension frames that belong to the connection. */
    CLIENT_CONNECTION_ID = 1,
    /* A sender waits while this much has not been taken by the socket. */
    MAX_PENDING = 256 << 10,
};

/* Stock servers refuse ids after 2^30 calls for ever; half of that is far from it. */
#define MAX_CALLS (UINT32_C(1) << 29)

typedef struct call call;

/* What happens to a call. Told while frames are handled: a handler must not start or end calls, but may abandon its
   own. */
typedef struct call_handlers {
    /* The payload of the response, or a message of the stream. */
    void (*message)(call *self, const uint8_t *data, size_t size);
    /* The call is over and no longer known to the connection; `error` is NULL for success. */
    void (*ended)(call *self, const cohort_error *error);
} call_handlers;

/* A call that the server has not ended yet. The first member of whatever waits for it. */
struct call {
    call *next;
    const call_handlers *handlers;
    uint32_t id;
    /* Answered by one Response with a payload: unary calls and client streams. */
    bool is_answered_once;
    /* Data that may be sent; ttrpc-x1. */
    int64_t send_window;
    void (*on_metadata)(void *context, const char *key, const char *value);
    void *metadata_context;
};

struct cohort_connection {
    transport *transport;
    bool is_extended;
    /* Once closed, `failure` tells why. */
    bool is_closed;
    cohort_error failure;
    /* The socket takes no more; what can still be read is read before giving up. */
    bool is_write_broken;
    bool is_going_away;
    /* A callback of the caller runs: the connection is not to be touched. */
    bool is_in_callback;
    uint32_t next_id;
    uint32_t calls_left;
    frame_decoder decoder;
    bytes out;
    /* Where request messages are packed. */
    bytes scratch;
    call **buckets;
    size_t bucket_count;
    size_t call_count;
    /* Every stream that was not freed yet, and what their messages hold. */
    cohort_stream *streams;
    size_t buffered_bytes;
    bool is_awaiting_pong;
    uint64_t ping_number;
    /* Options. */
    size_t max_message_bytes;
    size_t max_buffered_bytes;
    size_t max_in_flight;
    int64_t call_timeout_nanos;
    cohort_metadata *metadata;
    size_t metadata_count;
};

/* Checks options and fills in the defaults. */
cohort_code options_check(const cohort_options *given, cohort_options *options, cohort_error *error);

/* Takes over the transport, also on failure. `options` have been checked. */
cohort_code connection_create(transport *transport, bool is_extended, const cohort_options *options,
                              cohort_connection **result, cohort_error *error);

/* Whether the caller may use the connection now. */
cohort_code connection_enter(cohort_connection *self, cohort_error *error);

/* Whether a call can be started; looks first at what the server has said meanwhile. */
cohort_code connection_check_usable(cohort_connection *self, cohort_error *error);

/* Queues a Request and waits for its answer from now on. Nothing is written yet. Fails with what
   connection_check_usable or the sizes say, but does not read. */
cohort_code connection_start(cohort_connection *self, call *call, const envelope_request *request, uint8_t flags,
                             const void *payload, size_t size, int64_t deadline, cohort_error *error);

/* Gives a call up: its answer will be dropped, and the server is told where it can be. */
void connection_abandon(cohort_connection *self, call *call);

/* Writes and reads what can be, waiting to `deadline` if there is nothing to read. IO_OK if anything may have
   happened, IO_WOULD_BLOCK when the deadline came, IO_FAILED if the connection is closed. */
io_status connection_advance(cohort_connection *self, int64_t deadline);

/* Writes what can be written without waiting. Whether that was anything. */
bool connection_flush(cohort_connection *self);

/* Reads a little of what has come, without waiting. */
void connection_poll(cohort_connection *self);

/* Closes, and ends every call with this error. */
void connection_fail(cohort_connection *self, const cohort_error *error);

/* As above, for a violation of the protocol. */
void connection_violated(cohort_connection *self, const char *what);

call *connection_find(cohort_connection *self, uint32_t id);
/* Takes a call out of the table without telling anyone. */
void connection_remove(cohort_connection *self, call *call);
/* Removes it and tells it how it ended. */
void connection_end_call(cohort_connection *self, call *call, const cohort_error *error);

/* Handles every whole frame that has come. */
void connection_handle_frames(cohort_connection *self);

static inline int64_t connection_now(cohort_connection *self) {
    return self->transport->operations->now(self->transport);
}

cohort_code fail_timed_out(cohort_error *error);

/* Streams outlive the connection; they must not look for it any more. */
void connection_detach_streams(cohort_connection *self);

/* ------------------------------------------------------------------ unary calls */

/* Reads the payload of a response. */
typedef cohort_code (*reply_reader)(void *context, const uint8_t *payload, size_t size, cohort_error *error);

/* The deadline and the metadata of a call. `request` is to be freed. */
cohort_code call_prepare(cohort_connection *self, const char *service, const char *method,
                         const cohort_call_options *options, envelope_request *request, int64_t *deadline,
                         cohort_error *error);

/* A whole unary call. */
cohort_code call_unary(cohort_connection *self, const char *service, const char *method, const void *payload,
                       size_t size, const cohort_call_options *options, reply_reader reader, void *context,
                       cohort_error *error);

/* A received message. */
struct cohort_message {
    cohort_message *next;
    size_t size;
    _Alignas(max_align_t) uint8_t data[];
};

/* NULL if memory is out. */
cohort_message *message_create(const uint8_t *data, size_t size);

#endif
