/* SPDX-License-Identifier: Apache-2.0 */
/* Preloaded into a program: shifts its wall clock by the seconds in the file $OSCAR_TEST_CLOCK, read ten times a second.
   Monotonic clocks, and with them all waiting, stay as they are. libfaketime 0.9.10 breaks Python's sleep when it is told
   to leave them alone, and its waits when it is not. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long shift(void) {
    static volatile long seconds, read_at = -1; /* tenths of a second; a race only reads the file twice */
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC_COARSE, &now);
    long tenths = now.tv_sec * 10 + now.tv_nsec / 100000000;
    const char *path = getenv("OSCAR_TEST_CLOCK");
    if (path && tenths != read_at) {
        read_at = tenths;
        char text[32] = "";
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0) seconds = atol(text);
            close(file);
        }
    }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *result) {
    int failed = syscall(SYS_clock_gettime, clock, result);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) result->tv_sec += shift();
    return failed;
}

int gettimeofday(struct timeval *restrict result, void *restrict zone) {
    (void)zone;
    struct timespec now;
    int failed = clock_gettime(CLOCK_REALTIME, &now);
    result->tv_sec = now.tv_sec;
    result->tv_usec = now.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}
