/* run_folder.c: taking over a run's folder, or refusing to. */
#include "5_results/run_folder.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "1_config/config.h"
#include "5_results/atomic_file.h"

#include <unistd.h>

static const char ADVICE[] = "choose another folder with --out, or remove this one";

/* Whether the run described by an existing config.ini is this run. */
static pt_status check_same_run(const char *folder, const char *path, const pt_config *config,
                                bool resumed, pt_error *err) {
    pt_config *old = NULL;
    pt_error why = {0};
    pt_status status = pt_config_load(path, NULL, 0, &old, &why);
    if (status == PT_ERR_MEMORY || status == PT_ERR_IO)
        return pt_fail(err, status, "%s", why.message);
    if (status != PT_OK)
        return pt_fail(err, PT_ERR_USAGE, "%s holds a config that cannot be read (%s); %s", folder,
                       why.message, ADVICE);
    if (resumed && old->train.iterations < config->train.iterations)
        old->train.iterations = config->train.iterations;
    char difference[512];
    status = pt_config_same_run(old, config, difference, sizeof difference);
    pt_config_free(old);
    if (status == PT_ERR_MEMORY)
        return pt_fail_memory(err, "comparing configs", 0);
    if (status != PT_OK)
        return pt_fail(err, PT_ERR_USAGE, "%s holds another run (there and here, %s); %s", folder,
                       difference, ADVICE);
    return PT_OK;
}

static pt_status write_config(const char *path, const pt_config *config, pt_error *err) {
    pt_atomic_file *file = NULL;
    pt_status status = pt_atomic_open(path, &file, err);
    if (status != PT_OK)
        return status;
    status = pt_config_write(config, pt_atomic_stream(file), err);
    if (status == PT_OK || ferror(pt_atomic_stream(file)))
        return pt_atomic_commit(file, err); /* which tells path and reason of a failed write */
    pt_atomic_abort(file);
    return status;
}

pt_status pt_run_folder_open(const char *folder, const pt_config *config, bool resumed,
                             pt_error *err) {
    pt_status status = pt_make_folder(folder, err);
    if (status != PT_OK)
        return status;
    char *path = pt_format("%s/config.ini", folder);
    char *model = pt_format("%s/model.safetensors", folder);
    if (!path || !model)
        status = pt_fail_memory(err, folder, 0);
    else if (access(path, F_OK) == 0)
        status = check_same_run(folder, path, config, resumed, err);
    else if (access(model, F_OK) == 0)
        status =
            pt_fail(err, PT_ERR_USAGE,
                    "%s holds a model.safetensors but no config.ini of the run it came from; %s",
                    folder, ADVICE);
    if (status == PT_OK) {
        pt_atomic_clean(folder);
        status = write_config(path, config, err);
    }
    pt_free(path);
    pt_free(model);
    return status;
}
