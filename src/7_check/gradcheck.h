/* gradcheck.h: is backpropagation right? (Saito, section 5.7.3)
 *
 * The float32 gradients of the training path, on every instruction set, against central differences
 * of the float64 reference. Reported per parameter tensor, as the book does: the mean absolute
 * difference; and judged by a bound on the largest one.
 *
 * The bound. Rounding errors of float32 behave like independent random numbers of mean zero (Higham
 * and Mary, "A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41,
 * 2019): over chains of D operations in all (fan-in forward, fan-out backward, rows in the
 * gradient) they add up to about u sqrt(D) of the numbers involved, u = 2^-24, and hardly ever to
 * four times that. How large those numbers are, and how an error in one node carries on to the
 * next, is followed through the graph, forward and backward, with the largest values and the
 * 2-norms of the weights' columns and rows. To this comes the error of the central difference
 * itself. Followed through many layers that bound grows far beyond what errors are, and would let wrong
 * gradients pass; so beside it a difference may be no more than 1e-4 of the tensor's largest gradient, or the
 * bound by twice the number of nodes if that is more (gradients so small that they are rounding errors of each other).
 */
#ifndef PT_CHECK_GRADCHECK_H
#define PT_CHECK_GRADCHECK_H

#include "1_config/config.h"
#include "ptrain/dataset.h"
#include "simd/kernels.h"

#include <stdbool.h>

typedef struct pt_gradcheck_row {
    const char *isa;
    const char *tensor;
    size_t elements, checked; /* checked: a sample, where all would take too long */
    double mean_difference, largest_difference, bound;
    double largest_gradient;
    bool ok;
} pt_gradcheck_row;

/* Checks the config's graph on its first mini-batch, at its initial parameters, with the config's
 * instruction set or, with auto, all that this machine has. Calls `report` per tensor and
 * instruction set. Of large networks evenly spread elements are checked, which takes
 * about half a minute of one core. PT_ERR_CHECK when any tensor is out of bound. */
pt_status pt_gradcheck(const pt_config *config, const pt_dataset *dataset,
                       void (*report)(void *context, const pt_gradcheck_row *row), void *context,
                       pt_error *err);

/* The same with one given kernel table (tests break one and must see it found out). */
pt_status pt_gradcheck_kernels(const pt_config *config, const pt_dataset *dataset,
                               const pt_kernels *kernels,
                               void (*report)(void *context, const pt_gradcheck_row *row),
                               void *context, pt_error *err);

#endif
