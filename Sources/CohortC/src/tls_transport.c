/* TLS 1.3 by libssl over a socket that does not block. */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "error.h"
#include "socket.h"
#include "transport.h"

typedef struct tls_transport {
    transport base;
    int socket;
    SSL *ssl;
    BIO_METHOD *bio_method;
    /* libssl wants to write before it can read on. */
    bool read_wants_write;
    /* libssl must not be asked for anything any more. */
    bool is_broken;
    char problem[256];
} tls_transport;

/* ------------------------------------------------------------------ a BIO that never raises SIGPIPE */

static int bio_write(BIO *bio, const char *from, int size) {
    const tls_transport *self = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t count;
    do count = send(self->socket, from, (size_t)size, MSG_NOSIGNAL);
    while (count < 0 && errno == EINTR);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) BIO_set_retry_write(bio);
    return (int)count;
}

static int bio_read(BIO *bio, char *to, int room) {
    const tls_transport *self = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t count;
    do count = recv(self->socket, to, (size_t)room, 0);
    while (count < 0 && errno == EINTR);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) BIO_set_retry_read(bio);
    return (int)count;
}

static long bio_control(BIO *bio, int command, long number, void *pointer) {
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO *make_bio(tls_transport *self) {
    self->bio_method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "cohort socket");
    if (self->bio_method == NULL || !BIO_meth_set_write(self->bio_method, bio_write) ||
        !BIO_meth_set_read(self->bio_method, bio_read) || !BIO_meth_set_ctrl(self->bio_method, bio_control))
        return NULL;
    BIO *bio = BIO_new(self->bio_method);
    if (bio == NULL) return NULL;
    BIO_set_data(bio, self);
    BIO_set_init(bio, 1);
    return bio;
}

/* ------------------------------------------------------------------ errors */

/* The first error of libssl's queue, or of the system. */
static void describe_problem(char *to, size_t size, int system_problem) {
    unsigned long code = ERR_get_error();
    const char *text = code == 0 ? NULL : ERR_reason_error_string(code);
    if (text == NULL) text = system_problem != 0 ? strerror(system_problem) : "the peer ended the connection";
    copy_text(to, size, text);
    ERR_clear_error();
}

static io_status status_of(tls_transport *self, int result, bool reading) {
    int system_problem = errno;
    int kind = SSL_get_error(self->ssl, result);
    self->is_broken = kind == SSL_ERROR_SSL || kind == SSL_ERROR_SYSCALL;
    switch (kind) {
        case SSL_ERROR_WANT_READ:
            return IO_WOULD_BLOCK;
        case SSL_ERROR_WANT_WRITE:
            if (reading) self->read_wants_write = true;
            return IO_WOULD_BLOCK;
        case SSL_ERROR_ZERO_RETURN:
            return IO_CLOSED;
        case SSL_ERROR_SSL:
            /* Frames tell their length, so an end without TLS's goodbye hides nothing. */
            if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
                ERR_clear_error();
                return IO_CLOSED;
            }
            describe_problem(self->problem, sizeof self->problem, 0);
            return IO_FAILED;
        default:
            if (system_problem == ECONNRESET || system_problem == EPIPE) {
                ERR_clear_error();
                return IO_CLOSED;
            }
            describe_problem(self->problem, sizeof self->problem, system_problem);
            return IO_FAILED;
    }
}

/* ------------------------------------------------------------------ the operations */

static io_status tls_read(transport *base, uint8_t *to, size_t room, size_t *count) {
    tls_transport *self = (tls_transport *)base;
    self->read_wants_write = false;
    ERR_clear_error();
    errno = 0;
    int result = SSL_read_ex(self->ssl, to, room, count);
    return result == 1 ? IO_OK : status_of(self, result, true);
}

static io_status tls_write(transport *base, const uint8_t *from, size_t size, size_t *count) {
    tls_transport *self = (tls_transport *)base;
    ERR_clear_error();
    errno = 0;
    int result = SSL_write_ex(self->ssl, from, size, count);
    return result == 1 ? IO_OK : status_of(self, result, false);
}

static io_status tls_wait(transport *base, bool for_write, int64_t deadline) {
    tls_transport *self = (tls_transport *)base;
    short events = POLLIN;
    if (for_write || self->read_wants_write) events |= POLLOUT;
    io_status status = socket_wait(self->socket, events, deadline);
    if (status == IO_FAILED) copy_text(self->problem, sizeof self->problem, strerror(errno));
    return status;
}

static int64_t tls_now(transport *base) {
    (void)base;
    return monotonic_now();
}

static const char *tls_problem(transport *base) { return ((tls_transport *)base)->problem; }

static void tls_free(tls_transport *self) {
    if (self->ssl != NULL) SSL_free(self->ssl);
    if (self->bio_method != NULL) BIO_meth_free(self->bio_method);
    if (self->socket >= 0) close(self->socket);
    free(self);
}

static void tls_close(transport *base) {
    tls_transport *self = (tls_transport *)base;
    /* TLS's goodbye, if it can be said without waiting. */
    ERR_clear_error();
    if (!self->is_broken) SSL_shutdown(self->ssl);
    ERR_clear_error();
    tls_free(self);
}

static const transport_operations tls_operations = {
    .read = tls_read,
    .write = tls_write,
    .wait = tls_wait,
    .now = tls_now,
    .problem = tls_problem,
    .close = tls_close,
};

/* ------------------------------------------------------------------ setting up */

static cohort_code bad_option(cohort_error *error, const char *field, const char *value) {
    char why[256];
    describe_problem(why, sizeof why, errno);
    return fail(error, COHORT_INVALID_ARGUMENT, COHORT_ERROR_INVALID_ARGUMENT, "%s: cannot use %s: %s", field, value,
                why);
}

static cohort_code set_credentials(SSL_CTX *context, const cohort_options *options, cohort_error *error) {
    ERR_clear_error();
    errno = 0;
    if (options->ca_file == NULL) {
        if (SSL_CTX_set_default_verify_paths(context) != 1)
            return bad_option(error, "ca_file", "the system's authorities");
    } else if (SSL_CTX_load_verify_file(context, options->ca_file) != 1) {
        return bad_option(error, "ca_file", options->ca_file);
    }
    if (options->certificate_file == NULL) return COHORT_OK;
    if (SSL_CTX_use_certificate_chain_file(context, options->certificate_file) != 1)
        return bad_option(error, "certificate_file", options->certificate_file);
    if (SSL_CTX_use_PrivateKey_file(context, options->key_file, SSL_FILETYPE_PEM) != 1)
        return bad_option(error, "key_file", options->key_file);
    return COHORT_OK;
}

static SSL_CTX *make_context(const cohort_options *options, cohort_error *error) {
    static const unsigned char extended[] = "\x08ttrpc-x1\x05ttrpc";
    static const unsigned char stock[] = "\x05ttrpc";
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL) {
        fail_out_of_memory(error);
        return NULL;
    }
    /* SSL_CTX_set_alpn_protos returns 0 for success. */
    int alpn = 0;
    switch (options->alpn) {
        case COHORT_ALPN_TTRPC_X1:
            alpn = SSL_CTX_set_alpn_protos(context, extended, sizeof extended - 1);
            break;
        case COHORT_ALPN_TTRPC:
            alpn = SSL_CTX_set_alpn_protos(context, stock, sizeof stock - 1);
            break;
        case COHORT_ALPN_NONE:
            break;
    }
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (alpn != 0 || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1) {
        fail_out_of_memory(error);
    } else if (set_credentials(context, options, error) == COHORT_OK) {
        return context;
    }
    SSL_CTX_free(context);
    return NULL;
}

static bool is_address(const char *name) {
    unsigned char address[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
}

/* The name that the certificate must bear, and for a DNS name SNI. */
static bool set_expected_name(SSL *ssl, const char *name) {
    if (is_address(name)) return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

static cohort_code handshake_failed(tls_transport *self, const char *name, io_status status, cohort_error *error) {
    long verdict = SSL_get_verify_result(self->ssl);
    if (status == IO_FAILED && verdict != X509_V_OK)
        return fail(error, COHORT_UNAVAILABLE, COHORT_ERROR_CERTIFICATE_REJECTED,
                    "the certificate of the server is not accepted for %s: %s", name,
                    X509_verify_cert_error_string(verdict));
    return fail(error, COHORT_UNAVAILABLE, COHORT_ERROR_TLS_FAILED, "the TLS handshake failed: %s",
                status == IO_CLOSED ? "the server ended the connection" : self->problem);
}

static cohort_code handshake(tls_transport *self, const char *name, int64_t deadline, cohort_error *error) {
    for (;;) {
        self->read_wants_write = false;
        ERR_clear_error();
        errno = 0;
        int result = SSL_connect(self->ssl);
        if (result == 1) return COHORT_OK;
        io_status status = status_of(self, result, true);
        if (status != IO_WOULD_BLOCK) return handshake_failed(self, name, status, error);
        short events = self->read_wants_write ? POLLOUT : POLLIN;
        status = socket_wait(self->socket, events, deadline);
        if (status == IO_OK) continue;
        if (status == IO_WOULD_BLOCK)
            return fail(error, COHORT_DEADLINE_EXCEEDED, COHORT_ERROR_TIMED_OUT,
                        "the TLS handshake was not done in time");
        copy_text(self->problem, sizeof self->problem, strerror(errno));
        return handshake_failed(self, name, status, error);
    }
}

static cohort_code set_up(tls_transport *self, const cohort_options *options, const char *name,
                          cohort_error *error) {
    SSL_CTX *context = make_context(options, error);
    if (context == NULL) return error->code;
    self->ssl = SSL_new(context);
    SSL_CTX_free(context); /* the SSL keeps its own reference */
    BIO *bio = self->ssl == NULL ? NULL : make_bio(self);
    if (bio == NULL) return fail_out_of_memory(error);
    SSL_set_bio(self->ssl, bio, bio);
    if (!set_expected_name(self->ssl, name))
        return fail(error, COHORT_INVALID_ARGUMENT, COHORT_ERROR_INVALID_ARGUMENT,
                    "server_name: %s is neither a DNS name nor an address", name);
    return COHORT_OK;
}

cohort_code tls_transport_connect(const char *host, uint16_t port, const cohort_options *options, int64_t deadline,
                                  transport **result, bool *is_extended, cohort_error *error) {
    tls_transport *self = calloc(1, sizeof *self);
    if (self == NULL) return fail_out_of_memory(error);
    self->base.operations = &tls_operations;
    self->socket = -1;
    const char *name = options->server_name == NULL ? host : options->server_name;
    /* Options first: a file that is wrong is told without a connection. */
    cohort_code code = set_up(self, options, name, error);
    if (code == COHORT_OK) {
        self->socket = socket_connect(host, port, deadline, error);
        if (self->socket < 0) code = error->code;
    }
    if (code == COHORT_OK) code = handshake(self, name, deadline, error);
    if (code != COHORT_OK) {
        error->not_processed = true;
        tls_free(self);
        return code;
    }
    const unsigned char *chosen = NULL;
    unsigned length = 0;
    SSL_get0_alpn_selected(self->ssl, &chosen, &length);
    *is_extended = length == 8 && memcmp(chosen, "ttrpc-x1", 8) == 0;
    *result = &self->base;
    return COHORT_OK;
}
