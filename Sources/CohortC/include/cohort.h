/**
 * @file cohort.h
 * @brief libcohort: the C client of Cohort, the cohort management service.
 *
 * Speaks ttRPC over TLS 1.3, with the `ttrpc-x1` extensions where the server has them (docs/protocol.md).
 *
 * Threads: there is no global state. A connection, and every stream opened on it, is used by one thread at a time;
 * different connections are independent. No function of this library may be called on a connection from inside one
 * of that connection's callbacks, except cohort_connection_is_usable(); such a call fails with
 * #COHORT_FAILED_PRECONDITION and changes nothing.
 *
 * Blocking: calls block until they are answered or their deadline passes. Signals do not end a wait. SIGPIPE is
 * never raised.
 *
 * Ownership: what the caller passes in is copied, or read only during the call. What is handed out through a
 * `..._free()`-able type belongs to the caller; everything that a callback is given lives until the callback returns.
 *
 * Errors: every function that can fail returns a ::cohort_code and, where the caller passes a ::cohort_error, fills
 * it in. Nothing is handed out on failure: the output is set to NULL or left zero.
 */
#ifndef COHORT_H
#define COHORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define COHORT_API __attribute__((visibility("default")))
#else
#define COHORT_API
#endif

/** Version of the header, as `major.minor.patch`. */
#define COHORT_VERSION "0.1.0"

/** @return the version of the library that is linked, as `major.minor.patch`; static. */
COHORT_API const char *cohort_version(void);

/* ------------------------------------------------------------------------------------------------------ errors */

/** The canonical status codes of google.rpc.Code. */
typedef enum cohort_code {
    COHORT_OK = 0,                   /**< Success. */
    COHORT_CANCELLED = 1,            /**< The caller gave the call up. */
    COHORT_UNKNOWN_ERROR = 2,        /**< Failed, with no code of its own here. */
    COHORT_INVALID_ARGUMENT = 3,     /**< The arguments are wrong; the message names the field. */
    COHORT_DEADLINE_EXCEEDED = 4,    /**< The time allowed ran out; the operation may have happened. */
    COHORT_NOT_FOUND = 5,            /**< As a cohort that does not exist. */
    COHORT_ALREADY_EXISTS = 6,       /**< What was to be created exists. */
    COHORT_PERMISSION_DENIED = 7,    /**< The caller is known and not allowed. */
    COHORT_RESOURCE_EXHAUSTED = 8,   /**< A quota or a limit is used up. */
    COHORT_FAILED_PRECONDITION = 9,  /**< Not in this state; retrying alone will not help. */
    COHORT_ABORTED = 10,             /**< A conflict with another caller. */
    COHORT_OUT_OF_RANGE = 11,        /**< Past the valid range. */
    COHORT_UNIMPLEMENTED = 12,       /**< The server has no such method. */
    COHORT_INTERNAL = 13,            /**< An invariant is broken, or an answer could not be understood. */
    COHORT_UNAVAILABLE = 14,         /**< Not available now; retrying later, or elsewhere, may help. */
    COHORT_DATA_LOSS = 15,           /**< Data is lost or corrupt. */
    COHORT_UNAUTHENTICATED = 16      /**< The caller is not known. */
} cohort_code;

/** The `domain` of errors that this library made itself, rather than the server. */
#define COHORT_LOCAL_DOMAIN "libcohort"

/**
 * @name Reasons of errors that this library makes
 * Their domain is #COHORT_LOCAL_DOMAIN.
 * @{
 */
#define COHORT_ERROR_INVALID_ARGUMENT "INVALID_ARGUMENT"         /**< An argument or option is wrong. */
#define COHORT_ERROR_RESOLVE_FAILED "RESOLVE_FAILED"             /**< The host name has no address. */
#define COHORT_ERROR_CONNECT_FAILED "CONNECT_FAILED"             /**< No address accepted a connection. */
#define COHORT_ERROR_TLS_FAILED "TLS_FAILED"                     /**< The handshake failed. */
#define COHORT_ERROR_CERTIFICATE_REJECTED "CERTIFICATE_REJECTED" /**< The server's certificate is not trusted. */
#define COHORT_ERROR_CONNECTION_LOST "CONNECTION_LOST"           /**< The connection ended or broke. */
#define COHORT_ERROR_GOING_AWAY "GOING_AWAY"                     /**< The server drains; use another connection. */
#define COHORT_ERROR_STREAM_IDS_USED_UP "STREAM_IDS_USED_UP"     /**< 2^29 calls were made; connect anew. */
#define COHORT_ERROR_TIMED_OUT "TIMED_OUT"                       /**< The deadline passed here. */
#define COHORT_ERROR_MESSAGE_TOO_LARGE "MESSAGE_TOO_LARGE"       /**< A message over the limit, either way. */
#define COHORT_ERROR_RECEIVE_BUFFER_FULL "RECEIVE_BUFFER_FULL"   /**< Streams that are not received from hold too much. */
#define COHORT_ERROR_MALFORMED_RESPONSE "MALFORMED_RESPONSE"     /**< An answer that cannot be decoded. */
#define COHORT_ERROR_PROTOCOL_ERROR "PROTOCOL_ERROR"             /**< The server broke the protocol. */
#define COHORT_ERROR_STREAM_ENDED "STREAM_ENDED"                 /**< Sending on a stream that is over. */
#define COHORT_ERROR_REENTRANT_CALL "REENTRANT_CALL"             /**< A call from inside a callback. */
#define COHORT_ERROR_OUT_OF_MEMORY "OUT_OF_MEMORY"               /**< malloc() failed. */
#define COHORT_ERROR_NOT_EXTENDED "NOT_EXTENDED"                 /**< Needs `ttrpc-x1`. */
/** @} */

/** How a call failed. Plain memory of the caller: nothing to free. Texts that do not fit are cut at a character. */
typedef struct cohort_error {
    cohort_code code;
    /** google.rpc.ErrorInfo.reason, UPPER_SNAKE_CASE, for a program to read; empty if the server gave none. */
    char reason[64];
    /** Who defines the reason; #COHORT_LOCAL_DOMAIN if the error was made here. */
    char domain[64];
    /** For people, in English. */
    char message[1024];
    /** google.rpc.RetryInfo: wait at least this long before trying again. 0 if the server gave none. */
    int64_t retry_delay_nanos;
    /** True if no handler of the server ever saw the call, so that sending it again cannot do it twice. */
    bool not_processed;
} cohort_error;

/** @return the name of a code, as `NOT_FOUND`; static; `UNKNOWN` for what is no code. */
COHORT_API const char *cohort_code_name(cohort_code code);

/* -------------------------------------------------------------------------------------------------- connecting */

/** A connection to one server. */
typedef struct cohort_connection cohort_connection;

/** Which protocols are offered to the server by ALPN. */
typedef enum cohort_alpn {
    COHORT_ALPN_TTRPC_X1 = 0, /**< `ttrpc-x1`, then `ttrpc`. */
    COHORT_ALPN_TTRPC = 1,    /**< `ttrpc`: no extensions. */
    COHORT_ALPN_NONE = 2      /**< No ALPN, as stock ttRPC clients: no extensions. */
} cohort_alpn;

/** Metadata: a lower-case ASCII key and any UTF-8. Keys may repeat. */
typedef struct cohort_metadata {
    const char *key;
    const char *value;
} cohort_metadata;

/** As a timeout: none at all. */
#define COHORT_NO_TIMEOUT INT64_C(-1)
/** One second, in the unit of every timeout. */
#define COHORT_SECOND INT64_C(1000000000)
/** One millisecond, in the unit of every timeout. */
#define COHORT_MILLISECOND INT64_C(1000000)

/** How to connect. Set up by cohort_options_init(), then changed. Read during cohort_connect() alone. */
typedef struct cohort_options {
    /** Set by cohort_options_init(); tells which version of this header the caller was compiled against. */
    size_t struct_size;
    /** PEM file with the authorities to trust. NULL: those of the system. */
    const char *ca_file;
    /** PEM file: the client's certificate, then the intermediates. NULL: none. Needs `key_file`. */
    const char *certificate_file;
    /** PEM file: the private key of `certificate_file`. */
    const char *key_file;
    /** The DNS name or IP address that the server's certificate must bear. NULL: the host. */
    const char *server_name;
    /** #COHORT_ALPN_TTRPC_X1 by default. */
    cohort_alpn alpn;
    /** For the TCP connection and the TLS handshake, in nanoseconds; 10 s by default. Name resolution cannot be
     *  bounded; its time counts. #COHORT_NO_TIMEOUT is allowed. */
    int64_t connect_timeout_nanos;
    /** For calls that state no timeout, in nanoseconds; 30 s by default. #COHORT_NO_TIMEOUT is allowed. */
    int64_t call_timeout_nanos;
    /** Largest body of a frame that is taken, 1,024 to 4,194,304 bytes (the default). */
    size_t max_message_bytes;
    /** Bytes that received messages may hold, in all streams, until they are taken; 16 MiB by default. One message
     *  per stream is always kept. */
    size_t max_buffered_bytes;
    /** Requests of a batch on their way at once, 1 to 65,536; 512 by default. A server answers at most 1,024 that
     *  wait for a `min_sequence` by default. */
    size_t max_in_flight;
    /** Sent with every call, before the call's own; may be NULL if `metadata_count` is 0. */
    const cohort_metadata *metadata;
    size_t metadata_count;
} cohort_options;

/** Sets the defaults. */
COHORT_API void cohort_options_init(cohort_options *options);

/**
 * Connects over TLS 1.3 and verifies the server's certificate.
 *
 * @param host name or address; an IPv6 address may stand in brackets
 * @param port 1 to 65535
 * @param options NULL for the defaults
 * @param[out] connection to be ended with cohort_close(); NULL on failure
 * @param[out] error may be NULL
 * @return #COHORT_INVALID_ARGUMENT for wrong options (a file that cannot be read among them), #COHORT_UNAVAILABLE,
 *         #COHORT_DEADLINE_EXCEEDED
 */
COHORT_API cohort_code cohort_connect(const char *host, uint16_t port, const cohort_options *options,
                                      cohort_connection **connection, cohort_error *error);

/**
 * Closes the connection and frees it. Streams that are still open end with #COHORT_CANCELLED and are to be freed by
 * their owner as ever. NULL is allowed.
 */
COHORT_API void cohort_close(cohort_connection *connection);

/**
 * Whether new calls can be made, as far as is known without asking the server. Once false it stays so: a connection
 * ends by failure, when the server drains, or after 2^29 calls. The server also closes connections that made no call
 * for its idle time (15 minutes by default). Costs one system call.
 */
COHORT_API bool cohort_connection_is_usable(cohort_connection *connection);

/** Whether `ttrpc-x1` was negotiated. */
COHORT_API bool cohort_connection_is_extended(const cohort_connection *connection);

/** How one call is made. Set up by cohort_call_options_init() or zero; NULL stands for the defaults. */
typedef struct cohort_call_options {
    /** From the start of the call to its end, in nanoseconds; told to the server and kept here. 0: that of the
     *  connection. #COHORT_NO_TIMEOUT: none. */
    int64_t timeout_nanos;
    /** Request metadata; copied. The server takes 16 KiB by default. */
    const cohort_metadata *metadata;
    size_t metadata_count;
    /** Told every entry of the response's metadata, whether the call succeeded or failed; `ttrpc-x1` only. Told when
     *  it arrives, which for a stream may be before its last messages are received; `metadata_context` lives until
     *  the call has ended. */
    void (*on_metadata)(void *context, const char *key, const char *value);
    /** Handed to `on_metadata`. */
    void *metadata_context;
} cohort_call_options;

/** Sets the defaults. */
COHORT_API void cohort_call_options_init(cohort_call_options *options);

/**
 * Asks the server for a sign of life; `ttrpc-x1` only.
 *
 * @param timeout_nanos as in ::cohort_call_options
 * @return #COHORT_FAILED_PRECONDITION where `ttrpc-x1` was not negotiated, #COHORT_DEADLINE_EXCEEDED,
 *         #COHORT_UNAVAILABLE
 */
COHORT_API cohort_code cohort_ping(cohort_connection *connection, int64_t timeout_nanos, cohort_error *error);

/* -------------------------------------------------------------------------------------------------- membership */

/** The three-valued state of a customer in a cohort. A newer server may send other values. */
typedef enum cohort_membership {
    COHORT_MEMBERSHIP_UNSPECIFIED = 0, /**< Never sent. */
    COHORT_MEMBERSHIP_IN = 1,          /**< The customer belongs to the cohort. */
    COHORT_MEMBERSHIP_OUT = 2,         /**< The customer does not belong to the cohort. */
    COHORT_MEMBERSHIP_UNKNOWN = 3      /**< It cannot be told. */
} cohort_membership;

/** What decided the state. A newer server may send other values. */
typedef enum cohort_reason {
    COHORT_REASON_UNSPECIFIED = 0,        /**< Never sent. */
    COHORT_REASON_RULE_MATCH = 1,         /**< The rule is true. */
    COHORT_REASON_RULE_NO_MATCH = 2,      /**< The rule is false. */
    COHORT_REASON_RULE_ERROR = 3,         /**< The rule failed, as when an attribute is absent; see `detail`. */
    COHORT_REASON_OVERRIDE_INCLUDE = 4,   /**< A manual override includes the customer. */
    COHORT_REASON_OVERRIDE_EXCLUDE = 5,   /**< A manual override excludes the customer. */
    COHORT_REASON_LISTED = 6,             /**< On the static cohort's list. */
    COHORT_REASON_NOT_LISTED = 7,         /**< Not on the static cohort's list. */
    COHORT_REASON_CUSTOMER_NOT_FOUND = 8, /**< No such customer has been seen, or it was erased. */
    COHORT_REASON_BUILDING = 9            /**< The cohort's first version is still being built. */
} cohort_reason;

/** @return the name of a state, as `IN`; static. */
COHORT_API const char *cohort_membership_name(cohort_membership membership);
/** @return the name of a reason, as `RULE_MATCH`; static. */
COHORT_API const char *cohort_reason_name(cohort_reason reason);

/** One customer and one cohort. */
typedef struct cohort_check_request {
    /** 1 to 256 bytes of UTF-8 without control characters. */
    const char *customer_id;
    /** `[A-Z][A-Z0-9_]{0,62}`. */
    const char *cohort_id;
    /** The answer must include every change up to this sequence, as a write returned it. The call waits for it, at
     *  most 1 s, then fails with #COHORT_UNAVAILABLE and the reason `SEQUENCE_NOT_REACHED`. 0: none in particular. */
    uint64_t min_sequence;
    /** Also tell since when the state holds; costs a read of the server's store. */
    bool include_since;
} cohort_check_request;

/** The state of one customer in one cohort. Plain memory of the caller: nothing to free. */
typedef struct cohort_check_result {
    cohort_membership membership;
    cohort_reason reason;
    /** False when the state is UNKNOWN and the cohort's fail policy leaves it to the caller; then `member` is false
     *  and means nothing. */
    bool has_member;
    /** The state as a boolean after the cohort's fail policy. */
    bool member;
    /** Whether `since_seconds` and `since_nanos` are set. */
    bool has_since;
    /** When the state was entered: seconds since 1970-01-01 UTC. */
    int64_t since_seconds;
    /** And 0 to 999,999,999 nanoseconds. */
    int32_t since_nanos;
    /** The version of the cohort that decided; from 1. */
    uint32_t cohort_version;
    /** The sequence at which the answer holds. */
    uint64_t sequence;
    /** More about the reason, for people; may be empty. Cut at a character if it does not fit. */
    char detail[256];
} cohort_check_result;

/**
 * Is this customer in this cohort?
 *
 * @param[out] result zero on failure
 * @param[out] error may be NULL
 * @return #COHORT_NOT_FOUND if there is no such cohort. A customer that was never seen is no error: it is OUT with
 *         #COHORT_REASON_CUSTOMER_NOT_FOUND.
 */
COHORT_API cohort_code cohort_check(cohort_connection *connection, const cohort_check_request *request,
                                    const cohort_call_options *options, cohort_check_result *result,
                                    cohort_error *error);

/**
 * Told the answer to one request of a batch.
 *
 * @param index of the request
 * @param result NULL if this request failed
 * @param error NULL if it did not
 */
typedef void (*cohort_check_callback)(void *context, size_t index, const cohort_check_result *result,
                                      const cohort_error *error);

/**
 * Checks many, by pipelining: requests are sent without waiting for the answers to those before.
 *
 * The callback is told every request exactly once, in the order in which the answers come, whatever happens. The
 * timeout is that of the whole batch.
 *
 * @param requests may be NULL if `count` is 0
 * @return #COHORT_OK if the server answered every request, be it with an error for that request; otherwise how the
 *         batch as a whole ended, which is also what the requests without an answer are told
 */
COHORT_API cohort_code cohort_check_batch(cohort_connection *connection, const cohort_check_request *requests,
                                          size_t count, const cohort_call_options *options,
                                          cohort_check_callback callback, void *context, cohort_error *error);

/** One cohort of a customer. */
typedef struct cohort_customer_cohort {
    const char *cohort_id;
    /** IN or UNKNOWN. */
    cohort_membership membership;
    /** The version of the cohort that decided; from 1. */
    uint32_t cohort_version;
} cohort_customer_cohort;

/** The cohorts in which a customer is IN or UNKNOWN. */
typedef struct cohort_customer_cohorts {
    /** In order of cohort id. */
    const cohort_customer_cohort *cohorts;
    size_t count;
    /** The sequence at which the answer holds. */
    uint64_t sequence;
    /** False when no such customer has been seen, or it was erased. */
    bool customer_found;
} cohort_customer_cohorts;

/**
 * Which cohorts has this customer?
 *
 * @param min_sequence as in ::cohort_check_request
 * @param[out] cohorts to be freed with cohort_customer_cohorts_free(); NULL on failure
 */
COHORT_API cohort_code cohort_list_customer_cohorts(cohort_connection *connection, const char *customer_id,
                                                    uint64_t min_sequence, const cohort_call_options *options,
                                                    cohort_customer_cohorts **cohorts, cohort_error *error);

/** Frees it and all it points to. NULL is allowed. */
COHORT_API void cohort_customer_cohorts_free(cohort_customer_cohorts *cohorts);

/** Which members to list. Zero it, then set what is wanted. */
typedef struct cohort_members_request {
    /** `[A-Z][A-Z0-9_]{0,62}`. */
    const char *cohort_id;
    /** As in ::cohort_check_request. */
    uint64_t min_sequence;
    /** Ids in one page, 1 to 10,000; 0 means 1,000. */
    uint32_t page_size;
    /** Which state to list: IN (also when unspecified) or UNKNOWN. */
    cohort_membership membership;
    /** The cursor of the last page received, to go on behind it; NULL to begin. The resumed list is of a newer
     *  snapshot. */
    const uint8_t *cursor;
    size_t cursor_size;
} cohort_members_request;

/** A page of ids. Lives until the callback returns. */
typedef struct cohort_members_page {
    /** In the order in which the customers were first seen. */
    const char *const *customer_ids;
    size_t count;
    /** The sequence of the snapshot; the same in all pages of a call. */
    uint64_t sequence;
    /** The version of the cohort at the snapshot; from 1. */
    uint32_t cohort_version;
    /** Opaque; resumes the list behind this page. */
    const uint8_t *cursor;
    size_t cursor_size;
} cohort_members_page;

/** Told one page. @return whether to go on. */
typedef bool (*cohort_members_callback)(void *context, const cohort_members_page *page);

/**
 * Who is in this cohort? Pages of ids at one snapshot.
 *
 * Without `ttrpc-x1` the server cannot be told that the callback stopped early: what is still on its way is read and
 * dropped by the next call on this connection, so close it instead where the cohort is large.
 *
 * @return #COHORT_OK when the list ended or the callback stopped it
 */
COHORT_API cohort_code cohort_list_members(cohort_connection *connection, const cohort_members_request *request,
                                           const cohort_call_options *options, cohort_members_callback callback,
                                           void *context, cohort_error *error);

/** The size of a cohort. Plain memory of the caller. */
typedef struct cohort_member_count {
    /** Customers that are IN. */
    uint64_t members;
    /** Customers whose state is UNKNOWN; not among the members. */
    uint64_t unknown;
    /** The sequence at which both counts hold. */
    uint64_t sequence;
    /** The version of the cohort; from 1. */
    uint32_t cohort_version;
} cohort_member_count;

/**
 * How many are in this cohort?
 *
 * @param min_sequence as in ::cohort_check_request
 * @param[out] count zero on failure
 */
COHORT_API cohort_code cohort_count_members(cohort_connection *connection, const char *cohort_id,
                                            uint64_t min_sequence, const cohort_call_options *options,
                                            cohort_member_count *count, cohort_error *error);

/* ------------------------------------------------------------------------------------------------- any service */

/** A received message: bytes, as they were sent. */
typedef struct cohort_message cohort_message;

/** @return the bytes, never NULL, aligned for any type; they live as long as the message. */
COHORT_API const uint8_t *cohort_message_data(const cohort_message *message);
/** @return how many bytes there are; 0 is a message too. */
COHORT_API size_t cohort_message_size(const cohort_message *message);
/** Frees it. NULL is allowed. */
COHORT_API void cohort_message_free(cohort_message *message);

/**
 * Makes a unary call of any method.
 *
 * @param service full name, `package.Service`
 * @param method name within the service
 * @param payload the request message, serialized; may be NULL if `size` is 0
 * @param[out] reply the response message; to be freed with cohort_message_free(); NULL on failure
 */
COHORT_API cohort_code cohort_call(cohort_connection *connection, const char *service, const char *method,
                                   const void *payload, size_t size, const cohort_call_options *options,
                                   cohort_message **reply, cohort_error *error);

/** A call with a stream of messages in one direction or both. Belongs to its connection's thread. */
typedef struct cohort_stream cohort_stream;

/** Which direction streams. */
typedef enum cohort_stream_kind {
    COHORT_SERVER_STREAM = 0, /**< One request, many responses. */
    COHORT_CLIENT_STREAM = 1, /**< Many requests, one response. */
    COHORT_BIDIRECTIONAL = 2  /**< Many of both, independently. */
} cohort_stream_kind;

/**
 * Starts a call with streams.
 *
 * Without `ttrpc-x1` streams that share a connection have no flow control: messages for one that is not received
 * from are kept up to `max_buffered_bytes`, then that stream fails. Give long streams a connection of their own.
 *
 * @param payload the request of a server stream, serialized; must be NULL for the other kinds
 * @param[out] stream to be freed with cohort_stream_free(); NULL on failure
 */
COHORT_API cohort_code cohort_stream_open(cohort_connection *connection, cohort_stream_kind kind, const char *service,
                                          const char *method, const void *payload, size_t size,
                                          const cohort_call_options *options, cohort_stream **stream,
                                          cohort_error *error);

/**
 * Sends a message; returns when it is written to the socket. Waits while the server's window is used up, reading
 * what comes meanwhile.
 *
 * @param message may be NULL if `size` is 0, which sends an empty message
 * @return #COHORT_FAILED_PRECONDITION with #COHORT_ERROR_STREAM_ENDED after cohort_stream_close_send() or when the
 *         server has ended the call well (cohort_stream_receive() then tells the rest); how the call failed, if it did
 */
COHORT_API cohort_code cohort_stream_send(cohort_stream *stream, const void *message, size_t size,
                                          cohort_error *error);

/** Says that no more messages will be sent. Does nothing the second time. */
COHORT_API cohort_code cohort_stream_close_send(cohort_stream *stream, cohort_error *error);

/**
 * Receives the next message.
 *
 * @param[out] message to be freed with cohort_message_free(); NULL at the end of the stream, and on failure
 * @return #COHORT_OK for a message and for the end; how the call failed, once all messages before were received
 *         (but at once when the deadline has passed)
 */
COHORT_API cohort_code cohort_stream_receive(cohort_stream *stream, cohort_message **message, cohort_error *error);

/** Cancels the call if it runs (the server is told where `ttrpc-x1` was negotiated), and frees it. NULL is allowed. */
COHORT_API void cohort_stream_free(cohort_stream *stream);

#ifdef __cplusplus
}
#endif

#endif
