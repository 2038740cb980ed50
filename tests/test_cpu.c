/* test_cpu.c: which kernels are chosen, that every table is complete, the floating-point state. */
#include "harness.h"

#include "simd/kernels.h"

#include <float.h>
#include <immintrin.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

TEST(cpu, best_isa_is_what_the_processor_has) {
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#ifdef PT_SCALAR_ONLY
    avx2 = avx512 = false;
#endif
    CHECK_STR(pt_isa_name(pt_isa_best()), avx512 ? "avx512" : avx2 ? "avx2" : "scalar");
}

TEST(cpu, tables_exist_up_to_the_best) {
    CHECK(pt_kernels_get(PT_ISA_AUTO) == pt_kernels_get(pt_isa_best()));
    for (int isa = PT_ISA_SCALAR; isa < PT_ISA_COUNT; isa++) {
        const pt_kernels *kernels = pt_kernels_get((pt_isa)isa);
        CHECK((kernels != NULL) == (isa <= (int)pt_isa_best()));
        if (kernels)
            CHECK_STR(kernels->isa, pt_isa_name((pt_isa)isa));
    }
    CHECK(pt_kernels_get(PT_ISA_COUNT) == NULL);
    CHECK(pt_kernels_get((pt_isa)-1) == NULL);
}

/* Every member after `isa` is a function pointer: none may be NULL, listed or not. */
TEST(cpu, tables_have_no_holes) {
    typedef void (*any_kernel)(void);
    enum { FIRST = offsetof(pt_kernels, sgemm_scratch) };
    enum { MEMBERS = (sizeof(pt_kernels) - FIRST) / sizeof(any_kernel) };
    for (int isa = PT_ISA_SCALAR; isa <= (int)pt_isa_best(); isa++) {
        any_kernel members[MEMBERS];
        memcpy(members, (const char *)pt_kernels_get((pt_isa)isa) + FIRST, sizeof members);
        for (size_t i = 0; i < MEMBERS; i++)
            CHECK_MSG(members[i] != NULL, "%s: kernel %zu of the table is missing",
                      pt_isa_name((pt_isa)isa), i);
    }
}

TEST(cpu, names_and_back) {
    for (int i = 0; i < PT_ISA_COUNT; i++) {
        pt_isa isa = PT_ISA_COUNT;
        CHECK_INT(pt_isa_parse(pt_isa_name((pt_isa)i), &isa), 0);
        CHECK_INT(isa, i);
    }
    pt_isa isa = PT_ISA_AVX2;
    CHECK_INT(pt_isa_parse("AVX2", &isa), -1);
    CHECK_INT(pt_isa_parse("", &isa), -1);
    CHECK_INT(pt_isa_parse("avx", &isa), -1);
    CHECK_INT(isa, PT_ISA_AVX2);
    CHECK_STR(pt_isa_name(PT_ISA_COUNT), "unknown");
}

static void *get_table(void *unused) {
    (void)unused;
    const pt_kernels *kernels = pt_kernels_get(PT_ISA_AUTO);
    return kernels->argmax ? (void *)1 : NULL;
}

TEST(cpu, tables_are_filled_once_for_all_threads) {
    pthread_t threads[8];
    for (size_t i = 0; i < 8; i++)
        REQUIRE(pthread_create(&threads[i], NULL, get_table, NULL) == 0);
    for (size_t i = 0; i < 8; i++) {
        void *filled = NULL;
        REQUIRE(pthread_join(threads[i], &filled) == 0);
        CHECK(filled != NULL);
    }
}

/* valgrind keeps MXCSR's flush bits but does not act on them. */
static bool under_valgrind(void) {
    const char *preload = getenv("LD_PRELOAD");
    return preload && strstr(preload, "vgpreload");
}

TEST(cpu, float_environment_flushes_denormals_and_rounds_to_nearest) {
    volatile float smallest = FLT_MIN, denormal = FLT_MIN / 4, third = 3.0f, one = 1.0f;
    unsigned original = _mm_getcsr();
    _mm_setcsr((original & ~(3u << 13)) | 1u << 13); /* someone left "round down" behind */
    unsigned found = _mm_getcsr();

    unsigned previous = pt_float_environment_enter();
    CHECK(smallest / 2 == 0.0f || under_valgrind());        /* results are flushed */
    CHECK(denormal * 0x1p100f == 0.0f || under_valgrind()); /* operands count as zero */
    CHECK(-one / third == -(one / third));                  /* not rounded down */
    CHECK_INT(_mm_getcsr() & 0x1f80u, 0x1f80u);

    pt_float_environment_leave(previous);
    CHECK_INT(_mm_getcsr(), found);
    _mm_setcsr(original);
    CHECK(smallest / 2 > 0.0f);
    CHECK(denormal * 0x1p100f > 0.0f);
}
