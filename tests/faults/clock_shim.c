/* Preloaded, it makes clocks step: CLOCK_REALTIME by WALL_STEP_S seconds at STEP_AT_S, CLOCK_BOOTTIME by BOOT_STEP_S (as a suspended
 * machine shows it). STEP_AT_S is CLOCK_MONOTONIC, which never steps. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static double number(const char *name) {
    const char *text = getenv(name);
    return text ? strtod(text, NULL) : 0;
}

static double step_s(clockid_t clock) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    if (now.tv_sec + now.tv_nsec * 1e-9 < number("STEP_AT_S")) return 0;
    return clock == CLOCK_REALTIME ? number("WALL_STEP_S") : clock == CLOCK_BOOTTIME ? number("BOOT_STEP_S") : 0;
}

int clock_gettime(clockid_t clock, struct timespec *out) {
    int code = (int)syscall(SYS_clock_gettime, clock, out);
    if (!code && (clock == CLOCK_REALTIME || clock == CLOCK_BOOTTIME)) out->tv_sec += (time_t)step_s(clock);
    return code;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}
