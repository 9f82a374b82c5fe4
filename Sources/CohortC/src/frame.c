#include "frame.h"

#include <string.h>

/* Under the address sanitizer what follows a frame in the buffer is out of bounds while the frame is handed out. */
#if defined(__SANITIZE_ADDRESS__)
#define HAS_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ADDRESS_SANITIZER 1
#endif
#endif
#ifdef HAS_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

uint32_t read_u32(const uint8_t *from) {
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | (uint32_t)from[3];
}

void write_u32(uint8_t *to, uint32_t value) {
    to[0] = (uint8_t)(value >> 24);
    to[1] = (uint8_t)(value >> 16);
    to[2] = (uint8_t)(value >> 8);
    to[3] = (uint8_t)value;
}

void frame_write_header(uint8_t out[FRAME_HEADER_BYTES], size_t length, uint32_t stream_id, uint8_t type,
                        uint8_t flags) {
    write_u32(out, (uint32_t)length);
    write_u32(out + 4, stream_id);
    out[8] = type;
    out[9] = flags;
}

bool frame_append(bytes *out, uint32_t stream_id, uint8_t type, uint8_t flags, const void *body, size_t length) {
    uint8_t *target = bytes_reserve(out, FRAME_HEADER_BYTES + length);
    if (target == NULL) return false;
    frame_write_header(target, length, stream_id, type, flags);
    if (length > 0) memcpy(target + FRAME_HEADER_BYTES, body, length);
    bytes_commit(out, FRAME_HEADER_BYTES + length);
    return true;
}

void frame_decoder_init(frame_decoder *decoder, size_t max_body) {
    *decoder = (frame_decoder){.max_body = max_body};
}

static void drop_handed_out(frame_decoder *decoder) {
    if (decoder->handed_out == 0) return;
    ASAN_UNPOISON_MEMORY_REGION(decoder->buffer.data, decoder->buffer.capacity);
    bytes_consume(&decoder->buffer, decoder->handed_out);
    decoder->handed_out = 0;
}

void frame_decoder_free(frame_decoder *decoder) {
    drop_handed_out(decoder);
    bytes_free(&decoder->buffer);
}

uint8_t *frame_decoder_reserve(frame_decoder *decoder, size_t least, size_t *room) {
    drop_handed_out(decoder);
    uint8_t *target = bytes_reserve(&decoder->buffer, least);
    *room = target == NULL ? 0 : decoder->buffer.capacity - decoder->buffer.end;
    return target;
}

void frame_decoder_commit(frame_decoder *decoder, size_t count) { bytes_commit(&decoder->buffer, count); }

/* A length of 16 MiB or more is sent by no ttRPC peer that is sane; with another protocol's bytes in the rest of the
   header, or from 512 MiB on, it is not ttRPC at all. */
static bool is_garbage(const frame *header) {
    if (header->length < 1u << 24) return false;
    if (header->length >= 1u << 29) return true;
    bool known = (header->type >= FRAME_REQUEST && header->type <= FRAME_PONG) ||
                 (header->type >= FRAME_CANCEL && header->type <= FRAME_WINDOW);
    return !known || header->flags > 7;
}

static decoder_step skip(frame_decoder *decoder, frame *out) {
    size_t there = bytes_count(&decoder->buffer);
    size_t step = there < decoder->to_skip ? there : decoder->to_skip;
    bytes_consume(&decoder->buffer, step);
    decoder->to_skip -= step;
    if (decoder->to_skip > 0) return DECODER_NEEDS_MORE;
    decoder->is_skipping = false;
    *out = decoder->oversize;
    return DECODER_OVERSIZE;
}

decoder_step frame_decoder_next(frame_decoder *decoder, frame *out) {
    drop_handed_out(decoder);
    if (decoder->is_skipping) return skip(decoder, out);
    size_t there = bytes_count(&decoder->buffer);
    const uint8_t *bytes = bytes_first(&decoder->buffer);
    /* No need to wait for ten bytes of what cannot be a header. */
    if (there > 0 && bytes[0] >= 0x20) return DECODER_GARBAGE;
    if (there < FRAME_HEADER_BYTES) return DECODER_NEEDS_MORE;
    frame header = {
        .length = read_u32(bytes),
        .stream_id = read_u32(bytes + 4),
        .type = bytes[8],
        .flags = bytes[9],
    };
    if (header.length > decoder->max_body) {
        if (is_garbage(&header)) return DECODER_GARBAGE;
        bytes_consume(&decoder->buffer, FRAME_HEADER_BYTES);
        decoder->oversize = header;
        decoder->to_skip = header.length;
        decoder->is_skipping = true;
        return skip(decoder, out);
    }
    if (there < FRAME_HEADER_BYTES + (size_t)header.length) return DECODER_NEEDS_MORE;
    header.body = bytes + FRAME_HEADER_BYTES;
    decoder->handed_out = FRAME_HEADER_BYTES + (size_t)header.length;
    const uint8_t *end = header.body + header.length;
    ASAN_POISON_MEMORY_REGION(end, (size_t)(decoder->buffer.data + decoder->buffer.capacity - end));
    *out = header;
    return DECODER_FRAME;
}
