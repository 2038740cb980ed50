/* fuzz_checkpoint.c: checkpoints, up to putting one into a trainer.
 *
 * Input: a checkpoint. As no fuzzer guesses a SHA-256, the right checksum is filled in where the
 * input has room for one.
 */
#include "fuzz.h"

#include "1_config/config.h"
#include "4_train/trainer.h"
#include "5_results/checkpoint.h"
#include "6_run/saver.h"

#include <sha256.h>

enum { DIGITS = 64 };

static const char config_text[] =
    "[data]\ndataset = none\n[layer.v]\ntype = variable\nunits = 3\n[layer.w]\ntype = variable\n"
    "units = 3\n[layer.m]\ntype = mul\ninput = v, w\n[loss]\ntype = output\n"
    "[train]\niterations = 5\nbatch_size = 1\n[optimizer]\ntype = momentum\n"
    "[parallel]\nthreads = 1\nschedule = per_thread\n";

static pt_config *g_config;
static pt_dataset *g_dataset;
static pt_trainer *g_trainer;

static void prepare(void) {
    pt_error err;
    PROMISE(pt_config_parse(config_text, "fuzz", NULL, 0, &g_config, &err) == PT_OK);
    PROMISE(pt_dataset_load(g_config, &g_dataset, &err) == PT_OK);
    PROMISE(pt_trainer_create(g_config, g_dataset, &g_trainer, &err) == PT_OK);
}

/* The checksum is that of the file with zeros for its own digits. */
static void fill_in_checksum(uint8_t *bytes, size_t size) {
    static const char mark[] = "\"checksum\":\"";
    const size_t length = sizeof mark - 1;
    uint8_t *at = memmem(bytes, size, mark, length);
    if (!at || (size_t)(bytes + size - at) < length + DIGITS)
        return;
    char hex[DIGITS + 1];
    SHA256_CTX hash;
    memset(at + length, '0', DIGITS);
    SHA256_Init(&hash);
    SHA256_Update(&hash, bytes, size);
    SHA256_End(&hash, hex);
    memcpy(at + length, hex, DIGITS);
}

static void take(const pt_checkpoint *checkpoint) {
    pt_error err = {0};
    pt_config *config = NULL;
    char difference[256];
    const pt_status status = pt_config_parse(checkpoint->config, "fuzz", NULL, 0, &config, &err);
    if (status == PT_OK)
        (void)pt_config_same_run(config, g_config, difference, sizeof difference);
    pt_config_free(config);
    const pt_status restored = pt_restore_checkpoint(g_trainer, checkpoint, "fuzz", &err);
    PROMISE(restored == PT_OK || restored == PT_ERR_DATA);
    PROMISE(restored != PT_OK || pt_trainer_iteration(g_trainer) == checkpoint->step);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static fuzz_file target;
    if (!g_trainer) {
        prepare();
        target = fuzz_file_make("");
    }
    uint8_t *bytes = malloc(size + 1);
    PROMISE(bytes);
    memcpy(bytes, data, size);
    fill_in_checksum(bytes, size);
    fuzz_file_fill(&target, bytes, size);
    free(bytes);
    pt_error err = {0};
    pt_checkpoint_file *file = NULL;
    const pt_status status = pt_checkpoint_read(target.path, &file, &err);
    PROMISE((status == PT_OK) == (file != NULL));
    if (status == PT_OK)
        take(&file->checkpoint);
    else
        PROMISE((status == PT_ERR_DATA || status == PT_ERR_USAGE) && err.message[0] &&
                !strchr(err.message, '\n'));
    pt_checkpoint_free(file);
    return 0;
}
