#ifndef COHORT_PROCESSOR_H
#define COHORT_PROCESSOR_H

/// The number of the processor that runs the caller; 0 where the system does not tell.
unsigned int current_processor(void);

#endif
