#ifndef POWER_LOSS_H
#define POWER_LOSS_H

#include <stdint.h>

// A file system for SQLite, named "power-loss", that passes everything on to "unix" and notes for each file below the
// watched directory what has been synced and what has only been written. It can then make, in another directory, the files
// that a loss of power at that moment would leave: everything synced, and of everything else a random part, each sector
// of 512 bytes by itself. Creating and deleting a file survives, in order, only once the directory has been synced.

// Registers it. Returns an SQLite result code.
int power_loss_register(void);

// Watches the files below `directory`, as they are now on the disk, and forgets those watched before.
void power_loss_watch(const char *directory);

// Fails the power just before the `operations`-th write, sync, truncation, creation or deletion from now on. What survives
// is made in `target`, a directory that exists. The process goes on and notices nothing.
void power_loss_arm(long operations, uint64_t seed, const char *target);

// Fails the power now, if it was armed and has not failed yet.
void power_loss_strike(void);

// Whether it has failed since it was armed.
int power_loss_struck(void);

// Notes the last sequence that a caller was told is durable.
void power_loss_acknowledge(uint64_t sequence);

// What was acknowledged when the power failed.
uint64_t power_loss_acknowledged(void);

// How many operations have been seen since the start.
long power_loss_operations(void);

enum { POWER_LOSS_WRITE = 1, POWER_LOSS_SYNC = 2 };

// Lets the next `count` operations of `kind` on watched files whose names end with `suffix` fail with `code`. What a failed
// sync was to write never reaches the disk, not by a later sync either.
void power_loss_fail(int kind, const char *suffix, int code, long count);

#endif
