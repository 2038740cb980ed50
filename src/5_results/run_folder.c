/* run_folder.c: taking over a run's folder, or refusing to. */
#include "5_results/run_folder.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "0_base/text.h"
#include "1_config/config.h"
#include "5_results/atomic_file.h"
#include "5_results/checkpoint.h"
#include "5_results/io.h"
#include "5_results/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char ADVICE[] = "choose another folder with --out, or remove this one";

pt_status pt_run_folder_lock(const char *folder, int *lock, pt_error *err) {
    *lock = -1;
    pt_status status = pt_make_folder(folder, err);
    if (status != PT_OK)
        return status;
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return PT_OK; /* what there is to say of it, reading and writing will say */
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        *lock = fd;
        return PT_OK;
    }
    const bool taken = errno == EWOULDBLOCK;
    close(fd);
    return taken ? pt_fail(err, PT_ERR_IO,
                           "%s: another ptrain is at work in this folder; wait for it, or choose "
                           "another folder with --out",
                           folder)
                 : PT_OK;
}

/* ---- what is there ---- */

/* The iteration a model file says it is of, and its checksum; 0: none that is whole. */
static pt_status model_iteration(const char *path, uint64_t *iteration, char sha256[65],
                                 pt_error *err) {
    pt_safetensors *file = NULL;
    pt_error why;
    *iteration = 0;
    const pt_status status = pt_safetensors_read(path, &file, &why);
    if (status == PT_ERR_MEMORY)
        return pt_fail(err, status, "%s", why.message);
    if (status != PT_OK || !file)
        return PT_OK;
    const char *text = pt_safetensors_metadata(file, "iteration");
    if (text && !pt_parse_u64(text, iteration))
        *iteration = 0;
    memcpy(sha256, file->sha256, sizeof file->sha256);
    pt_safetensors_free(file);
    return PT_OK;
}

/* summary.json as summary.c writes it; "" if there is none. */
static void read_summary(const char *path, char text[4096]) {
    FILE *file = fopen(path, "rbe");
    const size_t size = file ? fread(text, 1, 4095, file) : 0;
    if (file)
        fclose(file);
    text[size] = '\0';
}

/* What a folder says of the run that it holds. */
typedef struct account {
    bool finished; /* and all of it is there */
    bool diverged;
} account;

static pt_status read_account(const char *folder, const pt_config *config, account *said,
                              pt_error *err) {
    char *model = pt_format("%s/model.safetensors", folder);
    char *summary = pt_format("%s/summary.json", folder), sha256[65], text[4096];
    uint64_t iteration = 0;
    *said = (account){0};
    pt_status status = PT_OK;
    if (!model || !summary)
        status = pt_fail_memory(err, folder, 0);
    else if (access(model, F_OK) == 0 && access(summary, F_OK) == 0)
        status = model_iteration(model, &iteration, sha256, err);
    if (status == PT_OK && iteration > 0) {
        read_summary(summary, text);
        const bool of_model = strstr(text, sha256) != NULL;
        said->diverged = of_model && strstr(text, "\"status\": \"diverged\"");
        said->finished = of_model && strstr(text, "\"status\": \"finished\"") &&
                         strstr(text, "\"all_saved\": true") &&
                         iteration == config->train.iterations;
    }
    pt_free(model);
    pt_free(summary);
    return status;
}

/* Files of a run whose config.ini is missing are somebody's, but not known to be this run's. */
static pt_status check_no_results(const char *folder, pt_error *err) {
    static const char *const names[] = {"model.safetensors", "best.safetensors", "losses.csv",
                                        "metrics.csv", "summary.json"};
    uint64_t *steps;
    size_t count;
    pt_status status = pt_checkpoint_list(folder, &steps, &count, err);
    if (status != PT_OK)
        return status;
    const char *found = count > 0 ? "checkpoint" : NULL;
    pt_free(steps);
    for (size_t i = 0; i < sizeof names / sizeof *names && !found; i++) {
        char *path = pt_format("%s/%s", folder, names[i]);
        if (!path)
            return pt_fail_memory(err, folder, 0);
        found = access(path, F_OK) == 0 ? names[i] : NULL;
        pt_free(path);
    }
    return found ? pt_fail(err, PT_ERR_USAGE,
                           "%s holds a %s but no config.ini of the run it came from; %s", folder,
                           found, ADVICE)
                 : PT_OK;
}

/* To begin anew would lose them. */
static pt_status check_no_unfinished(const char *folder, const pt_config *config, pt_error *err) {
    uint64_t *steps;
    size_t count;
    account said = {0};
    pt_status status = pt_checkpoint_list(folder, &steps, &count, err);
    const uint64_t newest = status == PT_OK && count > 0 ? steps[0] : 0;
    pt_free(steps);
    if (status == PT_OK && newest > 0)
        status = read_account(folder, config, &said, err);
    if (status != PT_OK || newest == 0 || said.finished)
        return status;
    return pt_fail(err, PT_ERR_USAGE,
                   "%s holds this run%s, with a checkpoint of iteration %llu; %s%s", folder,
                   said.diverged ? " as it diverged" : " unfinished", (unsigned long long)newest,
                   said.diverged ? "" : "go on with --resume, ", ADVICE);
}

static bool is_same_file(const char *a, const char *b) {
    struct stat of_a, of_b;
    return a && b && stat(a, &of_a) == 0 && stat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
           of_a.st_ino == of_b.st_ino;
}

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
    const bool grown = resumed && old->train.iterations < config->train.iterations;
    if (grown && is_same_file(path, config->path)) {
        pt_config_free(old);
        return pt_fail(err, PT_ERR_USAGE,
                       "%s is the config of the run in this folder: write train.iterations = %llu "
                       "there, instead of overriding it",
                       path, (unsigned long long)config->train.iterations);
    }
    if (grown)
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

/* It would vouch for a run that is yet to come. */
static pt_status remove_summary(const char *folder, pt_error *err) {
    char *path = pt_format("%s/summary.json", folder);
    if (!path)
        return pt_fail_memory(err, folder, 0);
    int reason = pt_io_unlink(path);
    if (!reason)
        reason = pt_io_sync_folder(folder);
    const pt_status status =
        reason && reason != ENOENT
            ? pt_fail(err, PT_ERR_IO, "%s: cannot remove: %s", path, strerror(reason))
            : PT_OK;
    pt_free(path);
    return status;
}

pt_status pt_run_folder_open(const char *folder, const pt_config *config, pt_run_start start,
                             bool *finished, pt_error *err) {
    char *path = pt_format("%s/config.ini", folder);
    account said = {0};
    *finished = false;
    if (!path)
        return pt_fail_memory(err, folder, 0);
    pt_status status = PT_OK;
    if (access(path, F_OK) == 0)
        status = check_same_run(folder, path, config, start == PT_START_FROM_CHECKPOINT, err);
    else if (start != PT_START_FROM_CHECKPOINT)
        status = check_no_results(folder, err);
    if (status == PT_OK && start == PT_START_ANEW)
        status = check_no_unfinished(folder, config, err);
    else if (status == PT_OK)
        status = read_account(folder, config, &said, err);
    if (status == PT_OK && said.finished) {
        *finished = true;
    } else if (status == PT_OK) {
        pt_atomic_clean(folder);
        status = remove_summary(folder, err);
        if (status == PT_OK && !is_same_file(path, config->path))
            status = write_config(path, config, err);
    }
    pt_free(path);
    return status;
}
