#include "socket.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "error.h"

int64_t monotonic_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * COHORT_SECOND + (int64_t)now.tv_nsec;
}

int64_t deadline_after(int64_t now, int64_t timeout_nanos) {
    if (timeout_nanos < 0 || timeout_nanos > INT64_MAX - now) return TIME_NEVER;
    return now + timeout_nanos;
}

io_status socket_wait(int socket, short events, int64_t deadline) {
    for (;;) {
        int timeout = -1;
        if (deadline != TIME_NEVER) {
            int64_t left = deadline - monotonic_now();
            if (left <= 0) return IO_WOULD_BLOCK;
            /* Rounded up: waking early would only mean to wait again. */
            int64_t millis = (left + COHORT_MILLISECOND - 1) / COHORT_MILLISECOND;
            timeout = millis > INT_MAX ? INT_MAX : (int)millis;
        }
        struct pollfd poller = {.fd = socket, .events = events};
        int ready = poll(&poller, 1, timeout);
        if (ready > 0) return IO_OK;
        if (ready < 0 && errno != EINTR) return IO_FAILED;
    }
}

static int start_connecting(const struct addrinfo *address) {
    int fd = socket(address->ai_family, address->ai_socktype, address->ai_protocol);
    if (fd < 0) return -1;
    int flags = fcntl(fd, F_GETFL);
    int one = 1;
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
        (connect(fd, address->ai_addr, address->ai_addrlen) < 0 && errno != EINPROGRESS && errno != EINTR)) {
        int problem = errno;
        close(fd);
        errno = problem;
        return -1;
    }
    return fd;
}

/* Connects to one address; -1 with errno on failure. */
static int connect_to(const struct addrinfo *address, int64_t deadline) {
    int fd = start_connecting(address);
    if (fd < 0) return -1;
    int problem = 0;
    socklen_t size = sizeof problem;
    switch (socket_wait(fd, POLLOUT, deadline)) {
        case IO_OK:
            if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &size) < 0) problem = errno;
            break;
        case IO_WOULD_BLOCK:
            problem = ETIMEDOUT;
            break;
        default:
            problem = errno;
            break;
    }
    if (problem == 0) return fd;
    close(fd);
    errno = problem;
    return -1;
}

int socket_connect(const char *host, uint16_t port, int64_t deadline, cohort_error *error) {
    char service[8];
    snprintf(service, sizeof service, "%u", (unsigned)port);
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICSERV,
    };
    struct addrinfo *addresses = NULL;
    int status = getaddrinfo(host, service, &hints, &addresses);
    if (status != 0) {
        const char *why = status == EAI_SYSTEM ? strerror(errno) : gai_strerror(status);
        fail(error, COHORT_UNAVAILABLE, COHORT_ERROR_RESOLVE_FAILED, "%s has no address: %s", host, why);
        return -1;
    }
    int left = 0;
    for (const struct addrinfo *a = addresses; a != NULL; a = a->ai_next) left += 1;
    int problem = ENOENT;
    int fd = -1;
    for (const struct addrinfo *a = addresses; a != NULL && fd < 0; a = a->ai_next, left -= 1) {
        /* An address that swallows packets leaves its share of the time to the others. */
        int64_t now = monotonic_now();
        int64_t until = deadline == TIME_NEVER || left == 1 ? deadline : now + (deadline - now) / left;
        fd = connect_to(a, until);
        problem = errno;
    }
    freeaddrinfo(addresses);
    if (fd >= 0) return fd;
    bool late = deadline != TIME_NEVER && monotonic_now() >= deadline;
    fail(error, late ? COHORT_DEADLINE_EXCEEDED : COHORT_UNAVAILABLE,
         late ? COHORT_ERROR_TIMED_OUT : COHORT_ERROR_CONNECT_FAILED, "cannot connect to %s port %u: %s", host,
         (unsigned)port, strerror(problem));
    if (error != NULL) error->not_processed = true;
    return -1;
}
