/* ptrain.h: the whole public API. Link with `pkg-config --libs --static ptrain`. */
#ifndef PTRAIN_PTRAIN_H
#define PTRAIN_PTRAIN_H

#include "ptrain/config.h"
#include "ptrain/dataset.h"
#include "ptrain/error.h"
#include "ptrain/trainer.h"
#include "ptrain/version.h"

#endif
