#include "power_loss.h"

#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512, MAXIMUM_PATH = 1024 };

// A write or a truncation (data == NULL) that has not been synced.
typedef struct change {
    struct change *next;
    sqlite3_int64 offset;
    size_t size;
    uint8_t *data;
} change;

// What a file holds. It outlives its name.
typedef struct content {
    uint8_t *synced;
    size_t synced_size;
    change *first, *last;
    // A new journal or log: syncing it syncs the directory too, as SQLite does.
    int syncs_directory;
} content;

typedef struct name {
    struct name *next;
    char path[MAXIMUM_PATH];
    // What it leads to now, and after a loss of power if no unsynced step survives.
    content *now, *durable;
} name;

// A creation (what != NULL) or deletion that the directory has not been synced for.
typedef struct step {
    struct step *next;
    name *name;
    content *what;
} step;

typedef struct {
    sqlite3_file file;
    sqlite3_file *base;
    name *name;
    content *content;
} watched_file;

static sqlite3_vfs vfs;
static sqlite3_vfs *unix_vfs;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char watched[MAXIMUM_PATH];
static name *names;
static step *first_step, *last_step;
static long operations, strike_at = -1;
static uint64_t random_state;
static char target[MAXIMUM_PATH];
static int struck;
static uint64_t acknowledged, acknowledged_at_strike;
static int failing_kind, failing_code;
static long failing_count;
static char failing_suffix[64];

static uint64_t random_word(void) {
    random_state += 0x9E3779B97F4A7C15ull;
    uint64_t z = random_state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

static void *allocate(size_t size) {
    void *memory = calloc(1, size ? size : 1);
    if (!memory) abort();
    return memory;
}

// Puts bytes into a growing buffer; a gap reads as zeros.
static void put(uint8_t **bytes, size_t *size, size_t offset, const uint8_t *data, size_t count) {
    if (offset + count > *size) {
        *bytes = realloc(*bytes, offset + count);
        if (!*bytes) abort();
        memset(*bytes + *size, 0, offset + count - *size);
        *size = offset + count;
    }
    memcpy(*bytes + offset, data, count);
}

static void drop_changes(content *file) {
    while (file->first) {
        change *next = file->first->next;
        free(file->first->data);
        free(file->first);
        file->first = next;
    }
    file->last = NULL;
}

static void add_change(content *file, sqlite3_int64 offset, const void *data, size_t size) {
    change *new = allocate(sizeof *new);
    new->offset = offset;
    new->size = size;
    if (data) {
        new->data = allocate(size);
        memcpy(new->data, data, size);
    }
    if (file->last) file->last->next = new; else file->first = new;
    file->last = new;
}

static void add_step(name *name, content *what) {
    step *new = allocate(sizeof *new);
    new->name = name;
    new->what = what;
    name->now = what;
    if (last_step) last_step->next = new; else first_step = new;
    last_step = new;
}

static void sync_directory(void) {
    while (first_step) {
        step *next = first_step->next;
        first_step->name->durable = first_step->what;
        free(first_step);
        first_step = next;
    }
    last_step = NULL;
}

static void write_survivor(const char *path, const content *file, unsigned keep) {
    size_t size = file->synced_size;
    uint8_t *bytes = allocate(size);
    if (size) memcpy(bytes, file->synced, size);
    for (const change *c = file->first; c; c = c->next) {
        if (!c->data) {
            if (random_word() % 4 < keep && (size_t)c->offset < size) size = c->offset;
            continue;
        }
        for (size_t at = 0; at < c->size;) {
            size_t piece = SECTOR - (c->offset + at) % SECTOR;
            if (piece > c->size - at) piece = c->size - at;
            if (random_word() % 4 < keep) put(&bytes, &size, c->offset + at, c->data + at, piece);
            at += piece;
        }
    }
    const char *base = strrchr(path, '/');
    char destination[2 * MAXIMUM_PATH];
    snprintf(destination, sizeof destination, "%s%s", target, base ? base : path);
    FILE *out = fopen(destination, "wb");
    if (!out || fwrite(bytes, 1, size, out) != size || fclose(out) != 0) abort();
    free(bytes);
}

static void write_garbage(const char *path) {
    char garbage[MAXIMUM_PATH + 8];
    snprintf(garbage, sizeof garbage, "%s-shm", path);
    content file = {.synced = allocate(32768), .synced_size = 32768};
    for (size_t i = 0; i + 8 <= file.synced_size; i += 8) {
        uint64_t word = random_word();
        memcpy(file.synced + i, &word, 8);
    }
    write_survivor(garbage, &file, 0);
    free(file.synced);
}

static void strike(void) {
    struck = 1;
    strike_at = -1;
    acknowledged_at_strike = __atomic_load_n(&acknowledged, __ATOMIC_SEQ_CST);
    // From nothing unsynced to all of it, in quarters.
    unsigned keep = random_word() % 5;
    size_t steps = 0;
    for (step *s = first_step; s; s = s->next) steps++;
    size_t kept = steps ? random_word() % (steps + 1) : 0;
    for (name *n = names; n; n = n->next) {
        content *what = n->durable;
        size_t i = 0;
        for (step *s = first_step; s && i < kept; s = s->next, i++) if (s->name == n) what = s->what;
        if (!what) continue;
        write_survivor(n->path, what, keep);
        // The shared memory of a log is never synced: what is left of it is anything.
        size_t end = strlen(n->path);
        if (end > 3 && strcmp(n->path + end - 3, ".db") == 0 && random_word() % 2) write_garbage(n->path);
    }
}

// Called with the lock held, before each operation.
static void count(void) {
    operations++;
    if (strike_at >= 0 && operations >= strike_at) strike();
}

static int ends_with(const char *path, const char *suffix) {
    size_t a = strlen(path), b = strlen(suffix);
    return a >= b && strcmp(path + a - b, suffix) == 0;
}

// The code to fail with, or 0. Called with the lock held.
static int planned_failure(int kind, const char *path) {
    if (failing_count <= 0 || failing_kind != kind || !ends_with(path, failing_suffix)) return 0;
    failing_count--;
    return failing_code;
}

static int is_watched(const char *path) {
    return path && watched[0] && strncmp(path, watched, strlen(watched)) == 0 && strlen(path) < MAXIMUM_PATH;
}

static name *name_of(const char *path) {
    for (name *n = names; n; n = n->next) if (strcmp(n->path, path) == 0) return n;
    name *n = allocate(sizeof *n);
    strcpy(n->path, path);
    n->next = names;
    names = n;
    return n;
}

static content *content_on_disk(const char *path) {
    FILE *in = fopen(path, "rb");
    if (!in) return NULL;
    content *file = allocate(sizeof *file);
    uint8_t buffer[65536];
    size_t got;
    while ((got = fread(buffer, 1, sizeof buffer, in)) > 0) put(&file->synced, &file->synced_size, file->synced_size, buffer, got);
    fclose(in);
    return file;
}

// MARK: Files

static sqlite3_file *base(sqlite3_file *file) { return ((watched_file *)file)->base; }

static int loss_close(sqlite3_file *file) { return base(file)->pMethods->xClose(base(file)); }
static int loss_read(sqlite3_file *file, void *buffer, int size, sqlite3_int64 offset) {
    return base(file)->pMethods->xRead(base(file), buffer, size, offset);
}

static int loss_write(sqlite3_file *handle, const void *buffer, int size, sqlite3_int64 offset) {
    watched_file *file = (watched_file *)handle;
    if (!file->content) return file->base->pMethods->xWrite(file->base, buffer, size, offset);
    pthread_mutex_lock(&lock);
    count();
    int code = planned_failure(POWER_LOSS_WRITE, file->name->path);
    if (!code) code = file->base->pMethods->xWrite(file->base, buffer, size, offset);
    if (!code) add_change(file->content, offset, buffer, size);
    pthread_mutex_unlock(&lock);
    return code;
}

static int loss_truncate(sqlite3_file *handle, sqlite3_int64 size) {
    watched_file *file = (watched_file *)handle;
    if (!file->content) return file->base->pMethods->xTruncate(file->base, size);
    pthread_mutex_lock(&lock);
    count();
    int code = file->base->pMethods->xTruncate(file->base, size);
    if (!code) add_change(file->content, size, NULL, 0);
    pthread_mutex_unlock(&lock);
    return code;
}

static int loss_sync(sqlite3_file *handle, int flags) {
    watched_file *file = (watched_file *)handle;
    // The real sync would only cost time: it is this record of it that counts.
    (void)flags;
    if (!file->content) return SQLITE_OK;
    pthread_mutex_lock(&lock);
    count();
    int code = planned_failure(POWER_LOSS_SYNC, file->name->path);
    if (!code) {
        for (change *c = file->content->first; c; c = c->next) {
            if (c->data) {
                put(&file->content->synced, &file->content->synced_size, c->offset, c->data, c->size);
            } else if ((size_t)c->offset < file->content->synced_size) {
                file->content->synced_size = c->offset;
            }
        }
        if (file->content->syncs_directory) sync_directory();
    }
    drop_changes(file->content);
    pthread_mutex_unlock(&lock);
    return code;
}

static int loss_size(sqlite3_file *file, sqlite3_int64 *size) {
    return base(file)->pMethods->xFileSize(base(file), size);
}
static int loss_lock(sqlite3_file *file, int level) { return base(file)->pMethods->xLock(base(file), level); }
static int loss_unlock(sqlite3_file *file, int level) { return base(file)->pMethods->xUnlock(base(file), level); }
static int loss_reserved(sqlite3_file *file, int *held) {
    return base(file)->pMethods->xCheckReservedLock(base(file), held);
}
static int loss_control(sqlite3_file *file, int what, void *argument) {
    return base(file)->pMethods->xFileControl(base(file), what, argument);
}
static int loss_sector(sqlite3_file *file) { return base(file)->pMethods->xSectorSize(base(file)); }
static int loss_device(sqlite3_file *file) { return base(file)->pMethods->xDeviceCharacteristics(base(file)); }
static int loss_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **where) {
    return base(file)->pMethods->xShmMap(base(file), page, size, extend, where);
}
static int loss_shm_lock(sqlite3_file *file, int offset, int n, int flags) {
    return base(file)->pMethods->xShmLock(base(file), offset, n, flags);
}
static void loss_shm_barrier(sqlite3_file *file) { base(file)->pMethods->xShmBarrier(base(file)); }
static int loss_shm_unmap(sqlite3_file *file, int drop) { return base(file)->pMethods->xShmUnmap(base(file), drop); }

static const sqlite3_io_methods methods = {
    2, loss_close, loss_read, loss_write, loss_truncate, loss_sync, loss_size, loss_lock, loss_unlock, loss_reserved,
    loss_control, loss_sector, loss_device, loss_shm_map, loss_shm_lock, loss_shm_barrier, loss_shm_unmap, NULL, NULL,
};

static int loss_open(sqlite3_vfs *self, sqlite3_filename path, sqlite3_file *handle, int flags, int *out_flags) {
    (void)self;
    watched_file *file = (watched_file *)handle;
    memset(file, 0, sizeof *file);
    file->base = (sqlite3_file *)(file + 1);
    pthread_mutex_lock(&lock);
    int watch = is_watched(path);
    int existed = watch && access(path, F_OK) == 0;
    if (watch && !existed) count();
    int code = unix_vfs->xOpen(unix_vfs, path, file->base, flags, out_flags);
    if (code == SQLITE_OK) {
        file->file.pMethods = &methods;
        if (watch) {
            name *n = name_of(path);
            if (!n->now) {
                if (existed) {
                    n->now = n->durable = content_on_disk(path);
                } else {
                    content *made = allocate(sizeof *made);
                    made->syncs_directory = (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL)) != 0;
                    add_step(n, made);
                }
            }
            file->name = n;
            file->content = n->now;
        }
    }
    pthread_mutex_unlock(&lock);
    return code;
}

static int loss_delete(sqlite3_vfs *self, const char *path, int sync) {
    (void)self;
    pthread_mutex_lock(&lock);
    int watch = is_watched(path);
    if (watch) count();
    int code = unix_vfs->xDelete(unix_vfs, path, 0);
    if (watch && code == SQLITE_OK) {
        name *n = name_of(path);
        if (n->now) add_step(n, NULL);
        if (sync) sync_directory();
    }
    pthread_mutex_unlock(&lock);
    return code;
}

// MARK: Control

int power_loss_register(void) {
    pthread_mutex_lock(&lock);
    int code = SQLITE_OK;
    if (!unix_vfs) {
        unix_vfs = sqlite3_vfs_find("unix");
        if (unix_vfs) {
            vfs = *unix_vfs;
            vfs.zName = "power-loss";
            vfs.pNext = NULL;
            vfs.szOsFile = (int)sizeof(watched_file) + unix_vfs->szOsFile;
            vfs.xOpen = loss_open;
            vfs.xDelete = loss_delete;
            code = sqlite3_vfs_register(&vfs, 0);
        } else {
            code = SQLITE_MISUSE;
        }
    }
    pthread_mutex_unlock(&lock);
    return code;
}

void power_loss_watch(const char *directory) {
    pthread_mutex_lock(&lock);
    // What is still open keeps its own content; it is a few files of a test, and stays.
    names = NULL;
    first_step = last_step = NULL;
    strike_at = -1;
    failing_count = 0;
    snprintf(watched, sizeof watched, "%s/", directory);
    pthread_mutex_unlock(&lock);
}

void power_loss_arm(long after, uint64_t seed, const char *directory) {
    pthread_mutex_lock(&lock);
    strike_at = operations + after;
    random_state = seed;
    struck = 0;
    snprintf(target, sizeof target, "%s", directory);
    pthread_mutex_unlock(&lock);
}

void power_loss_strike(void) {
    pthread_mutex_lock(&lock);
    if (strike_at >= 0) strike();
    pthread_mutex_unlock(&lock);
}

int power_loss_struck(void) {
    pthread_mutex_lock(&lock);
    int result = struck;
    pthread_mutex_unlock(&lock);
    return result;
}

void power_loss_acknowledge(uint64_t sequence) { __atomic_store_n(&acknowledged, sequence, __ATOMIC_SEQ_CST); }

uint64_t power_loss_acknowledged(void) {
    pthread_mutex_lock(&lock);
    uint64_t result = acknowledged_at_strike;
    pthread_mutex_unlock(&lock);
    return result;
}

long power_loss_operations(void) {
    pthread_mutex_lock(&lock);
    long result = operations;
    pthread_mutex_unlock(&lock);
    return result;
}

void power_loss_fail(int kind, const char *suffix, int code, long how_many) {
    pthread_mutex_lock(&lock);
    failing_kind = kind;
    failing_code = code;
    failing_count = how_many;
    snprintf(failing_suffix, sizeof failing_suffix, "%s", suffix);
    pthread_mutex_unlock(&lock);
}
