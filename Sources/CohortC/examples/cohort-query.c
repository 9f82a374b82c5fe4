/*
 * Asks a Cohort server who belongs to which cohort: an example of libcohort.
 *
 *     cohort-query --endpoint 127.0.0.1:7443 --ca ca.pem check anna PREMIUM
 *
 * Exit status: 0 answered, 1 failed, 2 wrong usage.
 */
#include <cohort.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage_text[] =
    "usage: cohort-query [--endpoint HOST:PORT] [--ca FILE] [--cert FILE --key FILE] [--server-name NAME]\n"
    "                    [--alpn x1|ttrpc|none] [--timeout SECONDS] [--min-sequence NUMBER] COMMAND\n"
    "commands:\n"
    "  check CUSTOMER COHORT   is the customer in the cohort?\n"
    "  batch COHORT            the same for every customer id on standard input, one a line\n"
    "  cohorts CUSTOMER        which cohorts has the customer?\n"
    "  members COHORT [LIMIT]  who is in the cohort? at most LIMIT ids\n"
    "  count COHORT            how many are in the cohort?\n";

typedef struct settings {
    char host[256];
    uint16_t port;
    cohort_options options;
    cohort_call_options call;
    uint64_t min_sequence;
} settings;

static int usage(void) {
    fputs(usage_text, stderr);
    return 2;
}

/* Prints how a call failed: the code, the reason for programs, the message for people. */
static int report(const cohort_error *error) {
    fprintf(stderr, "%s %s: %s\n", cohort_code_name(error->code), *error->reason == '\0' ? "-" : error->reason,
            error->message);
    if (error->retry_delay_nanos > 0)
        fprintf(stderr, "try again in %.3f s\n", (double)error->retry_delay_nanos / (double)COHORT_SECOND);
    return 1;
}

/* ------------------------------------------------------------------ commands */

static int check(cohort_connection *connection, const settings *settings, const char *customer, const char *cohort) {
    cohort_check_request request = {
        .customer_id = customer,
        .cohort_id = cohort,
        .min_sequence = settings->min_sequence,
        .include_since = true,
    };
    cohort_check_result result;
    cohort_error error;
    if (cohort_check(connection, &request, &settings->call, &result, &error) != COHORT_OK) return report(&error);
    printf("%s %s", cohort_membership_name(result.membership), cohort_reason_name(result.reason));
    if (result.has_member) printf(" member=%s", result.member ? "true" : "false");
    printf(" version=%" PRIu32 " sequence=%" PRIu64, result.cohort_version, result.sequence);
    if (result.has_since) printf(" since=%" PRId64, result.since_seconds);
    if (*result.detail != '\0') printf(" detail=%s", result.detail);
    printf("\n");
    return 0;
}

/* Ids of standard input, and what became of each. */
typedef struct batch {
    cohort_check_request *requests;
    const char **answers;
    size_t count;
    size_t capacity;
    size_t failures;
} batch;

static bool add_request(batch *batch, const char *cohort, uint64_t min_sequence, const char *line, size_t length) {
    if (batch->count == batch->capacity) {
        size_t capacity = batch->capacity == 0 ? 1024 : batch->capacity * 2;
        cohort_check_request *requests = realloc(batch->requests, capacity * sizeof *requests);
        if (requests == NULL) return false;
        batch->requests = requests;
        batch->capacity = capacity;
    }
    char *id = malloc(length + 1);
    if (id == NULL) return false;
    memcpy(id, line, length);
    id[length] = '\0';
    batch->requests[batch->count] =
        (cohort_check_request){.customer_id = id, .cohort_id = cohort, .min_sequence = min_sequence};
    batch->count += 1;
    return true;
}

/* Called once for every request, in the order of the answers. */
static void keep_answer(void *context, size_t index, const cohort_check_result *result, const cohort_error *error) {
    batch *batch = context;
    if (error != NULL) {
        /* One message is enough; the names of codes are static. */
        if (batch->failures == 0) report(error);
        batch->failures += 1;
        batch->answers[index] = cohort_code_name(error->code);
    } else {
        batch->answers[index] = cohort_membership_name(result->membership);
    }
}

static int check_batch(cohort_connection *connection, const settings *settings, const char *cohort) {
    batch batch = {0};
    char line[1024];
    bool has_memory = true;
    while (has_memory && fgets(line, sizeof line, stdin) != NULL) {
        size_t length = strcspn(line, "\n");
        if (length > 0) has_memory = add_request(&batch, cohort, settings->min_sequence, line, length);
    }
    batch.answers = calloc(batch.count + 1, sizeof *batch.answers);
    int status = 1;
    if (!has_memory || batch.answers == NULL) {
        fprintf(stderr, "out of memory\n");
    } else {
        cohort_error error;
        cohort_code code = cohort_check_batch(connection, batch.requests, batch.count, &settings->call, keep_answer,
                                              &batch, &error);
        for (size_t i = 0; i < batch.count; i++) printf("%s %s\n", batch.requests[i].customer_id, batch.answers[i]);
        if (code != COHORT_OK) report(&error);
        status = code == COHORT_OK && batch.failures == 0 ? 0 : 1;
    }
    for (size_t i = 0; i < batch.count; i++) free((void *)(uintptr_t)batch.requests[i].customer_id);
    free(batch.requests);
    free(batch.answers);
    return status;
}

static int list_cohorts(cohort_connection *connection, const settings *settings, const char *customer) {
    cohort_customer_cohorts *list;
    cohort_error error;
    if (cohort_list_customer_cohorts(connection, customer, settings->min_sequence, &settings->call, &list, &error) !=
        COHORT_OK)
        return report(&error);
    for (size_t i = 0; i < list->count; i++)
        printf("%s %s version=%" PRIu32 "\n", list->cohorts[i].cohort_id,
               cohort_membership_name(list->cohorts[i].membership), list->cohorts[i].cohort_version);
    if (!list->customer_found) fprintf(stderr, "no customer %s has been seen\n", customer);
    cohort_customer_cohorts_free(list);
    return 0;
}

/* How many ids may still be printed. */
static bool print_page(void *context, const cohort_members_page *page) {
    uint64_t *left = context;
    for (size_t i = 0; i < page->count && *left > 0; i++, *left -= 1) printf("%s\n", page->customer_ids[i]);
    return *left > 0;
}

static int list_members(cohort_connection *connection, const settings *settings, const char *cohort, uint64_t limit) {
    cohort_members_request request = {.cohort_id = cohort, .min_sequence = settings->min_sequence};
    cohort_error error;
    if (cohort_list_members(connection, &request, &settings->call, print_page, &limit, &error) != COHORT_OK)
        return report(&error);
    return 0;
}

static int count_members(cohort_connection *connection, const settings *settings, const char *cohort) {
    cohort_member_count count;
    cohort_error error;
    if (cohort_count_members(connection, cohort, settings->min_sequence, &settings->call, &count, &error) != COHORT_OK)
        return report(&error);
    printf("members=%" PRIu64 " unknown=%" PRIu64 " version=%" PRIu32 " sequence=%" PRIu64 "\n", count.members,
           count.unknown, count.cohort_version, count.sequence);
    return 0;
}

static int run(cohort_connection *connection, const settings *settings, int count, char **arguments) {
    const char *command = arguments[0];
    if (strcmp(command, "check") == 0 && count == 3) return check(connection, settings, arguments[1], arguments[2]);
    if (strcmp(command, "batch") == 0 && count == 2) return check_batch(connection, settings, arguments[1]);
    if (strcmp(command, "cohorts") == 0 && count == 2) return list_cohorts(connection, settings, arguments[1]);
    if (strcmp(command, "count") == 0 && count == 2) return count_members(connection, settings, arguments[1]);
    if (strcmp(command, "members") == 0 && (count == 2 || count == 3)) {
        uint64_t limit = count == 3 ? strtoull(arguments[2], NULL, 10) : UINT64_MAX;
        return list_members(connection, settings, arguments[1], limit);
    }
    return usage();
}

/* ------------------------------------------------------------------ settings */

static bool set_endpoint(settings *settings, const char *value) {
    const char *colon = strrchr(value, ':');
    if (colon == NULL || colon == value || (size_t)(colon - value) >= sizeof settings->host) return false;
    char *end;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (port < 1 || port > 65535 || *end != '\0') return false;
    memcpy(settings->host, value, (size_t)(colon - value));
    settings->host[colon - value] = '\0';
    settings->port = (uint16_t)port;
    return true;
}

static bool set(settings *settings, const char *name, const char *value) {
    if (strcmp(name, "--endpoint") == 0) return set_endpoint(settings, value);
    if (strcmp(name, "--ca") == 0) return (settings->options.ca_file = value), true;
    if (strcmp(name, "--cert") == 0) return (settings->options.certificate_file = value), true;
    if (strcmp(name, "--key") == 0) return (settings->options.key_file = value), true;
    if (strcmp(name, "--server-name") == 0) return (settings->options.server_name = value), true;
    if (strcmp(name, "--min-sequence") == 0) return (settings->min_sequence = strtoull(value, NULL, 10)), true;
    if (strcmp(name, "--timeout") == 0) {
        double seconds = strtod(value, NULL);
        settings->call.timeout_nanos = (int64_t)(seconds * (double)COHORT_SECOND);
        return seconds > 0 && seconds < 1e6;
    }
    if (strcmp(name, "--alpn") == 0) {
        static const char *const names[] = {"x1", "ttrpc", "none"};
        for (unsigned i = 0; i < 3; i++) {
            if (strcmp(value, names[i]) == 0) return (settings->options.alpn = (cohort_alpn)i), true;
        }
    }
    return false;
}

int main(int count, char **arguments) {
    settings settings = {.host = "127.0.0.1", .port = 7443};
    cohort_options_init(&settings.options);
    cohort_call_options_init(&settings.call);
    int at = 1;
    for (; at + 1 < count && strncmp(arguments[at], "--", 2) == 0; at += 2) {
        if (!set(&settings, arguments[at], arguments[at + 1])) return usage();
    }
    if (at >= count) return usage();

    cohort_connection *connection;
    cohort_error error;
    if (cohort_connect(settings.host, settings.port, &settings.options, &connection, &error) != COHORT_OK)
        return report(&error);
    int status = run(connection, &settings, count - at, arguments + at);
    cohort_close(connection);
    return status;
}
