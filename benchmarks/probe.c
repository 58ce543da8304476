/* Lets a Python program, run under valgrind --tool=callgrind, count the instructions of one part of itself.
 *
 * Each function is one client request to valgrind, and nothing at all outside it. Compiled to a shared object
 * and called by hotpath.py through ctypes.
 */
#include <valgrind/callgrind.h>

int probe_running(void) {
    return (int)RUNNING_ON_VALGRIND;
}

void probe_begin(void) {
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

void probe_end(const char *name) {
    CALLGRIND_DUMP_STATS_AT(name);
    CALLGRIND_STOP_INSTRUMENTATION;
}
