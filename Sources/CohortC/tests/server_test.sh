#!/bin/sh
# Tries libcohort against a real server, started for it on loopback.
#   server_test.sh PROGRAMS      PROGRAMS is the folder of membership-test, rpc-client and cohort-query
# LIBCOHORT_SERVER and LIBCOHORT_CTL name the server's and the operator's program; without them this says that it was skipped.
set -eu
programs=$1

if [ -z "${LIBCOHORT_SERVER:-}" ] || [ -z "${LIBCOHORT_CTL:-}" ]; then
    echo "skipped: the tests against a real server need LIBCOHORT_SERVER and LIBCOHORT_CTL"
    exit 0
fi

directory=$(mktemp -d "${TMPDIR:-/tmp}/libcohort.XXXXXX")
server=
peer=
finish() {
    status=$?
    for process in $server $peer; do kill "$process" 2>/dev/null && wait "$process" 2>/dev/null || true; done
    [ $status -eq 0 ] || tail -n 20 "$directory/server.log" >&2
    rm -rf "$directory"
}
trap finish EXIT

touch "$directory/server.log"
"$LIBCOHORT_SERVER" --dev --listen 127.0.0.1:0 --data-dir "$directory/data" 2>"$directory/server.log" &
server=$!
address=
for _ in $(seq 600); do
    address=$(sed -n 's/.*"message":"listening".*"address":"\([^"]*\)".*/\1/p' "$directory/server.log" | head -n 1)
    [ -z "$address" ] || break
    kill -0 "$server" || exit 1
    sleep 0.1
done
[ -n "$address" ] || { echo "the server does not listen" >&2; exit 1; }
ca=$directory/data/tls/ca.pem
ctl() { "$LIBCOHORT_CTL" --endpoint "$address" --ca "$ca" "$@" >/dev/null; }
for _ in $(seq 600); do
    ctl cohorts create HALF --rule 'customer.daily_spend > 100.0' 2>"$directory/errors" && break
    sleep 0.1
done
{
    echo customer_id,daily_spend
    awk 'BEGIN { for (i = 0; i < 10000; i++) printf "m%05d,%s\n", i, i < 5000 ? "500" : "50" }'
} >"$directory/customers.csv"
ctl customers import "$directory/customers.csv"
ctl customers put blank user_type=FREE

"$programs/membership-test" "${address%:*}" "${address##*:}" "$ca"

expect() {
    expected=$1
    shift
    found=$("$@" 2>&1 </dev/null) || true
    case $found in
    $expected) ;;
    *) printf '%s\nfound: %s\nexpected: %s\n' "$*" "$found" "$expected" >&2; exit 1 ;;
    esac
}
query="$programs/cohort-query --endpoint $address --ca $ca"
expect 'IN RULE_MATCH member=true *' $query check m00042 HALF
expect 'NOT_FOUND NOT_FOUND: *did you mean*' $query check m00042 HALB
expect 'members=5000 unknown=1 *' $query count HALF
expect 'HALF IN version=1' $query cohorts m00042
[ "$($query members HALF | sort | md5sum)" = "$(seq -f 'm%05g' 0 4999 | sort | md5sum)" ]
[ "$($query members HALF 1234 | wc -l)" = 1234 ]
[ "$(seq -f 'm%05g' 0 9999 | $query batch HALF | grep -c ' IN$')" = 5000 ]
echo "ok the example"

# ImportCustomers, a bidirectional call, of x1 and x2 with daily_spend 500, one row in each message.
call="$programs/rpc-client --endpoint $address --ca $ca"
spend=12180a0b6461696c795f7370656e641209190000000000407f40
for alpn in x1 ttrpc none; do
    expect '*end' $call --alpn $alpn bidirectional cohort.v1.CustomerService ImportCustomers \
        121e0a027831$spend 0801121e0a027832$spend
done
expect '*HALF*' $query cohorts x2
expect 'error INVALID_ARGUMENT *' $call bidirectional cohort.v1.CustomerService ImportCustomers ff
# The stream of health states has no end: it is given up after the first, and ends at its deadline otherwise.
expect '0801
given up' $call --take 1 server grpc.health.v1.Health Watch -
expect '0801
error DEADLINE_EXCEEDED *' $call --timeout 0.3 server grpc.health.v1.Health Watch -
expect 'error DEADLINE_EXCEEDED TIMED_OUT *' $call --alpn none --timeout 0.000001 unary grpc.health.v1.Health Check -
expect 'error UNIMPLEMENTED *' $call unary grpc.health.v1.Health Nothing -
expect 'error RESOURCE_EXHAUSTED MESSAGE_TOO_LARGE *' $call --max-message 1024 server \
    cohort.v1.MembershipService ListMembers 0a0448414c46
echo "ok the generic calls"

# A server that only speaks TLS 1.2, and one that speaks no TLS at all.
tls=$directory/data/tls
: >"$directory/peer.log"
openssl s_server -accept 127.0.0.1:0 -cert "$tls/server.pem" -key "$tls/server.key" -tls1_2 \
    >"$directory/peer.log" 2>&1 &
peer=$!
for _ in $(seq 100); do
    old=$(sed -n "s/.*ACCEPT 127.0.0.1:\([0-9]*\).*/\1/p" "$directory/peer.log" | head -n 1)
    [ -z "$old" ] || break
    sleep 0.05
done
if [ -n "$old" ]; then
    expect 'UNAVAILABLE TLS_FAILED: *' "$programs/cohort-query" --endpoint "127.0.0.1:$old" --ca "$ca" count HALF
    echo "ok TLS 1.2 is refused"
else
    echo "skipped: this openssl does not tell the port of its test server"
fi

# Draining: the server says GOAWAY and ends.
kill -TERM "$server"
wait "$server"
server=
expect 'UNAVAILABLE CONNECT_FAILED: *' $query count HALF
