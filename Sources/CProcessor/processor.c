#define _GNU_SOURCE
#include "processor.h"

#ifdef __linux__
#include <sched.h>

// The C library reads it from memory that the kernel keeps up to date; Swift's view of the library leaves it out.
unsigned int current_processor(void) {
    int processor = sched_getcpu();
    return processor < 0 ? 0 : (unsigned int)processor;
}
#else
unsigned int current_processor(void) { return 0; }
#endif
