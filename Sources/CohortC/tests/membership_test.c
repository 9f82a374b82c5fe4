/*
 * libcohort against a real server that has 10,000 customers m00000 to m09999, the first half of them IN the cohort HALF,
 * and one named `blank` that has no attributes.
 *
 *     membership-test HOST PORT CA_FILE
 */
#include <cohort.h>

#include "test.h"

enum { CUSTOMERS = 10000, MEMBERS = 5000 };

static const char *host;
static uint16_t port;
static const char *ca_file;

static cohort_connection *open_connection(cohort_alpn alpn) {
    cohort_options options;
    cohort_options_init(&options);
    options.ca_file = ca_file;
    options.alpn = alpn;
    cohort_connection *connection;
    cohort_error error;
    if (cohort_connect(host, port, &options, &connection, &error) != COHORT_OK) {
        fprintf(stderr, "%s: %s\n", error.reason, error.message);
        exit(1);
    }
    CHECK(cohort_connection_is_extended(connection) == (alpn == COHORT_ALPN_TTRPC_X1));
    CHECK(cohort_connection_is_usable(connection));
    return connection;
}

static cohort_check_result check(cohort_connection *connection, const char *customer) {
    cohort_check_request request = {.customer_id = customer, .cohort_id = "HALF", .include_since = true};
    cohort_check_result result;
    cohort_error error;
    CHECK(cohort_check(connection, &request, NULL, &result, &error) == COHORT_OK);
    return result;
}

static void checks(cohort_connection *connection) {
    cohort_check_result result = check(connection, "m00000");
    CHECK(result.membership == COHORT_MEMBERSHIP_IN && result.reason == COHORT_REASON_RULE_MATCH);
    CHECK(result.has_member && result.member && result.has_since && result.since_seconds > 1600000000);
    CHECK(result.sequence > 0 && result.cohort_version == 1);
    result = check(connection, "m05000");
    CHECK(result.membership == COHORT_MEMBERSHIP_OUT && result.reason == COHORT_REASON_RULE_NO_MATCH);
    CHECK(result.has_member && !result.member && !result.has_since);
    result = check(connection, "blank");
    CHECK(result.membership == COHORT_MEMBERSHIP_UNKNOWN && result.reason == COHORT_REASON_RULE_ERROR);
    CHECK(!result.has_member && strstr(result.detail, "daily_spend") != NULL);
    result = check(connection, "nobody");
    CHECK(result.membership == COHORT_MEMBERSHIP_OUT && result.reason == COHORT_REASON_CUSTOMER_NOT_FOUND);
}

static void errors(cohort_connection *connection) {
    cohort_check_request request = {.customer_id = "m00000", .cohort_id = "HALV"};
    cohort_check_result result;
    cohort_error error;
    CHECK(cohort_check(connection, &request, NULL, &result, &error) == COHORT_NOT_FOUND);
    CHECK_TEXT(error.reason, "NOT_FOUND");
    CHECK_TEXT(error.domain, "cohort.dev");
    CHECK(strstr(error.message, "'HALF'") != NULL);
    request = (cohort_check_request){.customer_id = "", .cohort_id = "HALF"};
    CHECK(cohort_check(connection, &request, NULL, &result, &error) == COHORT_INVALID_ARGUMENT);
    CHECK(strstr(error.message, "customer_id") != NULL);
    cohort_message *reply;
    CHECK(cohort_call(connection, "no.Such", "Method", NULL, 0, NULL, &reply, &error) == COHORT_UNIMPLEMENTED);
    /* The callback of an error never runs. */
    cohort_members_request members = {.cohort_id = "HALV"};
    CHECK(cohort_list_members(connection, &members, NULL, (cohort_members_callback)abort, NULL, &error) ==
          COHORT_NOT_FOUND);
}

/* ------------------------------------------------------------------ batches */

typedef struct batch {
    size_t told;
    bool seen[CUSTOMERS];
} batch;

static void note_answer(void *context, size_t index, const cohort_check_result *result, const cohort_error *error) {
    batch *batch = context;
    CHECK(error == NULL && result != NULL && !batch->seen[index]);
    CHECK(result->membership == (index < MEMBERS ? COHORT_MEMBERSHIP_IN : COHORT_MEMBERSHIP_OUT));
    batch->seen[index] = true;
    batch->told += 1;
}

static void batch_of_all(cohort_connection *connection) {
    static char ids[CUSTOMERS][8];
    static cohort_check_request requests[CUSTOMERS];
    static batch batch;
    batch = (struct batch){0};
    for (int i = 0; i < CUSTOMERS; i++) {
        snprintf(ids[i], sizeof ids[i], "m%05u", (unsigned)i % 100000);
        requests[i] = (cohort_check_request){.customer_id = ids[i], .cohort_id = "HALF"};
    }
    cohort_error error;
    CHECK(cohort_check_batch(connection, requests, CUSTOMERS, NULL, note_answer, &batch, &error) == COHORT_OK);
    CHECK(batch.told == CUSTOMERS);
}

/* ------------------------------------------------------------------ deadlines */

static void note_late(void *context, size_t index, const cohort_check_result *result, const cohort_error *error) {
    (void)index;
    CHECK(result == NULL && error->code == COHORT_DEADLINE_EXCEEDED);
    *(int *)context += 1;
}

static void deadlines(cohort_connection *connection) {
    cohort_call_options options = {.timeout_nanos = 100 * COHORT_MILLISECOND};
    /* A sequence far away is waited for, longer than this. */
    cohort_check_request late = {.customer_id = "m05000", .cohort_id = "HALF", .min_sequence = 1000000000};
    cohort_check_result result;
    cohort_error error;
    for (int i = 0; i < 3; i++) {
        CHECK(cohort_check(connection, &late, &options, &result, &error) == COHORT_DEADLINE_EXCEEDED);
        /* The answer to the call that was given up is not taken for this one's. */
        CHECK(check(connection, "m00001").membership == COHORT_MEMBERSHIP_IN);
    }
    cohort_check_request many[20];
    for (int i = 0; i < 20; i++) many[i] = late;
    int told = 0;
    /* Either end may be the first to see that the time is over. */
    cohort_code code = cohort_check_batch(connection, many, 20, &options, note_late, &told, &error);
    CHECK((code == COHORT_DEADLINE_EXCEEDED || code == COHORT_OK) && told == 20);
    CHECK(check(connection, "m00001").membership == COHORT_MEMBERSHIP_IN);
    CHECK(cohort_check(connection, &late, NULL, &result, &error) == COHORT_UNAVAILABLE);
    CHECK_TEXT(error.reason, "SEQUENCE_NOT_REACHED");
    CHECK(error.retry_delay_nanos > 0);
}

/* ------------------------------------------------------------------ lists */

typedef struct listing {
    bool seen[MEMBERS];
    size_t count;
    size_t pages;
    size_t stop_after;
    uint64_t sequence;
    uint8_t cursor[256];
    size_t cursor_size;
} listing;

static bool note_page(void *context, const cohort_members_page *page) {
    listing *listing = context;
    for (size_t i = 0; i < page->count; i++) {
        long index = strtol(page->customer_ids[i] + 1, NULL, 10);
        CHECK(page->customer_ids[i][0] == 'm' && index >= 0 && index < MEMBERS && !listing->seen[index]);
        listing->seen[index] = true;
        listing->count += 1;
    }
    CHECK(listing->pages == 0 || listing->sequence == page->sequence);
    listing->sequence = page->sequence;
    CHECK(page->cursor_size <= sizeof listing->cursor && page->cohort_version == 1);
    if (page->cursor_size > 0) memcpy(listing->cursor, page->cursor, page->cursor_size);
    listing->cursor_size = page->cursor_size;
    listing->pages += 1;
    return listing->pages != listing->stop_after;
}

static void members(cohort_connection *connection) {
    static const uint32_t page_sizes[] = {0, 1, 7, 10000};
    cohort_error error;
    for (size_t i = 0; i < sizeof page_sizes / sizeof *page_sizes; i++) {
        listing listing = {0};
        cohort_members_request request = {.cohort_id = "HALF", .page_size = page_sizes[i]};
        CHECK(cohort_list_members(connection, &request, NULL, note_page, &listing, &error) == COHORT_OK);
        CHECK(listing.count == MEMBERS);
    }
    /* Stopped early, and gone on with behind the last page. */
    listing listing = {.stop_after = 3};
    cohort_members_request request = {.cohort_id = "HALF", .page_size = 100};
    CHECK(cohort_list_members(connection, &request, NULL, note_page, &listing, &error) == COHORT_OK);
    CHECK(listing.pages == 3 && listing.count == 300);
    CHECK(check(connection, "m00001").membership == COHORT_MEMBERSHIP_IN);
    uint8_t cursor[256];
    memcpy(cursor, listing.cursor, listing.cursor_size);
    request.cursor = cursor;
    request.cursor_size = listing.cursor_size;
    CHECK(cohort_list_members(connection, &request, NULL, note_page, &listing, &error) == COHORT_OK);
    CHECK(listing.count == MEMBERS);
}

static bool take_any(void *context, const cohort_members_page *page) {
    *(size_t *)context += page->count;
    return true;
}

static void others(cohort_connection *connection) {
    cohort_error error;
    size_t unknown = 0;
    cohort_members_request request = {.cohort_id = "HALF", .membership = COHORT_MEMBERSHIP_UNKNOWN};
    CHECK(cohort_list_members(connection, &request, NULL, take_any, &unknown, &error) == COHORT_OK && unknown == 1);
    cohort_member_count count;
    CHECK(cohort_count_members(connection, "HALF", 0, NULL, &count, &error) == COHORT_OK);
    CHECK(count.members == MEMBERS && count.unknown == 1 && count.cohort_version == 1 && count.sequence > 0);
    cohort_customer_cohorts *cohorts;
    CHECK(cohort_list_customer_cohorts(connection, "m00000", 0, NULL, &cohorts, &error) == COHORT_OK);
    CHECK(cohorts->customer_found && cohorts->count == 1 && cohorts->sequence > 0);
    CHECK_TEXT(cohorts->cohorts[0].cohort_id, "HALF");
    CHECK(cohorts->cohorts[0].membership == COHORT_MEMBERSHIP_IN && cohorts->cohorts[0].cohort_version == 1);
    cohort_customer_cohorts_free(cohorts);
    CHECK(cohort_list_customer_cohorts(connection, "nobody", 0, NULL, &cohorts, &error) == COHORT_OK);
    CHECK(!cohorts->customer_found && cohorts->count == 0);
    cohort_customer_cohorts_free(cohorts);
}

/* ------------------------------------------------------------------ connecting */

static void refuse(const char *name, const char *authorities, uint16_t at, const char *reason) {
    cohort_options options;
    cohort_options_init(&options);
    options.ca_file = authorities;
    options.server_name = name;
    options.connect_timeout_nanos = 5 * COHORT_SECOND;
    cohort_connection *connection;
    cohort_error error;
    CHECK(cohort_connect(host, at, &options, &connection, &error) == COHORT_UNAVAILABLE && connection == NULL);
    CHECK_TEXT(error.reason, reason);
    CHECK(error.not_processed);
}

static void refused_connections(void) {
    refuse("example.com", ca_file, port, COHORT_ERROR_CERTIFICATE_REJECTED);
    refuse("127.0.0.2", ca_file, port, COHORT_ERROR_CERTIFICATE_REJECTED);
    /* The system's authorities do not know this one. */
    refuse(NULL, NULL, port, COHORT_ERROR_CERTIFICATE_REJECTED);
    refuse(NULL, ca_file, 1, COHORT_ERROR_CONNECT_FAILED);
}

int main(int count, char **arguments) {
    if (count != 4) {
        fprintf(stderr, "usage: membership-test HOST PORT CA_FILE\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    host = arguments[1];
    port = (uint16_t)strtoul(arguments[2], NULL, 10);
    ca_file = arguments[3];
    static const char *const names[] = {"ttrpc-x1", "ttrpc", "no ALPN"};
    for (int alpn = COHORT_ALPN_TTRPC_X1; alpn <= COHORT_ALPN_NONE; alpn++) {
        cohort_connection *connection = open_connection((cohort_alpn)alpn);
        checks(connection);
        errors(connection);
        batch_of_all(connection);
        deadlines(connection);
        members(connection);
        others(connection);
        cohort_error error;
        cohort_code pinged = cohort_ping(connection, 0, &error);
        CHECK(pinged == (alpn == COHORT_ALPN_TTRPC_X1 ? COHORT_OK : COHORT_FAILED_PRECONDITION));
        CHECK(cohort_connection_is_usable(connection));
        cohort_close(connection);
        printf("ok memberships over %s\n", names[alpn]);
    }
    RUN(refused_connections);
    return 0;
}
