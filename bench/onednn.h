/* onednn.h: oneDNN's matmul primitive with weights in the layout that it prefers, made beforehand:
 * what a framework that keeps its weights so could reach. Needs oneDNN 2's header when compiled.
 */
#ifndef BENCH_ONEDNN_H
#define BENCH_ONEDNN_H

#include "bench/peers.h"

/* False where the header was not there or the library is of another version. */
bool bench_onednn_open(void *library, bench_peer *peer);

#endif
