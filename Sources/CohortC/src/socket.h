/* A TCP connection, without TLS yet. */
#ifndef COHORT_SOCKET_H
#define COHORT_SOCKET_H

#include "cohort.h"
#include "transport.h"

/* Connects to the first address that accepts; the socket does not block. -1 on failure. */
int socket_connect(const char *host, uint16_t port, int64_t deadline, cohort_error *error);

/* Waits for `events` of poll(2) on a socket: IO_OK, IO_WOULD_BLOCK when the deadline came, IO_FAILED with errno. */
io_status socket_wait(int socket, short events, int64_t deadline);

#endif
