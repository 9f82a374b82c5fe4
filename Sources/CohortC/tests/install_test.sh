#!/bin/sh
# Installs libcohort into a folder of its own, and builds the example from there as its users would: in C and C++, with
# the shared and the static library.
#   install_test.sh BUILD
set -eu
build=$1
directory=$(mktemp -d "${TMPDIR:-/tmp}/libcohort.XXXXXX")
trap 'rm -rf "$directory"' EXIT

make -s install BUILD="$build" DESTDIR="$directory" PREFIX=/opt/cohort >/dev/null
export PKG_CONFIG_PATH="$directory/opt/cohort/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$directory"
[ "$(pkg-config --modversion cohort)" = "$(sed -n 's/^.define COHORT_VERSION "\(.*\)"/\1/p' include/cohort.h)" ]
CC=${CC:-cc}

# shellcheck disable=SC2046
$CC -o "$directory/shared" examples/cohort-query.c $(pkg-config --cflags --libs cohort)
# What the static library needs besides comes from the system, not from the folder.
needed=$(PKG_CONFIG_SYSROOT_DIR='' pkg-config --libs libssl libcrypto libprotobuf-c)
# shellcheck disable=SC2046,SC2086
$CC -o "$directory/static" examples/cohort-query.c $(pkg-config --cflags cohort) \
    "$directory/opt/cohort/lib/libcohort.a" $needed
for program in shared static; do
    status=0
    LD_LIBRARY_PATH="$directory/opt/cohort/lib" "$directory/$program" 2>/dev/null || status=$?
    [ $status -eq 2 ] || { echo "the $program example ended with $status" >&2; exit 1; }
done

# Nothing but the public names leaves either library.
strays=$( (nm -D --defined-only "$directory/opt/cohort/lib/libcohort.so"; nm -g --defined-only "$directory/opt/cohort/lib/libcohort.a") |
    awk 'NF == 3 && $3 !~ /^cohort_[a-z_]+$/ { print $3 }')
[ -z "$strays" ] || { echo "names that should be hidden: $strays" >&2; exit 1; }

if command -v c++ >/dev/null; then
    printf '#include <cohort.h>\nint main() { return cohort_version() == nullptr; }\n' >"$directory/plus.cpp"
    # shellcheck disable=SC2046
    c++ -Wall -Wextra -Werror -o "$directory/plus" "$directory/plus.cpp" $(pkg-config --cflags --libs cohort)
    LD_LIBRARY_PATH="$directory/opt/cohort/lib" "$directory/plus"
fi
echo "ok install"
