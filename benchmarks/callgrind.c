/* Marks between which callgrind counts, for a program that loads this. */
#include <valgrind/callgrind.h>

void begin(void) {
    CALLGRIND_START_INSTRUMENTATION; /* the first time: all before runs at a fair speed */
    CALLGRIND_ZERO_STATS;
}

void end(const char *name) { CALLGRIND_DUMP_STATS_AT(name); }
