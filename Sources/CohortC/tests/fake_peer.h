/* A server that is a function, over a transport that is memory and a clock that is a number. */
#ifndef COHORT_FAKE_PEER_H
#define COHORT_FAKE_PEER_H

#include "connection.h"

typedef struct fake_peer fake_peer;

struct fake_peer {
    transport base;
    int64_t now;
    /* Most bytes given to one read. */
    size_t read_chunk;
    /* Bytes the "socket" takes before it must be waited for; what is waited for makes room for as many again. */
    size_t write_chunk;
    size_t write_room;
    /* No more comes after what is there. */
    bool has_ended;
    /* Writing fails. */
    bool is_deaf;
    bytes to_client;
    frame_decoder from_client;
    /* Called for every frame of the client, when the client waits. */
    void (*on_frame)(fake_peer *peer, const frame *frame);
    /* Called when the client waits and nothing came of it; true if it did something about that. */
    bool (*on_idle)(fake_peer *peer);
    /* For the test. */
    void *context;
    size_t requests;
    size_t cancels;
    size_t pongs;
    size_t windows;
    size_t granted;
    uint32_t last_id;
    uint8_t last_flags;
    int64_t last_timeout;
    char last_method[64];
    int step;
};

/* Makes a connection to a peer. The peer lives until the connection is closed. `options` may be NULL. */
cohort_connection *fake_connection(fake_peer *peer, bool is_extended, const cohort_options *options);

/* Sends a frame to the client. */
void peer_send(fake_peer *peer, uint32_t id, uint8_t type, uint8_t flags, const void *body, size_t size);
/* A Response with this payload. */
void peer_answer(fake_peer *peer, uint32_t id, const void *payload, size_t size);
/* A Response with this status and an ErrorInfo. */
void peer_refuse(fake_peer *peer, uint32_t id, int code, const char *reason);

/* The request in a frame, to be freed with ttrpc__v1__request__free_unpacked. Fails the test if it is none. */
Ttrpc__V1__Request *peer_request(const frame *frame);

/* Answers every Request with its own payload. */
void peer_echo(fake_peer *peer, const frame *frame);

/* A unary call whose payload and reply are text. */
cohort_code say(cohort_connection *connection, const char *payload, char *reply, size_t room, cohort_error *error);

/* Lets the peer see what was written but not waited for. */
void peer_run(fake_peer *peer);

#endif
