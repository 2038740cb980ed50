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

/* The tightest cpu.max ("QUOTA PERIOD" or "max PERIOD") on the way from this process's cgroup (v2)
 * to the root, or cgroup v1's quota; in CPUs, rounded up; 0: no limit. */
static size_t cgroup_quota(void) {
    char line[4096] = "", path[4200], value[128];
    size_t limit = 0;
    FILE *file = fopen("/proc/self/cgroup", "r");
    char cgroup[4000] = "/";
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "0::", 3) == 0)
            snprintf(cgroup, sizeof cgroup, "%.*s", (int)strcspn(line + 3, "\n"), line + 3);
    if (file)
        fclose(file);
    for (;;) {
        long long quota, period;
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", strcmp(cgroup, "/") ? cgroup : "");
        if (read_line(path, value, sizeof value) &&
            sscanf(value, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0) {
            size_t cpus = (size_t)((quota + period - 1) / period);
            limit = limit == 0 || cpus < limit ? cpus : limit;
        }
        char *slash = strrchr(cgroup, '/');
        if (!slash || strcmp(cgroup, "/") == 0)
            break;
        slash[slash == cgroup] = '\0';
    }
    char period_text[128];
    if (limit == 0 && read_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", value, sizeof value) &&
        read_line("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period_text, sizeof period_text)) {
        long long quota = atoll(value), period = atoll(period_text);
        if (quota > 0 && period > 0)
            limit = (size_t)((quota + period - 1) / period);
    }
    return limit;
}

size_t pt_cores_available(void) {
    size_t cores = cores_in_mask(), quota = cgroup_quota();
    return quota && quota < cores ? quota : cores;
}
