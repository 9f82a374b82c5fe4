// Counts heap allocations of a process: build as a shared object, preload it, and read malloc_count_total().
//
//   cc -O2 -shared -fPIC -o malloc_count.so malloc_count.c
//   LD_PRELOAD=./malloc_count.so program
//
// Where MALLOC_COUNT_FILE names a file, the two counters (u64 of this machine: allocations, bytes) stand in its first 16
// bytes, for another process to read while the program runs.
//
// A program finds the counters by dlsym(NULL, "malloc_count_total") and does without where they are missing. It
// should count an operation that is known to allocate as well: a shim that counts nothing proves nothing.
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

struct counters {
    _Atomic uint64_t count;
    _Atomic uint64_t bytes;
};

static struct counters own;
static struct counters *counters = &own;

static void note(size_t size) {
    atomic_fetch_add_explicit(&counters->count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&counters->bytes, size, memory_order_relaxed);
}

__attribute__((constructor)) static void share(void) {
    const char *path = getenv("MALLOC_COUNT_FILE");
    if (path == NULL) return;
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, sizeof own) != 0) abort();
    void *shared = mmap(NULL, sizeof own, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (shared == MAP_FAILED) abort();
    close(file);
    counters = shared;
}

// Allocations since the process began, reallocations included.
uint64_t malloc_count_total(void) { return atomic_load_explicit(&counters->count, memory_order_relaxed); }

// Bytes asked for since the process began.
uint64_t malloc_count_bytes(void) { return atomic_load_explicit(&counters->bytes, memory_order_relaxed); }

void *malloc(size_t size) {
    note(size);
    return __libc_malloc(size);
}

void *calloc(size_t members, size_t size) {
    note(members * size);
    return __libc_calloc(members, size);
}

void *realloc(void *block, size_t size) {
    note(size);
    return __libc_realloc(block, size);
}

void *memalign(size_t alignment, size_t size) {
    note(size);
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **block, size_t alignment, size_t size) {
    if (alignment % sizeof(void *) != 0 || (alignment & (alignment - 1)) != 0) return EINVAL;
    void *result = memalign(alignment, size);
    if (result == NULL) return ENOMEM;
    *block = result;
    return 0;
}
