/* Packing requests and reading answers of cohort.v1.MembershipService. */
#ifndef COHORT_MEMBERSHIP_H
#define COHORT_MEMBERSHIP_H

#include "cohort/v1/membership.pb-c.h"
#include "connection.h"

#define MEMBERSHIP_SERVICE "cohort.v1.MembershipService"

/* Packs a message into the connection's scratch memory, where it stays until the next; NULL if memory is out. */
const uint8_t *membership_pack(cohort_connection *connection, const ProtobufCMessage *message, size_t *size);

/* Packs a CheckMembershipRequest. NULL, with the error, if it is wrong. */
const uint8_t *membership_pack_check(cohort_connection *connection, const cohort_check_request *request, size_t *size,
                                     cohort_error *error);

/* A reply_reader into a cohort_check_result. */
cohort_code membership_read_check(void *result, const uint8_t *payload, size_t size, cohort_error *error);

#endif
