/* A stand-in for NVIDIA's libnvidia-ml.so.1 whose boards draw a power that is a known function of CLOCK_MONOTONIC.
 *
 * The file named by TPF_STANDIN_CONFIG is read at every nvmlInit. One "key value" a line; "[board]" starts a board; keys before the
 * first board belong to the library. Keys and units are those of tests/standin/__init__.py, which writes the file and computes the
 * same integrals. Structure layouts, error numbers and buffer sizes are those of nvml.h as the binding (nvidia-ml-py 13) knows them.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
    LOST = 15, VERSION_MISMATCH = 25, UNKNOWN = 999
};
enum { MAX_BOARDS = 64, MAX_FAILS = 32, MAX_PROCESSES = 16 };
enum { FIELD_CAP = 74, FIELD_SW_THERMAL = 269, FIELD_HW_THERMAL = 270, FIELD_BRAKE = 271 };
enum { FIELD_ENERGY = 83, FIELD_POWER_AVERAGE = 185, FIELD_POWER_INSTANT = 186 };
enum { CONSTANT, SQUARE, SINE, STEP };

/* A waveform in a file that another process writes: from each instant on, that power; joules since the first instant. */
typedef struct { double t, watts, joules; } Turn;
typedef struct { int64_t count; Turn turns[]; } Drive;

typedef struct {
    char uuid[96], name[96], pci_bus_id[32], shape[16], drive[256];
    const Drive *driven;
    double memory_bytes, memory_used_bytes, base_w, swing_w, period_s, phase_s, duty, step_at_s, step_until_s;
    double counter_supported, counter_period_s, counter_phase_s, counter_jitter_s, energy_offset_j, reset_at_s;
    double counter_wrap_j, stuck_at_s, power_fails_at_s, power_fails_until_s;
    double power_supported, instant_supported, average_supported, usage_supported;
    double gauge_gain, noise_w, power_period_s, power_phase_s, instant_window_s, average_window_s, usage_window_s;
    double gain, latency_s, lost_at_s, power_limit_w, default_limit_w, clock_reasons, utilization_percent, temperature_c, mig, seed;
    double architecture, sm_clock_mhz, memory_clock_mhz, ecc, temperature_slope_c_per_s, heats_from_s;
    double cap_share, thermal_share, brake_share, held_back_fields;
    unsigned process_count, pids[MAX_PROCESSES], process_percent[MAX_PROCESSES];
    unsigned long long process_bytes[MAX_PROCESSES];
    double process_from_s[MAX_PROCESSES];
} Board;

typedef struct { char function[64]; int code; } Fail;

static struct {
    int initialised, board_count, fail_count;
    double init_error, init_delay_s, call_delay_s;
    char driver[80], log[512];
    Fail fails[MAX_FAILS];
    Board boards[MAX_BOARDS];
} lib;

/* --- configuration ----------------------------------------------------------------------------------------------- */

typedef struct { const char *key; size_t offset, text_size; } Key; /* text_size 0: a double */
#define NUMBER(field) { #field, offsetof(Board, field), 0 }
#define TEXT(field) { #field, offsetof(Board, field), sizeof(((Board *)0)->field) }
static const Key keys[] = {
    TEXT(uuid), TEXT(name), TEXT(pci_bus_id), TEXT(shape), TEXT(drive), NUMBER(memory_bytes), NUMBER(memory_used_bytes), NUMBER(base_w),
    NUMBER(swing_w), NUMBER(period_s), NUMBER(phase_s), NUMBER(duty), NUMBER(step_at_s), NUMBER(step_until_s),
    NUMBER(counter_supported), NUMBER(counter_period_s), NUMBER(counter_phase_s), NUMBER(counter_jitter_s), NUMBER(energy_offset_j),
    NUMBER(reset_at_s), NUMBER(power_supported), NUMBER(instant_supported), NUMBER(average_supported), NUMBER(usage_supported),
    NUMBER(gauge_gain), NUMBER(noise_w), NUMBER(power_period_s), NUMBER(power_phase_s), NUMBER(instant_window_s), NUMBER(average_window_s), NUMBER(usage_window_s),
    NUMBER(gain), NUMBER(latency_s), NUMBER(lost_at_s), NUMBER(power_limit_w), NUMBER(default_limit_w), NUMBER(clock_reasons),
    NUMBER(utilization_percent), NUMBER(temperature_c), NUMBER(mig), NUMBER(seed), NUMBER(architecture), NUMBER(sm_clock_mhz),
    NUMBER(memory_clock_mhz), NUMBER(ecc), NUMBER(temperature_slope_c_per_s), NUMBER(heats_from_s),
    NUMBER(cap_share), NUMBER(thermal_share), NUMBER(brake_share), NUMBER(held_back_fields),
    NUMBER(counter_wrap_j), NUMBER(stuck_at_s), NUMBER(power_fails_at_s), NUMBER(power_fails_until_s),
};

static int set_board(Board *board, const char *key, const char *value) {
    if (!strcmp(key, "process")) {
        unsigned n = board->process_count;
        if (n == MAX_PROCESSES || sscanf(value, "%u %llu %u %lf", &board->pids[n], &board->process_bytes[n],
                                         &board->process_percent[n], &board->process_from_s[n]) != 4) return 0;
        board->process_count++;
        return 1;
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (strcmp(keys[i].key, key)) continue;
        char *field = (char *)board + keys[i].offset;
        if (keys[i].text_size) snprintf(field, keys[i].text_size, "%s", value);
        else *(double *)field = strtod(value, NULL);
        return 1;
    }
    return 0;
}

static int set_library(const char *key, const char *value) {
    if (!strcmp(key, "init_error")) lib.init_error = strtod(value, NULL);
    else if (!strcmp(key, "init_delay_s")) lib.init_delay_s = strtod(value, NULL);
    else if (!strcmp(key, "call_delay_s")) lib.call_delay_s = strtod(value, NULL);
    else if (!strcmp(key, "log")) snprintf(lib.log, sizeof lib.log, "%s", value);
    else if (!strcmp(key, "driver")) snprintf(lib.driver, sizeof lib.driver, "%s", value);
    else if (!strcmp(key, "fail") && lib.fail_count < MAX_FAILS) {
        Fail *fail = &lib.fails[lib.fail_count++];
        return sscanf(value, "%63s %d", fail->function, &fail->code) == 2;
    } else return 0;
    return 1;
}

/* An unknown key is a mistake in a test, so it fails the initialisation loudly. */
static int read_config(void) {
    const char *path = getenv("TPF_STANDIN_CONFIG");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[512];
    memset(&lib, 0, sizeof lib);
    if (!file) return fprintf(stderr, "nvml stand-in: can't read TPF_STANDIN_CONFIG=%s\n", path ? path : "(unset)"), UNKNOWN;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (!*line) continue;
        if (!strcmp(line, "[board]")) {
            if (++lib.board_count > MAX_BOARDS) return fclose(file), UNKNOWN;
            continue;
        }
        char *value = strchr(line, ' ');
        if (value) *value++ = 0;
        int known = value && (lib.board_count ? set_board(&lib.boards[lib.board_count - 1], line, value) : set_library(line, value));
        if (!known) return fprintf(stderr, "nvml stand-in: bad configuration line: %s\n", line), fclose(file), UNKNOWN;
    }
    return fclose(file), OK;
}

/* --- physics: the same formulas as Board in __init__.py ------------------------------------------------------------ */

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void wait_s(double seconds) {
    double end = now_s() + seconds;
    if (seconds > 200e-6) { /* sleeping overshoots by tens of microseconds, so only the bulk is slept */
        struct timespec nap = { (time_t)(seconds - 100e-6), 0 };
        nap.tv_nsec = (long)((seconds - 100e-6 - nap.tv_sec) * 1e9);
        nanosleep(&nap, NULL);
    }
    while (now_s() < end) {}
}

static const Drive *open_drive(const char *path) {
    struct stat info;
    int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &info)) return NULL;
    void *memory = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    return memory == MAP_FAILED ? NULL : memory;
}

static double driven_j(const Drive *drive, double base_w, double t) {
    int64_t low = 0, high = __atomic_load_n(&drive->count, __ATOMIC_ACQUIRE); /* the last turn at or before t is at low - 1 */
    double start = high ? drive->turns[0].t : t;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (drive->turns[middle].t <= t) low = middle + 1;
        else high = middle;
    }
    if (!low) return base_w * t;
    const Turn *turn = &drive->turns[low - 1];
    return base_w * start + turn->joules + turn->watts * (t - turn->t);
}

/* Integral of the power from 0 to t (J). */
static double integral_j(const Board *b, double t) {
    double flat = b->base_w * t, u = t - b->phase_s;
    if (b->driven) return driven_j(b->driven, b->base_w, t);
    if (!strcmp(b->shape, "square")) {
        double whole = floor(u / b->period_s), rest = u - whole * b->period_s, on = b->duty * b->period_s;
        return flat + b->swing_w * (whole * on + fmin(rest, on));
    }
    if (!strcmp(b->shape, "sine"))
        return flat + b->swing_w * b->period_s / (2 * M_PI) * (1 - cos(2 * M_PI * fmod(u, b->period_s) / b->period_s));
    if (!strcmp(b->shape, "step")) return flat + b->swing_w * fmax(0, fmin(t, b->step_until_s) - b->step_at_s);
    return flat;
}

static uint64_t splitmix64(uint64_t x) {
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

/* When refresh k happens: on the grid, moved by at most the jitter either way. */
static double refresh_at(const Board *b, int64_t k) {
    double unit = (double)(splitmix64((uint64_t)k ^ ((uint64_t)b->seed << 48)) >> 11) / 9007199254740992.0;
    return b->counter_phase_s + (double)k * b->counter_period_s + (2 * unit - 1) * b->counter_jitter_s;
}

static unsigned long long counter_mj(const Board *b, double t) {
    t = fmin(t, b->stuck_at_s);
    double latched = t;
    if (b->counter_period_s > 0) {
        int64_t k = (int64_t)floor((t - b->counter_phase_s) / b->counter_period_s) + 1;
        while (refresh_at(b, k) > t) k--;
        latched = refresh_at(b, k);
    }
    double from = latched >= b->reset_at_s ? b->reset_at_s : 0, offset = latched >= b->reset_at_s ? 0 : b->energy_offset_j;
    double mj = floor((offset + b->gain * (integral_j(b, latched) - integral_j(b, from))) * 1000);
    return (unsigned long long)(b->counter_wrap_j > 0 ? fmod(mj, b->counter_wrap_j * 1000) : mj);
}

/* Mean power over the window that ends at the last refresh, with the noise of that refresh (mW). */
static unsigned power_mw(const Board *b, double t, double window_s) {
    double latched = t, refresh = b->power_period_s > 0 ? floor((t - b->power_phase_s) / b->power_period_s) : 0;
    if (b->power_period_s > 0) latched = b->power_phase_s + refresh * b->power_period_s;
    double unit = (double)(splitmix64((uint64_t)(int64_t)refresh ^ ((uint64_t)b->seed << 40)) >> 11) / 9007199254740992.0;
    double watts = (integral_j(b, latched) - integral_j(b, latched - window_s)) / window_s + (2 * unit - 1) * b->noise_w;
    return (unsigned)lround(fmax(b->gain * b->gauge_gain * watts, 0) * 1000);
}

/* --- entering a call ----------------------------------------------------------------------------------------------- */

/* Every call passes here: it is logged ("function seconds", one line) and takes its time. */
static int forced_error(const char *function) {
    FILE *log = *lib.log ? fopen(lib.log, "a") : NULL;
    if (log) fprintf(log, "%s %.6f\n", function, now_s()), fclose(log);
    wait_s(lib.call_delay_s);
    for (int i = 0; i < lib.fail_count; i++)
        if (!strcmp(lib.fails[i].function, function)) return lib.fails[i].code;
    return OK;
}

static int enter(const char *function, const Board *board) {
    int code = lib.initialised ? forced_error(function) : UNINITIALIZED;
    if (code) return code;
    if (board < lib.boards || board >= lib.boards + lib.board_count) return INVALID_ARGUMENT;
    if (now_s() >= board->lost_at_s) return LOST;
    return OK;
}

#define ENTER(board) do { int code_ = enter(__func__, board); if (code_) return code_; } while (0)
#define ENTER_LIB() do { int code_ = lib.initialised ? forced_error(__func__) : UNINITIALIZED; if (code_) return code_; } while (0)
/* A timed read: half of the call's latency passes before the value is taken, half after. */
#define TIMED(board, statement) do { wait_s((board)->latency_s / 2); statement; wait_s((board)->latency_s / 2); } while (0)

static int put_text(char *out, unsigned size, const char *text) {
    if (strlen(text) + 1 > size) return INSUFFICIENT_SIZE;
    strcpy(out, text);
    return OK;
}

/* --- library and identity ------------------------------------------------------------------------------------------ */

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    int references = lib.initialised, code = read_config();
    if (code) return code;
    if (lib.init_delay_s > 0) wait_s(lib.init_delay_s);
    if (lib.init_error) return (int)lib.init_error;
    for (int i = 0; i < lib.board_count; i++)
        if (*lib.boards[i].drive && !(lib.boards[i].driven = open_drive(lib.boards[i].drive)))
            return fprintf(stderr, "nvml stand-in: can't map the drive %s\n", lib.boards[i].drive), UNKNOWN;
    lib.initialised = references + 1;
    return OK;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlInit(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return lib.initialised ? (lib.initialised--, OK) : UNINITIALIZED; }

const char *nvmlErrorString(int code) {
    switch (code) {
        case OK: return "Success";
        case UNINITIALIZED: return "Uninitialized";
        case INVALID_ARGUMENT: return "Invalid Argument";
        case NOT_SUPPORTED: return "Not Supported";
        case 4: return "Insufficient Permissions";
        case NOT_FOUND: return "Not Found";
        case 9: return "Driver Not Loaded";
        case 13: return "Function Not Found";
        case LOST: return "GPU is lost";
        case 18: return "Driver/library version mismatch";
        default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *out, unsigned size) { ENTER_LIB(); return put_text(out, size, lib.driver); }
int nvmlSystemGetNVMLVersion(char *out, unsigned size) { ENTER_LIB(); return put_text(out, size, lib.driver); }
int nvmlSystemGetCudaDriverVersion_v2(int *out) { ENTER_LIB(); *out = 13000; return OK; }
int nvmlSystemGetCudaDriverVersion(int *out) { ENTER_LIB(); *out = 13000; return OK; }
int nvmlDeviceGetCount_v2(unsigned *out) { ENTER_LIB(); *out = (unsigned)lib.board_count; return OK; }
int nvmlDeviceGetCount(unsigned *out) { return nvmlDeviceGetCount_v2(out); }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Board **out) {
    ENTER_LIB();
    if (index >= (unsigned)lib.board_count) return INVALID_ARGUMENT;
    *out = &lib.boards[index];
    return now_s() >= (*out)->lost_at_s ? LOST : OK;
}
int nvmlDeviceGetHandleByIndex(unsigned index, Board **out) { return nvmlDeviceGetHandleByIndex_v2(index, out); }

static int find_board(const char *text, size_t offset, Board **out) {
    for (int i = 0; i < lib.board_count; i++) {
        *out = &lib.boards[i];
        if (!strcasecmp((const char *)*out + offset, text)) return now_s() >= (*out)->lost_at_s ? LOST : OK;
    }
    return NOT_FOUND;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, Board **out) { ENTER_LIB(); return find_board(uuid, offsetof(Board, uuid), out); }
int nvmlDeviceGetHandleByPciBusId_v2(const char *id, Board **out) { ENTER_LIB(); return find_board(id, offsetof(Board, pci_bus_id), out); }
int nvmlDeviceGetUUID(Board *b, char *out, unsigned size) { ENTER(b); return put_text(out, size, b->uuid); }
int nvmlDeviceGetName(Board *b, char *out, unsigned size) { ENTER(b); return put_text(out, size, b->name); }
int nvmlDeviceGetIndex(Board *b, unsigned *out) { ENTER(b); *out = (unsigned)(b - lib.boards); return OK; }
int nvmlDeviceGetMinorNumber(Board *b, unsigned *out) { ENTER(b); *out = (unsigned)(b - lib.boards); return OK; }
int nvmlDeviceGetArchitecture(Board *b, unsigned *out) { ENTER(b); *out = (unsigned)b->architecture; return OK; }
int nvmlDeviceGetCudaComputeCapability(Board *b, int *major, int *minor) { ENTER(b); *major = 9; *minor = 0; return OK; }

typedef struct {
    char bus_id_legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
} PciInfo;

int nvmlDeviceGetPciInfo_v3(Board *b, PciInfo *out) {
    ENTER(b);
    memset(out, 0, sizeof *out);
    if (sscanf(b->pci_bus_id, "%x:%x:%x", &out->domain, &out->bus, &out->device) != 3) return UNKNOWN;
    snprintf(out->bus_id, sizeof out->bus_id, "%s", b->pci_bus_id);
    snprintf(out->bus_id_legacy, sizeof out->bus_id_legacy, "%04x:%02x:%02x.0", out->domain & 0xffff, out->bus & 0xff, out->device & 0xff);
    return OK;
}
int nvmlDeviceGetPciInfo_v2(Board *b, PciInfo *out) { return nvmlDeviceGetPciInfo_v3(b, out); }

int nvmlDeviceGetMemoryInfo(Board *b, unsigned long long out[3]) {
    ENTER(b);
    out[0] = (unsigned long long)b->memory_bytes;
    out[2] = (unsigned long long)b->memory_used_bytes;
    out[1] = out[0] - out[2];
    return OK;
}

typedef struct { unsigned version; unsigned long long total, reserved, free, used; } MemoryV2;
int nvmlDeviceGetMemoryInfo_v2(Board *b, MemoryV2 *out) {
    ENTER(b);
    if (out->version != 0x02000028) return VERSION_MISMATCH;
    out->total = (unsigned long long)b->memory_bytes;
    out->used = (unsigned long long)b->memory_used_bytes;
    out->reserved = 0;
    out->free = out->total - out->used;
    return OK;
}

int nvmlDeviceGetMigMode(Board *b, unsigned *current, unsigned *pending) {
    ENTER(b);
    if (b->mig < 0) return NOT_SUPPORTED;
    *current = *pending = (unsigned)b->mig;
    return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(Board *b, unsigned *out) { ENTER(b); *out = b->mig > 0 ? 7 : 0; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(Board *b, unsigned index, Board **out) { ENTER(b); (void)index; *out = NULL; return NOT_FOUND; }
int nvmlDeviceIsMigDeviceHandle(Board *b, unsigned *out) { ENTER(b); *out = 0; return OK; }

/* --- energy and power ------------------------------------------------------------------------------------------------ */

int nvmlDeviceGetTotalEnergyConsumption(Board *b, unsigned long long *out) {
    ENTER(b);
    if (!b->counter_supported) return NOT_SUPPORTED;
    TIMED(b, *out = counter_mj(b, now_s()));
    return OK;
}

static int gauges_work(const Board *b) { return now_s() < b->power_fails_at_s || now_s() >= b->power_fails_until_s; }

int nvmlDeviceGetPowerUsage(Board *b, unsigned *out) {
    ENTER(b);
    if (!b->power_supported || !b->usage_supported || !gauges_work(b)) return NOT_SUPPORTED;
    TIMED(b, *out = power_mw(b, now_s(), b->usage_window_s));
    return OK;
}

typedef struct {
    unsigned field, scope;
    int64_t timestamp, latency_us;
    unsigned value_type;
    int result;
    union { double d; unsigned u; unsigned long long ull; } value;
} FieldValue;

static int read_field(const Board *b, FieldValue *f, double t) {
    f->timestamp = (int64_t)(t * 1e6);
    f->value.ull = 0;
    if (f->scope) return NOT_SUPPORTED;
    if (f->field == FIELD_ENERGY && b->counter_supported) return f->value_type = 3, f->value.ull = counter_mj(b, t), OK;
    double share = !b->held_back_fields ? -1 : f->field == FIELD_CAP ? b->cap_share : f->field == FIELD_SW_THERMAL ? b->thermal_share
                 : f->field == FIELD_HW_THERMAL ? 0 : f->field == FIELD_BRAKE ? b->brake_share : -1;
    if (share >= 0) return f->value_type = 3, f->value.ull = (unsigned long long)(share * t * 1e9), OK;
    double window = 0;
    if (f->field == FIELD_POWER_AVERAGE && b->average_supported) window = b->average_window_s;
    if (f->field == FIELD_POWER_INSTANT && b->instant_supported) window = b->instant_window_s;
    if (!b->power_supported || window <= 0 || !gauges_work(b)) return NOT_SUPPORTED;
    return f->value_type = 1, f->value.u = power_mw(b, t, window), OK;
}

int nvmlDeviceGetFieldValues(Board *b, int count, FieldValue *values) {
    ENTER(b);
    TIMED(b, for (int i = 0; i < count; i++) values[i].result = read_field(b, &values[i], now_s()));
    return OK;
}

static int milliwatts(double watts, unsigned *out) {
    if (watts <= 0) return NOT_SUPPORTED;
    *out = (unsigned)lround(watts * 1000);
    return OK;
}
int nvmlDeviceGetEnforcedPowerLimit(Board *b, unsigned *out) { ENTER(b); return milliwatts(b->power_limit_w, out); }
int nvmlDeviceGetPowerManagementLimit(Board *b, unsigned *out) { ENTER(b); return milliwatts(b->power_limit_w, out); }
int nvmlDeviceGetPowerManagementDefaultLimit(Board *b, unsigned *out) { ENTER(b); return milliwatts(b->default_limit_w, out); }
int nvmlDeviceGetPowerManagementLimitConstraints(Board *b, unsigned *low, unsigned *high) {
    ENTER(b);
    int code = milliwatts(b->default_limit_w / 2, low);
    return code ? code : milliwatts(b->default_limit_w, high);
}

/* --- slow evidence ---------------------------------------------------------------------------------------------------- */

static int reasons(const Board *b, unsigned long long *out) { *out = (unsigned long long)b->clock_reasons; return b->clock_reasons < 0 ? NOT_SUPPORTED : OK; }
int nvmlDeviceGetCurrentClocksEventReasons(Board *b, unsigned long long *out) { ENTER(b); return reasons(b, out); }
int nvmlDeviceGetCurrentClocksThrottleReasons(Board *b, unsigned long long *out) { ENTER(b); return reasons(b, out); }
int nvmlDeviceGetSupportedClocksEventReasons(Board *b, unsigned long long *out) { ENTER(b); *out = 0x1ff; return OK; }

/* Whole degrees, rising from heats_from_s on. */
static int temperature(const Board *b) {
    return (int)(b->temperature_c + b->temperature_slope_c_per_s * fmax(0, now_s() - b->heats_from_s));
}
int nvmlDeviceGetTemperature(Board *b, int sensor, unsigned *out) {
    ENTER(b);
    if (sensor || b->temperature_c < 0) return NOT_SUPPORTED;
    *out = (unsigned)temperature(b);
    return OK;
}
typedef struct { unsigned version; int sensor, temperature; } TemperatureV1;
int nvmlDeviceGetTemperatureV(Board *b, TemperatureV1 *out) {
    ENTER(b);
    if (out->version != 0x100000C) return VERSION_MISMATCH;
    if (out->sensor || b->temperature_c < 0) return NOT_SUPPORTED;
    out->temperature = temperature(b);
    return OK;
}

/* Time held back so far: a share of all time (ns); the policies are NVML_PERF_POLICY_POWER and _THERMAL. */
typedef struct { unsigned long long reference_us, violation_ns; } ViolationTime;
int nvmlDeviceGetViolationStatus(Board *b, int policy, ViolationTime *out) {
    ENTER(b);
    double share = policy == 0 ? b->cap_share : policy == 1 ? b->thermal_share : -1;
    if (share < 0) return NOT_SUPPORTED;
    out->reference_us = (unsigned long long)(now_s() * 1e6);
    out->violation_ns = (unsigned long long)(share * now_s() * 1e9);
    return OK;
}

int nvmlDeviceGetEccMode(Board *b, unsigned *current, unsigned *pending) {
    ENTER(b);
    if (b->ecc < 0) return NOT_SUPPORTED;
    *current = *pending = (unsigned)b->ecc;
    return OK;
}

int nvmlDeviceGetUtilizationRates(Board *b, unsigned out[2]) {
    ENTER(b);
    if (b->utilization_percent < 0) return NOT_SUPPORTED;
    out[0] = out[1] = (unsigned)b->utilization_percent;
    return OK;
}

int nvmlDeviceGetClockInfo(Board *b, int type, unsigned *out) {
    ENTER(b);
    *out = (unsigned)(type == 2 ? b->memory_clock_mhz : b->sm_clock_mhz); /* NVML_CLOCK_MEM */
    return OK;
}
int nvmlDeviceGetMaxClockInfo(Board *b, int type, unsigned *out) { ENTER(b); (void)type; *out = (unsigned)b->sm_clock_mhz; return OK; }
int nvmlDeviceGetPersistenceMode(Board *b, unsigned *out) { ENTER(b); *out = 1; return OK; }
int nvmlDeviceGetC2cModeInfoV(Board *b, void *out) { ENTER(b); (void)out; return NOT_SUPPORTED; }
int nvmlDeviceGetPerformanceState(Board *b, int *out) { ENTER(b); *out = 0; return OK; }
int nvmlDeviceGetSupportedEventTypes(Board *b, unsigned long long *out) { ENTER(b); *out = 0; return OK; }

typedef struct { unsigned pid; unsigned long long used_bytes; unsigned gpu_instance, compute_instance; } Process;
int nvmlDeviceGetComputeRunningProcesses_v3(Board *b, unsigned *count, Process *out) {
    ENTER(b);
    unsigned room = *count, there = 0;
    for (unsigned i = 0; i < b->process_count; i++) {
        if (now_s() < b->process_from_s[i]) continue;
        if (there < room) out[there] = (Process){ b->pids[i], b->process_bytes[i], 0xffffffffU, 0xffffffffU };
        there++;
    }
    *count = there;
    return there > room ? INSUFFICIENT_SIZE : OK;
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(Board *b, unsigned *count, Process *out) { ENTER(b); (void)out; *count = 0; return OK; }

/* One sample for each process that used the board at all, stamped now; the caller's last time stamp is in microseconds. */
typedef struct { unsigned pid; unsigned long long stamp_us; unsigned sm, memory, encoder, decoder; } ProcessSample;
int nvmlDeviceGetProcessUtilization(Board *b, ProcessSample *out, unsigned *count, unsigned long long last_us) {
    ENTER(b);
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    unsigned long long stamp_us = (unsigned long long)t.tv_sec * 1000000 + (unsigned long long)t.tv_nsec / 1000;
    unsigned room = out ? *count : 0, there = 0;
    if (last_us > stamp_us) return NOT_FOUND;
    for (unsigned i = 0; i < b->process_count; i++) {
        if (now_s() < b->process_from_s[i] || !b->process_percent[i]) continue;
        if (there < room) out[there] = (ProcessSample){ b->pids[i], stamp_us, b->process_percent[i], 0, 0, 0 };
        there++;
    }
    *count = there;
    return !there ? NOT_FOUND : there > room ? INSUFFICIENT_SIZE : OK;
}
