#ifndef COHORT_PAGE_CHECKS_H
#define COHORT_PAGE_CHECKS_H

// Bytes at the end of every page that hold its check sum: what SQLITE_FCNTL_RESERVE_BYTES has to be when a file is made.
#define COHORT_PAGE_CHECK_BYTES 8

// Makes the checking file system the default of SQLite in this process, above the one that is the default now. It
// concerns database files that were made with the reserved bytes; all others pass through. Calling it again does nothing.
// Returns an SQLite result code.
int cohort_page_checks_install(void);

// Puts the named file system of SQLite below the checks, for files opened from now on: for tests that simulate disks.
// Returns an SQLite result code.
int cohort_page_checks_set_base(const char *name);

#endif
