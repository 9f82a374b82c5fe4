/* ttRPC frames (docs/protocol.md): a header of ten bytes and a body. */
#ifndef COHORT_FRAME_H
#define COHORT_FRAME_H

#include "bytes.h"

enum {
    FRAME_HEADER_BYTES = 10,
    FRAME_MAX_BODY = 4 << 20,
};

enum frame_type {
    FRAME_REQUEST = 1,
    FRAME_RESPONSE = 2,
    FRAME_DATA = 3,
    /* ttrpc-x1 */
    FRAME_PING = 4,
    FRAME_PONG = 5,
    FRAME_CANCEL = 0x40,
    FRAME_GOAWAY = 0x41,
    FRAME_WINDOW = 0x42,
};

enum frame_flag {
    FRAME_REMOTE_CLOSED = 1,
    FRAME_REMOTE_OPEN = 2,
    FRAME_NO_DATA = 4,
};

typedef struct frame {
    uint32_t length;
    uint32_t stream_id;
    uint8_t type;
    uint8_t flags;
    /* `length` bytes in the decoder's memory; NULL for an oversize frame. */
    const uint8_t *body;
} frame;

void frame_write_header(uint8_t out[FRAME_HEADER_BYTES], size_t length, uint32_t stream_id, uint8_t type,
                        uint8_t flags);

/* Appends a whole frame; false if memory is out. */
bool frame_append(bytes *out, uint32_t stream_id, uint8_t type, uint8_t flags, const void *body, size_t length);

uint32_t read_u32(const uint8_t *from);
void write_u32(uint8_t *to, uint32_t value);

/* Cuts what arrives into frames, however it is split. A body over the limit goes by without being kept. */
typedef struct frame_decoder {
    bytes buffer;
    size_t max_body;
    /* Bytes of the frame that was handed out last; consumed by the next step. */
    size_t handed_out;
    /* A frame too large, and how much of it is still to come. */
    frame oversize;
    size_t to_skip;
    bool is_skipping;
} frame_decoder;

typedef enum decoder_step {
    DECODER_NEEDS_MORE,
    /* A whole frame. Its body lives until the next call on the decoder. */
    DECODER_FRAME,
    /* The body of a frame over the limit has gone by. */
    DECODER_OVERSIZE,
    /* This is not ttRPC. Nothing more can be read. */
    DECODER_GARBAGE,
} decoder_step;

void frame_decoder_init(frame_decoder *decoder, size_t max_body);
void frame_decoder_free(frame_decoder *decoder);

/* Room for at least `least` bytes that arrive, of which `commit` then says how many did; NULL if memory is out. */
uint8_t *frame_decoder_reserve(frame_decoder *decoder, size_t least, size_t *room);
void frame_decoder_commit(frame_decoder *decoder, size_t count);

decoder_step frame_decoder_next(frame_decoder *decoder, frame *out);

#endif
