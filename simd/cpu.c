/* cpu.c: what the processor and the operating system can run.
 *
 * CPUID tells what the processor has; XCR0 tells which registers the operating system saves when it
 * switches threads. An instruction set is usable only with both (Intel SDM vol. 1, 14.3 and 15.2).
 */
#include "simd/kernels_internal.h"

#include <cpuid.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

/* Register states of XCR0. */
enum {
    XCR0_AVX = 1u << 1 | 1u << 2,                         /* xmm and ymm */
    XCR0_AVX512 = XCR0_AVX | 1u << 5 | 1u << 6 | 1u << 7, /* masks, zmm0-15 high halves, zmm16-31 */
};

static unsigned read_xcr0(void) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static bool has_all(unsigned set, unsigned wanted) {
    return (set & wanted) == wanted;
}

static pt_isa detect(void) {
#ifdef PT_SCALAR_ONLY /* ThreadSanitizer does not see accesses of more than 16 bytes */
    return PT_ISA_SCALAR;
#endif
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx))
        return PT_ISA_SCALAR;
    /* "avx2" here means AVX2, FMA, BMI1, BMI2 and POPCNT, which came together (Haswell, Excavator).
     * OSXSAVE: xgetbv itself is allowed. */
    if (!has_all(ecx, bit_OSXSAVE | bit_AVX | bit_FMA | bit_POPCNT))
        return PT_ISA_SCALAR;
    unsigned xcr0 = read_xcr0();
    if (!has_all(xcr0, XCR0_AVX) || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
        return PT_ISA_SCALAR;
    if (!has_all(ebx, bit_AVX2 | bit_BMI | bit_BMI2))
        return PT_ISA_SCALAR;
    /* "avx512" is one set: F, BW, DQ and VL, which every server since Skylake-SP (2017) and Zen 4
     * has, and Knights Landing has not. */
    if (!has_all(xcr0, XCR0_AVX512) ||
        !has_all(ebx, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL))
        return PT_ISA_AVX2;
    return PT_ISA_AVX512;
}

static pthread_once_t g_once = PTHREAD_ONCE_INIT;
static pt_isa g_best;
static bool g_vbmi2;

static void note_best(void) {
    unsigned eax, ebx, ecx = 0, edx;
    g_best = detect();
    g_vbmi2 = g_best == PT_ISA_AVX512 && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) &&
              has_all(ecx, bit_AVX512VBMI2);
}

/* Asked once: in a virtual machine each CPUID is a trap of many microseconds. */
pt_isa pt_isa_best(void) {
    pthread_once(&g_once, note_best);
    return g_best;
}

bool pt_cpu_has_vbmi2(void) {
    pthread_once(&g_once, note_best);
    return g_vbmi2;
}

const char *const pt_isa_names[PT_ISA_COUNT] = {
    [PT_ISA_AUTO] = "auto",
    [PT_ISA_SCALAR] = "scalar",
    [PT_ISA_AVX2] = "avx2",
    [PT_ISA_AVX512] = "avx512",
};

const char *pt_isa_name(pt_isa isa) {
    return (unsigned)isa < PT_ISA_COUNT ? pt_isa_names[isa] : "unknown";
}

int pt_isa_parse(const char *name, pt_isa *isa) {
    for (int i = 0; i < PT_ISA_COUNT; i++) {
        if (strcmp(name, pt_isa_names[i]) == 0) {
            *isa = (pt_isa)i;
            return 0;
        }
    }
    return -1;
}
