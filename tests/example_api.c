/* example_api.c: training a network with libptrain, by its public headers alone.
 *
 *   cc example_api.c $(pkg-config --cflags --libs --static ptrain) && ./a.out FOLDER
 *
 * Learns XOR from a CSV file that it writes into FOLDER, prints the four answers, saves the model
 * there and loads it again. Exits 0 when all is as it should be. test_install.sh builds and runs it
 * against an installed tree.
 */
#include <ptrain/ptrain.h>

#include <stdio.h>
#include <string.h>

static const char network[] = "[data]\n"
                              "dataset = csv\n"
                              "header = true\n"
                              "target = label\n"
                              "[layer.hidden]\n"
                              "type = affine\n"
                              "units = 8\n"
                              "init = normal(1)\n"
                              "[layer.tanh]\n"
                              "type = tanh\n"
                              "[layer.answer]\n"
                              "type = affine\n"
                              "units = 2\n"
                              "init = normal(1)\n"
                              "[train]\n"
                              "batch_size = 4\n"
                              "sampling = sequential\n"
                              "[optimizer]\n"
                              "learning_rate = 0.5\n";

static int failed(const char *what, const pt_error *err) {
    fprintf(stderr, "example_api: %s: %s\n", what, err->message);
    return 1;
}

static int write_table(const char *path) {
    FILE *file = fopen(path, "w");
    if (!file)
        return -1;
    fputs("x1,x2,xor\n0,0,0\n0,1,1\n1,0,1\n1,1,0\n", file);
    return fclose(file);
}

/* Everything that needs a trainer. */
static int train(pt_trainer *trainer, const char *model_path) {
    static const float questions[4][2] = {{0, 0}, {0, 1}, {1, 0}, {1, 1}};
    float scores[4][2], again[4][2];
    double accuracy;
    char sha256[PT_SHA256_TEXT_SIZE], sha256_again[PT_SHA256_TEXT_SIZE];
    pt_error err;
    if (pt_trainer_run(trainer, 2000, &err) != PT_OK)
        return failed("training", &err);
    if (pt_trainer_evaluate(trainer, PT_SPLIT_TRAIN, &accuracy, &err) != PT_OK)
        return failed("evaluation", &err);
    if (pt_trainer_predict(trainer, questions[0], 4, scores[0], &err) != PT_OK)
        return failed("prediction", &err);
    for (int i = 0; i < 4; i++)
        printf("%g xor %g = %d\n", (double)questions[i][0], (double)questions[i][1],
               scores[i][1] > scores[i][0]);
    printf("accuracy %g after %llu iterations, %zu parameters, %s kernels\n", accuracy,
           (unsigned long long)pt_trainer_iteration(trainer), pt_trainer_parameters(trainer),
           pt_trainer_isa(trainer));

    /* A saved and loaded model answers the same, and saves as the same file. */
    if (pt_trainer_save(trainer, model_path, sha256, &err) != PT_OK ||
        pt_trainer_load(trainer, model_path, &err) != PT_OK ||
        pt_trainer_save(trainer, model_path, sha256_again, &err) != PT_OK)
        return failed(model_path, &err);
    if (pt_trainer_predict(trainer, questions[0], 4, again[0], &err) != PT_OK)
        return failed("prediction", &err);
    if (accuracy < 1 || memcmp(scores, again, sizeof scores) != 0 ||
        strcmp(sha256, sha256_again) != 0) {
        fprintf(stderr, "example_api: the model is not what it should be\n");
        return 1;
    }
    printf("sha256 %s\n", sha256);
    return 0;
}

int main(int argc, char **argv) {
    const char *folder = argc > 1 ? argv[1] : ".";
    char table[1024], model[1024], override[1100];
    snprintf(table, sizeof table, "%s/xor.csv", folder);
    snprintf(model, sizeof model, "%s/xor.safetensors", folder);
    snprintf(override, sizeof override, "data.train_file=%s", table);
    const char *overrides[] = {override};
    if (write_table(table) != 0) {
        perror(table);
        return 1;
    }

    pt_config *config = NULL;
    pt_dataset *dataset = NULL;
    pt_trainer *trainer = NULL;
    pt_error err;
    int status = 1;
    if (pt_config_parse(network, "xor", overrides, 1, &config, &err) != PT_OK ||
        pt_dataset_load(config, &dataset, &err) != PT_OK ||
        pt_trainer_create(config, dataset, &trainer, &err) != PT_OK)
        failed("setting up", &err);
    else
        status = train(trainer, model);
    pt_trainer_free(trainer);
    pt_dataset_free(dataset);
    pt_config_free(config);
    return status;
}
