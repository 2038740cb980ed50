/* cores.c: how many cores this process may really use. */
#include "0_base/cores.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* First line of a small text file, without the newline; false when it cannot be read. */
static bool read_line(const char *path, char *line, int size) {
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    bool ok = fgets(line, size, file) != NULL;
    fclose(file);
    if (ok)
        line[strcspn(line, "\n")] = '\0';
    return ok;
}

/* CPUs allowed by the affinity mask, counting hardware threads of one core once. */
static size_t cores_in_mask(void) {
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return 1;
    size_t cores = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET((size_t)cpu, &allowed))
            continue;
        /* A list like "0,4" or "0-1": this CPU counts unless an earlier allowed one shares its
         * core. */
        char path[128], line[256];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
                 cpu);
        bool shared = false;
        if (read_line(path, line, sizeof line)) {
            for (char *at = line; *at && !shared;) {
                char *end;
                long first = strtol(at, &end, 10), last = first;
                if (end == at)
                    break;
                if (*end == '-')
                    last = strtol(end + 1, &end, 10);
                for (long other = first; other <= last && other < cpu; other++)
                    shared = shared || (other >= 0 && CPU_ISSET((size_t)other, &allowed));
                at = *end == ',' ? end + 1 : end;
            }
        }
        cores += !shared;
    }
    return cores ? cores : 1;
}

/* This process's cgroup of a controller, as /proc/self/cgroup has it: lines `ID:CONTROLLERS:PATH`.
 * `controller` "" is cgroup v2. "/" where there is none. */
static void find_cgroup(const char *controller, char *cgroup, size_t size) {
    char line[4096];
    const size_t length = strlen(controller);
    FILE *file = fopen("/proc/self/cgroup", "r");
    snprintf(cgroup, size, "/");
    while (file && fgets(line, sizeof line, file)) {
        char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
        if (!path)
            continue;
        bool found = path == list + 1 && length == 0;
        for (char *at = list + 1; at < path && length > 0; at += strcspn(at, ",:") + 1)
            found = found || (strncmp(at, controller, length) == 0 && strchr(",:", at[length]));
        if (found)
            snprintf(cgroup, size, "%.*s", (int)strcspn(path + 1, "\n"), path + 1);
    }
    if (file)
        fclose(file);
}

/* CPUs that one cgroup's files allow, rounded up; 0: no limit. v2: cpu.max ("QUOTA PERIOD" or "max
 * PERIOD"); v1: a file each. */
static size_t quota_of(const char *folder, bool v2) {
    char path[4300], value[128], period_text[128];
    long long quota = 0, period = 0;
    if (v2) {
        snprintf(path, sizeof path, "%s/cpu.max", folder);
        if (!read_line(path, value, sizeof value) ||
            sscanf(value, "%lld %lld", &quota, &period) != 2)
            return 0;
    } else {
        snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
        if (!read_line(path, value, sizeof value))
            return 0;
        snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
        if (!read_line(path, period_text, sizeof period_text))
            return 0;
        quota = atoll(value);
        period = atoll(period_text);
    }
    return quota > 0 && period > 0 ? (size_t)((quota + period - 1) / period) : 0;
}

/* The tightest limit on the way from this process's cgroup to the root of the hierarchy. */
static size_t tightest_quota(const char *root, const char *controller, bool v2) {
    char cgroup[4000], folder[4200];
    size_t limit = 0;
    find_cgroup(controller, cgroup, sizeof cgroup);
    for (;;) {
        snprintf(folder, sizeof folder, "%s%s", root, strcmp(cgroup, "/") ? cgroup : "");
        const size_t cpus = quota_of(folder, v2);
        limit = cpus && (limit == 0 || cpus < limit) ? cpus : limit;
        char *slash = strrchr(cgroup, '/');
        if (!slash || strcmp(cgroup, "/") == 0)
            return limit;
        slash[slash == cgroup] = '\0';
    }
}

static size_t cgroup_quota(void) {
    const size_t v2 = tightest_quota("/sys/fs/cgroup", "", true);
    return v2 ? v2 : tightest_quota("/sys/fs/cgroup/cpu", "cpu", false);
}

size_t pt_cores_available(void) {
    size_t cores = cores_in_mask(), quota = cgroup_quota();
    return quota && quota < cores ? quota : cores;
}
