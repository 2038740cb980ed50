/* config.h: reading the INI file that describes a run.
 *
 * Ownership: pt_config_load makes a config that the caller frees with pt_config_free (NULL allowed).
 * Thread-safety: a config may be read by any number of threads, changed by one.
 */
#ifndef PTRAIN_CONFIG_H
#define PTRAIN_CONFIG_H

#include "ptrain/error.h"

#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pt_config pt_config;

/* Reads and checks an INI file. Errors (PT_ERR_CONFIG, PT_ERR_IO, PT_ERR_MEMORY) name file and line
 * and, for an unknown name, the nearest known one. `overrides` are `count` texts "section.key=value"
 * applied after the file, as of the command line's --set; a layer's key is "layer.NAME.key". On failure
 * *config is NULL. */
pt_status pt_config_load(const char *path, const char *const *overrides, size_t count,
                         pt_config **config, pt_error *err);

/* The same from memory; `name` stands in messages for the file. */
pt_status pt_config_parse(const char *text, const char *name, const char *const *overrides,
                          size_t count, pt_config **config, pt_error *err);

void pt_config_free(pt_config *config);

/* Writes every key with the value it really has, as an INI file that reads back as the same config.
 * The text is the same on every machine; PT_ERR_IO when the stream reports an error. */
pt_status pt_config_write(const pt_config *config, FILE *stream, pt_error *err);

/* Writes the reference of every section and key: type, range, default, unit and meaning, as a
 * commented INI file (configs/reference.ini). */
pt_status pt_config_write_reference(FILE *stream, pt_error *err);

#ifdef __cplusplus
}
#endif

#endif
