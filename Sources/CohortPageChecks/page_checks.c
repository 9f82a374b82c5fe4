// A file system for SQLite that gives each page of a database file a check sum, and refuses a page whose sum does not
// match. Sums are made when a page is written to the file and are taken off when it is read: in memory and in the
// write-ahead log the bytes are zero. So a page that another program wrote without a sum is let through.

#include "page_checks.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

enum { BASE_FILE_BYTES = 1024, MAXIMUM_PAGE = 65536 };

typedef struct {
    sqlite3_file file;
    sqlite3_file *base;
    // A database file, and one whose pages have room for a sum.
    int is_database;
    int is_checked;
} checked_file;

static sqlite3_vfs checks;
static _Atomic(sqlite3_vfs *) base_vfs;

static sqlite3_file *base(sqlite3_file *file) { return ((checked_file *)file)->base; }

// Four lanes of multiply and rotate, each step invertible: a change within one word always changes the result. The page's
// place is part of it, so that a page in the wrong place is noticed. Never 0.
static uint64_t page_sum(const uint8_t *bytes, size_t size, uint64_t place) {
    const uint64_t factor = 0x9E3779B97F4A7C15ull;
    uint64_t lanes[4] = {place ^ 0x243F6A8885A308D3ull, 0x13198A2E03707344ull, 0xA4093822299F31D0ull, 0x082EFA98EC4E6C89ull};
    for (size_t i = 0; i < size / 8; i++) {
        uint64_t word;
        memcpy(&word, bytes + 8 * i, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        word = __builtin_bswap64(word);
#endif
        uint64_t mixed = (lanes[i & 3] ^ word) * factor;
        lanes[i & 3] = mixed << 29 | mixed >> 35;
    }
    uint64_t sum = 0;
    for (int i = 0; i < 4; i++) {
        sum = (sum ^ lanes[i]) * factor;
        sum ^= sum >> 32;
    }
    return sum ? sum : 1;
}

static int is_page(int size, sqlite3_int64 offset) {
    return size >= 512 && size <= MAXIMUM_PAGE && (size & (size - 1)) == 0 && offset % size == 0;
}

// The file's first bytes say whether its pages have room for a sum.
static void look_at_header(checked_file *file, const uint8_t *bytes, int size, sqlite3_int64 offset) {
    if (offset == 0 && size >= 100 && memcmp(bytes, "SQLite format 3", 16) == 0) {
        file->is_checked = bytes[20] == COHORT_PAGE_CHECK_BYTES;
    }
}

static int checks_close(sqlite3_file *file) { return base(file)->pMethods->xClose(base(file)); }

static int checks_read(sqlite3_file *handle, void *buffer, int size, sqlite3_int64 offset) {
    checked_file *file = (checked_file *)handle;
    int code = file->base->pMethods->xRead(file->base, buffer, size, offset);
    if (code != SQLITE_OK || !file->is_database) return code;
    uint8_t *bytes = buffer;
    look_at_header(file, bytes, size, offset);
    if (!file->is_checked || !is_page(size, offset)) return code;
    uint8_t *place = bytes + size - COHORT_PAGE_CHECK_BYTES;
    uint64_t stored = 0;
    for (int i = 0; i < 8; i++) stored |= (uint64_t)place[i] << (8 * i);
    if (stored != 0 && stored != page_sum(bytes, size - COHORT_PAGE_CHECK_BYTES, offset / size)) {
        return SQLITE_IOERR_DATA;
    }
    memset(place, 0, COHORT_PAGE_CHECK_BYTES);
    return code;
}

static int checks_write(sqlite3_file *handle, const void *buffer, int size, sqlite3_int64 offset) {
    checked_file *file = (checked_file *)handle;
    if (file->is_database) {
        look_at_header(file, buffer, size, offset);
        if (file->is_checked && is_page(size, offset)) {
            uint8_t page[MAXIMUM_PAGE];
            memcpy(page, buffer, size);
            uint8_t *place = page + size - COHORT_PAGE_CHECK_BYTES;
            uint64_t sum = page_sum(page, size - COHORT_PAGE_CHECK_BYTES, offset / size);
            for (int i = 0; i < 8; i++) place[i] = (uint8_t)(sum >> (8 * i));
            return file->base->pMethods->xWrite(file->base, page, size, offset);
        }
    }
    return file->base->pMethods->xWrite(file->base, buffer, size, offset);
}

static int checks_truncate(sqlite3_file *file, sqlite3_int64 size) {
    return base(file)->pMethods->xTruncate(base(file), size);
}
static int checks_sync(sqlite3_file *file, int flags) { return base(file)->pMethods->xSync(base(file), flags); }
static int checks_size(sqlite3_file *file, sqlite3_int64 *size) {
    return base(file)->pMethods->xFileSize(base(file), size);
}
static int checks_lock(sqlite3_file *file, int lock) { return base(file)->pMethods->xLock(base(file), lock); }
static int checks_unlock(sqlite3_file *file, int lock) { return base(file)->pMethods->xUnlock(base(file), lock); }
static int checks_reserved(sqlite3_file *file, int *held) {
    return base(file)->pMethods->xCheckReservedLock(base(file), held);
}
static int checks_control(sqlite3_file *file, int what, void *argument) {
    return base(file)->pMethods->xFileControl(base(file), what, argument);
}
static int checks_sector(sqlite3_file *file) { return base(file)->pMethods->xSectorSize(base(file)); }
static int checks_device(sqlite3_file *file) { return base(file)->pMethods->xDeviceCharacteristics(base(file)); }
static int checks_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **where) {
    return base(file)->pMethods->xShmMap(base(file), page, size, extend, where);
}
static int checks_shm_lock(sqlite3_file *file, int offset, int count, int flags) {
    return base(file)->pMethods->xShmLock(base(file), offset, count, flags);
}
static void checks_shm_barrier(sqlite3_file *file) { base(file)->pMethods->xShmBarrier(base(file)); }
static int checks_shm_unmap(sqlite3_file *file, int drop) { return base(file)->pMethods->xShmUnmap(base(file), drop); }

// Version 2: without memory-mapped reading, which would go past the checks.
static const sqlite3_io_methods methods = {
    2, checks_close, checks_read, checks_write, checks_truncate, checks_sync, checks_size, checks_lock, checks_unlock,
    checks_reserved, checks_control, checks_sector, checks_device, checks_shm_map, checks_shm_lock, checks_shm_barrier,
    checks_shm_unmap, NULL, NULL,
};

static int checks_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *handle, int flags, int *out_flags) {
    (void)vfs;
    checked_file *file = (checked_file *)handle;
    memset(file, 0, sizeof *file);
    file->base = (sqlite3_file *)(file + 1);
    sqlite3_vfs *below = atomic_load(&base_vfs);
    int code = below->xOpen(below, name, file->base, flags, out_flags);
    if (code != SQLITE_OK) return code;
    file->is_database = (flags & SQLITE_OPEN_MAIN_DB) != 0;
    file->file.pMethods = &methods;
    return SQLITE_OK;
}

static int checks_delete(sqlite3_vfs *vfs, const char *name, int sync_directory) {
    (void)vfs;
    sqlite3_vfs *below = atomic_load(&base_vfs);
    return below->xDelete(below, name, sync_directory);
}

static int checks_access(sqlite3_vfs *vfs, const char *name, int flags, int *result) {
    (void)vfs;
    sqlite3_vfs *below = atomic_load(&base_vfs);
    return below->xAccess(below, name, flags, result);
}

static pthread_mutex_t installing = PTHREAD_MUTEX_INITIALIZER;

int cohort_page_checks_install(void) {
    pthread_mutex_lock(&installing);
    int code = SQLITE_OK;
    if (!atomic_load(&base_vfs)) {
        sqlite3_vfs *below = sqlite3_vfs_find(NULL);
        if (!below || below->iVersion < 2 || below->szOsFile > BASE_FILE_BYTES) {
            code = SQLITE_MISUSE;
        } else {
            // Everything that is not about files is the one below's own.
            checks = *below;
            checks.zName = "cohort-page-checks";
            checks.pNext = NULL;
            checks.szOsFile = (int)sizeof(checked_file) + BASE_FILE_BYTES;
            checks.xOpen = checks_open;
            checks.xDelete = checks_delete;
            checks.xAccess = checks_access;
            atomic_store(&base_vfs, below);
            code = sqlite3_vfs_register(&checks, 1);
        }
    }
    pthread_mutex_unlock(&installing);
    return code;
}

int cohort_page_checks_set_base(const char *name) {
    int code = cohort_page_checks_install();
    if (code != SQLITE_OK) return code;
    sqlite3_vfs *below = sqlite3_vfs_find(name);
    if (!below || below == &checks || below->szOsFile > BASE_FILE_BYTES) return SQLITE_MISUSE;
    atomic_store(&base_vfs, below);
    return SQLITE_OK;
}
