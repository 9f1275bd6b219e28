/* A stand-in for libnvidia-ml.so.1: NVML's ABI over a text file that tests rewrite.
 *
 * FAKE_NVML_STATE names the file: one `key value` a line; it is read again when it changed.
 *   devices N | driver TEXT | error.FUNCTION CODE | xid.SEQ GPU:CODE
 *   gpu.I.error.FUNCTION CODE   gpu.I.field.ID TYPE:NUMBER   gpu.I.field.ID.LINK TYPE:NUMBER
 *   gpu.I.field_error.ID CODE   gpu.I.gpm 0|1   gpu.I.gpm.ID NUMBER   gpu.I.gpm_error.ID CODE
 *   gpu.I.{uuid,name,...} VALUE
 * A reading that is not in the file is NOT_SUPPORTED. With -DOLD_DRIVER the newer symbols are absent.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, TIMEOUT = 10, MOST_GPUS = 16 };
enum { MOST_LINES = 8192, KEY = 64, VALUE = 96 };

typedef int Return;
typedef struct { int index; } *Device;
typedef union { double d; unsigned ui; unsigned long ul; unsigned long long ull; long long sll; int si; unsigned short us; } Value;
typedef struct { unsigned id, scope; int64_t stamp, latency; unsigned type; Return ret; Value value; } Field;
typedef struct { unsigned gpu, memory; } Rates;
typedef struct { unsigned long long total, free, used; } MemoryV1;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } MemoryV2;
typedef struct { unsigned version; int margin; } Margin;
typedef struct { unsigned version, sensor; int temperature; } Temperature;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } Pci;
typedef struct { Device device; unsigned long long type, data; unsigned gi, ci; } Event;
typedef struct { int taken_at; } *Sample;
typedef struct { unsigned id; Return ret; double value; const char *name, *longer, *unit; } Metric;
typedef struct { unsigned version, count; Sample one, two; Metric metrics[]; } Metrics;
typedef struct { unsigned version, supported; } Support;
typedef struct { uint32_t registered; } *Set;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char keys[MOST_LINES][KEY], values[MOST_LINES][VALUE];
static int lines, started, polls;
static long next_xid;
static struct timespec seen;
static ino_t seen_inode;
static struct { int index; } gpus[MOST_GPUS];

static void load(void) {
  const char *path = getenv("FAKE_NVML_STATE");
  struct stat now;
  if (!path || stat(path, &now)) { lines = 0; return; }
  if (now.st_ino == seen_inode && now.st_mtim.tv_sec == seen.tv_sec && now.st_mtim.tv_nsec == seen.tv_nsec) return;
  FILE *file = fopen(path, "r");
  if (!file) return;
  lines = 0;
  while (lines < MOST_LINES && fscanf(file, "%63s %95[^\n]\n", keys[lines], values[lines]) == 2) lines++;
  fclose(file);
  seen_inode = now.st_ino;
  seen = now.st_mtim;
}

static int get(const char *key, char *out) {
  pthread_mutex_lock(&lock);
  load();
  int found = 0;
  for (int i = 0; i < lines && !found; i++)
    if (!strcmp(keys[i], key)) { strcpy(out, values[i]); found = 1; }
  pthread_mutex_unlock(&lock);
  return found;
}

static long long number(const char *key, long long otherwise) {
  char text[VALUE];
  return get(key, text) ? strtoll(text, 0, 10) : otherwise;
}

static Return blocked(Device device, const char *function) {
  char key[KEY];
  if (!started) return UNINITIALIZED;
  snprintf(key, KEY, "error.%s", function);
  Return all = (Return)number(key, OK);
  if (all || !device) return all;
  snprintf(key, KEY, "gpu.%d.error.all", device->index);
  all = (Return)number(key, OK);
  if (all) return all;
  snprintf(key, KEY, "gpu.%d.error.%s", device->index, function);
  return (Return)number(key, OK);
}

static int gpu_text(Device device, const char *name, char *out) {
  char key[KEY];
  snprintf(key, KEY, "gpu.%d.%s", device->index, name);
  return get(key, out);
}

static Return gpu_number(Device device, const char *function, const char *name, long long *out) {
  char text[VALUE];
  Return no = blocked(device, function);
  if (no) return no;
  if (!gpu_text(device, name, text)) return NOT_SUPPORTED;
  *out = strtoll(text, 0, 10);
  return OK;
}

static Return unsigned_of(Device device, const char *function, const char *name, unsigned *out) {
  long long found = 0;
  Return no = gpu_number(device, function, name, &found);
  if (!no) *out = (unsigned)found;
  return no;
}

static Return string_of(Device device, const char *function, const char *name, char *out, unsigned size) {
  char text[VALUE];
  Return no = blocked(device, function);
  if (no) return no;
  if (!gpu_text(device, name, text)) return NOT_SUPPORTED;
  snprintf(out, size, "%s", text);
  return OK;
}

Return nvmlInitWithFlags(unsigned flags) {
  (void)flags;
  Return no = (Return)number("error.nvmlInitWithFlags", OK);
  if (!no) started++;
  return no;
}
Return nvmlShutdown(void) { if (!started) return UNINITIALIZED; started--; return OK; }
const char *nvmlErrorString(Return code) { (void)code; return "fake"; }
int fake_nvml_started(void) { return started; }
int fake_nvml_polls(void) { return polls; }
void fake_nvml_reset(void) { started = 0; polls = 0; next_xid = 0; }

Return nvmlSystemGetDriverVersion(char *out, unsigned size) {
  char text[VALUE];
  if (!get("driver", text)) return NOT_SUPPORTED;
  snprintf(out, size, "%s", text);
  return OK;
}
Return nvmlDeviceGetCount_v2(unsigned *out) {
  Return no = blocked(0, "nvmlDeviceGetCount");
  if (!no) *out = (unsigned)number("devices", 0);
  return no;
}
Return nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *out) {
  if (index >= MOST_GPUS || index >= (unsigned)number("devices", 0)) return INVALID;
  gpus[index].index = (int)index;
  *out = (Device)&gpus[index];
  return blocked(*out, "nvmlDeviceGetHandleByIndex");
}
#define TEXT(function, name) \
  Return function(Device device, char *out, unsigned size) { return string_of(device, #function, name, out, size); }
TEXT(nvmlDeviceGetUUID, "uuid")
TEXT(nvmlDeviceGetName, "name")
TEXT(nvmlDeviceGetSerial, "serial")
TEXT(nvmlDeviceGetVbiosVersion, "vbios")
#define UNSIGNED(function, name) \
  Return function(Device device, unsigned *out) { return unsigned_of(device, #function, name, out); }
UNSIGNED(nvmlDeviceGetPowerManagementDefaultLimit, "default_limit_mw")
UNSIGNED(nvmlDeviceGetPerformanceState, "pstate")

Return nvmlDeviceGetPciInfo_v3(Device device, Pci *out) {
  memset(out, 0, sizeof *out);
  return string_of(device, "nvmlDeviceGetPciInfo", "pci", out->bus_id, sizeof out->bus_id);
}
Return nvmlDeviceGetTemperature(Device device, unsigned sensor, unsigned *out) {
  return sensor ? INVALID : unsigned_of(device, "nvmlDeviceGetTemperature", "temperature", out);
}
static Return clock_of(Device device, const char *function, unsigned type, const char *const *names, unsigned *out) {
  return type > 2 || !names[type] ? INVALID : unsigned_of(device, function, names[type], out);
}
Return nvmlDeviceGetClockInfo(Device device, unsigned type, unsigned *out) {
  static const char *const names[] = {"sm_clock", "sm_clock", "memory_clock"};
  return clock_of(device, "nvmlDeviceGetClockInfo", type, names, out);
}
Return nvmlDeviceGetMaxClockInfo(Device device, unsigned type, unsigned *out) {
  static const char *const names[] = {"sm_clock_max", "sm_clock_max", 0};
  return clock_of(device, "nvmlDeviceGetMaxClockInfo", type, names, out);
}
Return nvmlDeviceGetUtilizationRates(Device device, Rates *out) {
  Return no = unsigned_of(device, "nvmlDeviceGetUtilizationRates", "gpu_util", &out->gpu);
  return no ? no : unsigned_of(device, "nvmlDeviceGetUtilizationRates", "memory_util", &out->memory);
}
static Return memory_of(Device device, const char *function, long long *total, long long *used, long long *reserved) {
  Return no = gpu_number(device, function, "memory_total", total);
  if (no) return no;
  gpu_number(device, function, "memory_reserved", reserved);
  return gpu_number(device, function, "memory_used", used);
}
Return nvmlDeviceGetMemoryInfo(Device device, MemoryV1 *out) {
  long long total = 0, used = 0, reserved = 0;
  Return no = memory_of(device, "nvmlDeviceGetMemoryInfo", &total, &used, &reserved);
  *out = (MemoryV1){(unsigned long long)total, (unsigned long long)(total - used - reserved), (unsigned long long)(used + reserved)};
  return no;
}
static Return reasons_of(Device device, const char *function, unsigned long long *out) {
  long long bits = 0;
  Return no = gpu_number(device, function, "reasons", &bits);
  *out = (unsigned long long)bits;
  return no;
}
Return nvmlDeviceGetCurrentClocksThrottleReasons(Device device, unsigned long long *out) {
  return reasons_of(device, "nvmlDeviceGetCurrentClocksThrottleReasons", out);
}

#ifndef OLD_DRIVER
Return nvmlDeviceGetMemoryInfo_v2(Device device, MemoryV2 *out) {
  long long total = 0, used = 0, reserved = 0;
  if (out->version != ((2u << 24) | sizeof *out)) return 25;
  Return no = memory_of(device, "nvmlDeviceGetMemoryInfo_v2", &total, &used, &reserved);
  out->total = (unsigned long long)total;
  out->used = (unsigned long long)used;
  out->reserved = (unsigned long long)reserved;
  out->free = out->total - out->used - out->reserved;
  return no;
}
Return nvmlDeviceGetTemperatureV(Device device, Temperature *out) {
  if (out->version != ((1u << 24) | sizeof *out)) return 25;
  return unsigned_of(device, "nvmlDeviceGetTemperatureV", "temperature", (unsigned *)&out->temperature);
}
Return nvmlDeviceGetMarginTemperature(Device device, Margin *out) {
  if (out->version != ((1u << 24) | sizeof *out)) return 25;
  return unsigned_of(device, "nvmlDeviceGetMarginTemperature", "margin", (unsigned *)&out->margin);
}
Return nvmlDeviceGetCurrentClocksEventReasons(Device device, unsigned long long *out) {
  return reasons_of(device, "nvmlDeviceGetCurrentClocksEventReasons", out);
}

Return nvmlGpmQueryDeviceSupport(Device device, Support *out) {
  if (out->version != 1) return 25;
  Return no = blocked(device, "nvmlGpmQueryDeviceSupport");
  char text[VALUE];
  out->supported = gpu_text(device, "gpm", text) && text[0] == '1';
  return no;
}
Return nvmlGpmSampleAlloc(Sample *out) { *out = calloc(1, sizeof **out); return *out ? OK : 20; }
Return nvmlGpmSampleFree(Sample sample) { free(sample); return OK; }
Return nvmlGpmSampleGet(Device device, Sample sample) {
  Return no = blocked(device, "nvmlGpmSampleGet");
  if (!no) { sample->taken_at = ++polls * MOST_GPUS + device->index; }
  return no;
}
Return nvmlGpmMetricsGet(Metrics *request) {
  if (request->version != 1) return 25;
  if (!request->one->taken_at || request->one->taken_at >= request->two->taken_at) return INVALID;
  Device device = (Device)&gpus[request->two->taken_at % MOST_GPUS];
  Return no = blocked(device, "nvmlGpmMetricsGet");
  for (unsigned i = 0; i < request->count && !no; i++) {
    char name[KEY], text[VALUE];
    Metric *metric = &request->metrics[i];
    snprintf(name, KEY, "gpm_error.%u", metric->id);
    metric->ret = gpu_text(device, name, text) ? atoi(text) : OK;
    snprintf(name, KEY, "gpm.%u", metric->id);
    if (!metric->ret && !gpu_text(device, name, text)) metric->ret = NOT_SUPPORTED;
    metric->value = metric->ret ? 0 : strtod(text, 0);
  }
  return no;
}
#endif

static Return field_of(Device device, Field *field) {
  char name[KEY], text[VALUE];
  snprintf(name, KEY, "field_error.%u", field->id);
  if (gpu_text(device, name, text)) return atoi(text);
  snprintf(name, KEY, field->scope ? "field.%u.%u" : "field.%u", field->id, field->scope);
  if (!gpu_text(device, name, text)) return NOT_SUPPORTED;
  field->type = (unsigned)(text[0] - '0');
  field->stamp = 1;
  memset(&field->value, 0xAB, sizeof field->value); /* reading the wrong member must show */
  switch (field->type) {
    case 0: field->value.d = strtod(text + 2, 0); break;
    case 1: field->value.ui = (unsigned)strtoul(text + 2, 0, 10); break;
    case 2: field->value.ul = strtoul(text + 2, 0, 10); break;
    case 3: field->value.ull = strtoull(text + 2, 0, 10); break;
    case 4: field->value.sll = strtoll(text + 2, 0, 10); break;
    case 5: field->value.si = (int)strtol(text + 2, 0, 10); break;
    default: field->value.us = (unsigned short)strtoul(text + 2, 0, 10);
  }
  return OK;
}
static int field_calls[MOST_GPUS], field_count[MOST_GPUS];
int fake_nvml_field_calls(int gpu) { return field_calls[gpu]; }
int fake_nvml_field_count(int gpu) { return field_count[gpu]; }
Return nvmlDeviceGetFieldValues(Device device, int count, Field *fields) {
  Return no = blocked(device, "nvmlDeviceGetFieldValues");
  field_calls[device->index]++;
  field_count[device->index] = count;
  for (int i = 0; i < count && !no; i++) fields[i].ret = field_of(device, &fields[i]);
  return no;
}

Return nvmlEventSetCreate(Set *out) {
  Return no = blocked(0, "nvmlEventSetCreate");
  *out = no ? 0 : calloc(1, sizeof **out);
  return no;
}
Return nvmlEventSetFree(Set set) { free(set); return OK; }
Return nvmlDeviceRegisterEvents(Device device, unsigned long long types, Set set) {
  Return no = blocked(device, "nvmlDeviceRegisterEvents");
  if (!no && types == 8) set->registered |= 1u << device->index;
  return no;
}
Return nvmlEventSetWait_v2(Set set, Event *out, unsigned timeout_ms) {
  for (unsigned waited = 0; waited <= timeout_ms; waited += 2) {
    char key[KEY], text[VALUE];
    Return no = blocked(0, "nvmlEventSetWait_v2");
    if (no) return no;
    snprintf(key, KEY, "xid.%ld", next_xid);
    if (get(key, text)) {
      int gpu = atoi(text);
      char *code = strchr(text, ':');
      next_xid++;
      if (code && set->registered & 1u << gpu) {
        *out = (Event){(Device)&gpus[gpu], 8, strtoull(code + 1, 0, 10), 0xFFFFFFFF, 0xFFFFFFFF};
        return OK;
      }
    }
    for (int i = 0; i < MOST_GPUS; i++) /* as the driver does: one lost GPU fails the whole set */
      if (set->registered & 1u << i && blocked((Device)&gpus[i], "lost") == 15) return 15;
    usleep(2000);
  }
  return TIMEOUT;
}
