/* test_sampler.c: which rows a mini-batch holds. */
#include "0_base/philox.h"
#include "2_data/sampler.h"
#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

TEST(sampler, steps_per_epoch) {
    CHECK_INT(pt_sampler_make(PT_SAMPLING_RANDOM, 1, 60000, 100).steps_per_epoch, 600);
    CHECK_INT(pt_sampler_make(PT_SAMPLING_SHUFFLE, 1, 60000, 128).steps_per_epoch, 468);
    CHECK_INT(pt_sampler_make(PT_SAMPLING_SEQUENTIAL, 1, 4, 4).steps_per_epoch, 1);
    CHECK_INT(pt_sampler_make(PT_SAMPLING_SEQUENTIAL, 1, 7, 4).steps_per_epoch, 1);
    CHECK_INT(pt_sampler_make(PT_SAMPLING_RANDOM, 1, 4, 100).steps_per_epoch, 1);
    CHECK_INT(pt_sampler_make(PT_SAMPLING_RANDOM, 1, 1, 1).steps_per_epoch, 1);
}

TEST(sampler, sequential_walks_the_rows_in_order) {
    const pt_sampler sampler = pt_sampler_make(PT_SAMPLING_SEQUENTIAL, 1, 10, 3);
    CHECK_INT(sampler.steps_per_epoch, 3); /* row 9 is left out */
    for (uint64_t step = 0; step < 12; step++)
        for (size_t i = 0; i < 3; i++)
            CHECK_INT(pt_sampler_row(&sampler, step, i), step % 3 * 3 + i);
}

TEST(sampler, random_is_addressed_by_seed_step_and_position) {
    const pt_sampler sampler = pt_sampler_make(PT_SAMPLING_RANDOM, 5, 60000, 100);
    size_t same_as_other_seed = 0;
    const pt_sampler other = pt_sampler_make(PT_SAMPLING_RANDOM, 6, 60000, 100);
    for (uint64_t step = 0; step < 1000; step += 7)
        for (size_t i = 0; i < 100; i++) {
            const size_t row = pt_sampler_row(&sampler, step, i);
            CHECK(row < 60000);
            CHECK_INT(row, pt_random_below(5, PT_STREAM_SAMPLE, step, i, 60000));
            same_as_other_seed += row == pt_sampler_row(&other, step, i);
        }
    CHECK_MSG(same_as_other_seed < 10, "%zu of 14300 rows equal", same_as_other_seed);
}

TEST(sampler, random_draws_every_row_equally_often_with_replacement) {
    enum { ROWS = 50, STEPS = 2000, BATCH = 100 };
    const pt_sampler sampler = pt_sampler_make(PT_SAMPLING_RANDOM, 1, ROWS, BATCH);
    long count[ROWS] = {0};
    for (uint64_t step = 0; step < STEPS; step++)
        for (size_t i = 0; i < BATCH; i++)
            count[pt_sampler_row(&sampler, step, i)]++;
    double chi2 = 0;
    const double expected = (double)STEPS * BATCH / ROWS;
    for (int r = 0; r < ROWS; r++)
        chi2 += pow((double)count[r] - expected, 2) / expected;
    CHECK_MSG(chi2 > 15 && chi2 < 95, "chi2 %g on 49 degrees", chi2);
}

TEST(sampler, shuffle_visits_each_row_once_an_epoch) {
    static const size_t shapes[][2] = {{60000, 100}, {60000, 128}, {100, 7},
                                       {5, 5},       {4, 1},       {1, 1}};
    uint8_t *seen = malloc(60000);
    REQUIRE(seen != NULL);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const size_t rows = shapes[s][0], batch = shapes[s][1];
        const pt_sampler sampler = pt_sampler_make(PT_SAMPLING_SHUFFLE, 3, rows, batch);
        for (uint64_t epoch = 0; epoch < 2; epoch++) {
            memset(seen, 0, rows);
            size_t visits = 0, repeats = 0;
            for (uint64_t step = 0; step < sampler.steps_per_epoch; step++)
                for (size_t i = 0; i < batch; i++) {
                    const size_t row =
                        pt_sampler_row(&sampler, epoch * sampler.steps_per_epoch + step, i);
                    REQUIRE(row < rows);
                    repeats += seen[row];
                    seen[row] = 1;
                    visits++;
                }
            CHECK_INT(repeats, 0);
            CHECK_INT(visits, rows / batch * batch);
        }
    }
    free(seen);
}

TEST(sampler, shuffle_differs_between_epochs_and_seeds) {
    const pt_sampler sampler = pt_sampler_make(PT_SAMPLING_SHUFFLE, 3, 1000, 100);
    const pt_sampler other = pt_sampler_make(PT_SAMPLING_SHUFFLE, 4, 1000, 100);
    int same_epoch = 0, same_seed = 0, in_place = 0;
    for (uint64_t step = 0; step < 10; step++)
        for (size_t i = 0; i < 100; i++) {
            const size_t row = pt_sampler_row(&sampler, step, i);
            same_epoch += row == pt_sampler_row(&sampler, step + 10, i);
            same_seed += row == pt_sampler_row(&other, step, i);
            in_place += row == step * 100 + i;
        }
    /* About one of 1000 each by chance. */
    CHECK_MSG(same_epoch < 7 && same_seed < 7 && in_place < 7, "%d %d %d", same_epoch, same_seed,
              in_place);
}
