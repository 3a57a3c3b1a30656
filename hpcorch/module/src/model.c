/* AI models: stored whole, given back whole, run by workers. */
#include <stdbool.h>
#include <string.h>

#include "parse.h"
#include "program.h"
#include "values.h"

enum { ENCODING_VERSION = 1, MOST_NAMES = 4096 };

static Type *model_type;

static void names_save(Io *io, const Names *names) {
    Server_SaveUnsigned(io, (uint64_t)names->count);
    for (int i = 0; i < names->count; i++) Server_SaveString(io, names->texts[i]);
}

static bool names_load(Io *io, Names *names) {
    uint64_t count = Server_LoadUnsigned(io);
    if (Server_IsIOError(io) || count > MOST_NAMES) return false;
    if (count == 0) return true;
    names->texts = Server_Calloc(count, sizeof(Text *));
    for (names->count = 0; names->count < (int)count; names->count++) {
        Text *name = Server_LoadString(io);
        if (!name) return false;
        names->texts[names->count] = name;
    }
    return true;
}

static void model_save(Io *io, void *value) {
    const Program *model = value;
    text_save(io, model->backend);
    text_save(io, model->device);
    text_save(io, model->tag);
    Server_SaveSigned(io, model->batch_size);
    Server_SaveSigned(io, model->min_batch_size);
    Server_SaveSigned(io, model->min_batch_timeout);
    names_save(io, &model->inputs);
    names_save(io, &model->outputs);
    text_save(io, model->content);
}

static void *model_load(Io *io, int encoding_version) {
    if (encoding_version != ENCODING_VERSION) return NULL;
    Program *model = program_new("MODEL");
    model->backend = Server_LoadString(io);
    model->device = Server_LoadString(io);
    model->tag = Server_LoadString(io);
    model->batch_size = Server_LoadSigned(io);
    model->min_batch_size = Server_LoadSigned(io);
    model->min_batch_timeout = Server_LoadSigned(io);
    bool sound = names_load(io, &model->inputs) && names_load(io, &model->outputs);
    if (sound) model->content = Server_LoadString(io);
    if (!sound || Server_IsIOError(io) || !model->content || !model->device) {
        Server_LogIOError(io, "warning", "a model is damaged");
        program_free(model);
        return NULL;
    }
    program_complete(model);
    return model;
}

/* The words of an AI.MODELSTORE that makes this model; the blob is not among them. */
static size_t model_words(const Program *model, Text **words) {
    size_t count = 0;
    const struct {
        const char *word;
        long long number;
    } numbers[] = {
        {"BATCHSIZE", model->batch_size},
        {"MINBATCHSIZE", model->min_batch_size},
        {"MINBATCHTIMEOUT", model->min_batch_timeout},
    };
    if (text_length(model->tag)) {
        words[count++] = Server_CreateString(NULL, "TAG", 3);
        words[count++] = Server_HoldString(NULL, model->tag);
    }
    for (int i = 0; i < 3; i++) {
        if (!numbers[i].number) continue;
        words[count++] = Server_CreateString(NULL, numbers[i].word, strlen(numbers[i].word));
        words[count++] = Server_CreateStringFromLongLong(NULL, numbers[i].number);
    }
    const Names *lists[] = {&model->inputs, &model->outputs};
    for (int list = 0; list < 2; list++) {
        if (!lists[list]->count) continue;
        words[count++] = Server_CreateString(NULL, list ? "OUTPUTS" : "INPUTS", list ? 7 : 6);
        words[count++] = Server_CreateStringFromLongLong(NULL, lists[list]->count);
        for (int i = 0; i < lists[list]->count; i++) {
            words[count++] = Server_HoldString(NULL, lists[list]->texts[i]);
        }
    }
    return count;
}

static void model_rewrite(Io *io, Text *key, void *value) {
    const Program *model = value;
    size_t most = 12 + (size_t)model->inputs.count + (size_t)model->outputs.count;
    Text **words = Server_Calloc(most, sizeof(Text *));
    size_t count = model_words(model, words);
    Server_EmitAOF(io, "AI.MODELSTORE", "sssvcs", key, model->backend,
                   model->device, words, count, "BLOB", model->content);
    for (size_t i = 0; i < count; i++) Server_FreeString(NULL, words[i]);
    Server_Free(words);
}

/* INPUTS n name..: reads the names that follow argv[*at], and moves *at to the last one. */
static const char *names_parse(Text **argv, int argc, int *at, Names *names) {
    long long count = 0;
    if (*at + 1 >= argc || Server_StringToLongLong(argv[*at + 1], &count) != OK || count < 0 ||
        count > MOST_NAMES || count > argc - *at - 2) {
        return "ERR the number of names does not match the names that follow";
    }
    if (names->texts) return "ERR names were given twice";
    *at += 1;
    if (count == 0) return NULL;
    names->texts = Server_Calloc((size_t)count, sizeof(Text *));
    while (names->count < count) {
        *at += 1;
        names->texts[names->count++] = Server_HoldString(NULL, argv[*at]);
    }
    return NULL;
}

static const char *number_parse(Text **argv, int argc, int *at, long long *number) {
    *at += 1;
    if (*at >= argc || Server_StringToLongLong(argv[*at], number) != OK || *number < 0) {
        return "ERR a batch size or timeout is no whole number";
    }
    return NULL;
}

/* Options until BLOB, whose position is left in *at. */
static const char *options_parse(Text **argv, int argc, int *at, Program *model) {
    const char *fault = NULL;
    while (!fault && *at < argc && !is_word(argv[*at], "BLOB")) {
        if (is_word(argv[*at], "TAG") && *at + 1 < argc && !model->tag) {
            *at += 1;
            model->tag = Server_HoldString(NULL, argv[*at]);
        } else if (is_word(argv[*at], "BATCHSIZE")) {
            fault = number_parse(argv, argc, at, &model->batch_size);
        } else if (is_word(argv[*at], "MINBATCHSIZE")) {
            fault = number_parse(argv, argc, at, &model->min_batch_size);
        } else if (is_word(argv[*at], "MINBATCHTIMEOUT")) {
            fault = number_parse(argv, argc, at, &model->min_batch_timeout);
        } else if (is_word(argv[*at], "INPUTS")) {
            fault = names_parse(argv, argc, at, &model->inputs);
        } else if (is_word(argv[*at], "OUTPUTS")) {
            fault = names_parse(argv, argc, at, &model->outputs);
        } else {
            return "ERR Invalid argument";
        }
        *at += 1;
    }
    return fault;
}

/* One string of all chunks: a model is given back in one piece. */
static Text *blob_join(Text **chunks, int count) {
    if (count == 1) return Server_HoldString(NULL, chunks[0]);
    Text *whole = Server_CreateString(NULL, "", 0);
    for (int i = 0; i < count; i++) {
        size_t length = 0;
        const char *bytes = Server_StringPtrLen(chunks[i], &length);
        Server_StringAppendBuffer(NULL, whole, bytes, length);
    }
    return whole;
}

static const char *model_parse(Text **argv, int argc, Program *model) {
    static const char *const backends[] = {"TF", "TFLITE", "TORCH", "ONNX"};
    bool known = false;
    for (int i = 0; i < 4; i++) known = known || is_word(argv[2], backends[i]);
    if (!known) return "ERR unsupported backend";
    size_t length = 0;
    const char *device = Server_StringPtrLen(argv[3], &length);
    if (!is_device(device, length)) return "ERR Invalid DEVICE";
    model->backend = Server_HoldString(NULL, argv[2]);
    model->device = Server_HoldString(NULL, argv[3]);
    int at = 4;
    const char *fault = options_parse(argv, argc, &at, model);
    if (fault) return fault;
    if (at >= argc - 1) return "ERR Insufficient arguments, missing model BLOB";
    bool needs_names = is_word(argv[2], "TF");
    if (needs_names && (!model->inputs.count || !model->outputs.count)) {
        return "ERR Insufficient arguments, INPUTS and OUTPUTS not specified";
    }
    model->content = blob_join(argv + at + 1, argc - at - 1);
    return NULL;
}

/* AI.MODELSTORE key BACKEND DEVICE [option ..] BLOB chunk [chunk ..] */
static int model_store(Ctx *ctx, Text **argv, int argc) {
    if (argc < 6) return Server_WrongArity(ctx);
    Program *model = program_new("MODEL");
    const char *fault = model_parse(argv, argc, model);
    if (fault) {
        program_free(model);
        return Server_ReplyWithError(ctx, fault);
    }
    return program_store(ctx, argv[1], model_type, model);
}

/* AI.MODELGET key BLOB */
static int model_get(Ctx *ctx, Text **argv, int argc) {
    if (argc != 3) return Server_WrongArity(ctx);
    if (!is_word(argv[2], "BLOB")) {
        return Server_ReplyWithError(ctx, "ERR unsupported argument: only BLOB");
    }
    return program_get(ctx, argv[1], model_type, MODEL_MISSING);
}

static int model_delete(Ctx *ctx, Text **argv, int argc) {
    return program_delete(ctx, argv, argc, model_type, MODEL_MISSING);
}

Program *model_of(Key *key) {
    if (!key || Server_ModuleTypeGetType(key) != model_type) return NULL;
    return Server_ModuleTypeGetValue(key);
}

int model_register(Ctx *ctx) {
    TypeMethods methods = {
        .version = TYPE_METHODS_VERSION,
        .rdb_load = model_load,
        .rdb_save = model_save,
        .aof_rewrite = model_rewrite,
        .mem_usage = program_memory,
        .digest = program_digest,
        .free = program_free,
        .free_effort = program_free_effort,
        .copy = program_copy,
    };
    model_type = Server_CreateDataType(ctx, "hpcmodel1", ENCODING_VERSION, &methods);
    if (!model_type) return ERR;
    if (Server_CreateCommand(ctx, "AI.MODELSTORE", model_store, "write deny-oom", 1, 1, 1) ||
        Server_CreateCommand(ctx, "AI.MODELGET", model_get, "readonly", 1, 1, 1)) {
        return ERR;
    }
    return Server_CreateCommand(ctx, "AI.MODELDEL", model_delete, "write", 1, 1, 1);
}
