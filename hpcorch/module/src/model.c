/* AI models: stored whole, given back whole, run elsewhere. */
#include <stdbool.h>
#include <string.h>

#include "parse.h"
#include "program.h"
#include "values.h"

enum { ENCODING_VERSION = 1, MOST_NAMES = 4096 };

typedef struct {
    Text **texts;
    int count;
} Names;

typedef struct {
    Program program;
    long long batch_size;
    long long min_batch_size;
    long long min_batch_timeout; /* milliseconds */
    Names inputs;
    Names outputs;
    Text *blob;
} Model;

static Type *model_type;

static void names_free(Names *names) {
    for (int i = 0; i < names->count; i++) text_free(names->texts[i]);
    if (names->texts) Server_Free(names->texts);
}

static void model_free(void *value) {
    Model *model = value;
    text_free(model->program.backend);
    text_free(model->program.device);
    text_free(model->program.tag);
    text_free(model->blob);
    names_free(&model->inputs);
    names_free(&model->outputs);
    Server_Free(model);
}

static Model *model_new(void) {
    Model *model = Server_Calloc(1, sizeof *model);
    model->program.kind = "MODEL";
    return model;
}

static size_t model_memory(const void *value) {
    const Model *model = value;
    size_t bytes = sizeof *model + text_length(model->blob) + text_length(model->program.tag);
    for (int i = 0; i < model->inputs.count; i++) bytes += text_length(model->inputs.texts[i]);
    for (int i = 0; i < model->outputs.count; i++) bytes += text_length(model->outputs.texts[i]);
    return bytes;
}

static size_t model_free_effort(Text *key, const void *value) {
    (void)key;
    (void)value;
    return 1;
}

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
    const Model *model = value;
    text_save(io, model->program.backend);
    text_save(io, model->program.device);
    text_save(io, model->program.tag);
    Server_SaveSigned(io, model->batch_size);
    Server_SaveSigned(io, model->min_batch_size);
    Server_SaveSigned(io, model->min_batch_timeout);
    names_save(io, &model->inputs);
    names_save(io, &model->outputs);
    text_save(io, model->blob);
}

static void *model_load(Io *io, int encoding_version) {
    if (encoding_version != ENCODING_VERSION) return NULL;
    Model *model = model_new();
    model->program.backend = Server_LoadString(io);
    model->program.device = Server_LoadString(io);
    model->program.tag = Server_LoadString(io);
    model->batch_size = Server_LoadSigned(io);
    model->min_batch_size = Server_LoadSigned(io);
    model->min_batch_timeout = Server_LoadSigned(io);
    bool sound = names_load(io, &model->inputs) && names_load(io, &model->outputs);
    if (sound) model->blob = Server_LoadString(io);
    if (!sound || Server_IsIOError(io) || !model->blob || !model->program.device) {
        Server_LogIOError(io, "warning", "a model is damaged");
        model_free(model);
        return NULL;
    }
    return model;
}

static void model_digest(Digest *digest, void *value) {
    const Model *model = value;
    size_t length = 0;
    const char *bytes = Server_StringPtrLen(model->program.backend, &length);
    Server_DigestAddStringBuffer(digest, bytes, length);
    bytes = Server_StringPtrLen(model->blob, &length);
    Server_DigestAddStringBuffer(digest, bytes, length);
    Server_DigestEndSequence(digest);
}

/* The words of an AI.MODELSTORE that makes this model; the blob is not among them. */
static size_t model_words(const Model *model, Text **words) {
    size_t count = 0;
    const struct {
        const char *word;
        long long number;
    } numbers[] = {
        {"BATCHSIZE", model->batch_size},
        {"MINBATCHSIZE", model->min_batch_size},
        {"MINBATCHTIMEOUT", model->min_batch_timeout},
    };
    if (text_length(model->program.tag)) {
        words[count++] = Server_CreateString(NULL, "TAG", 3);
        words[count++] = Server_HoldString(NULL, model->program.tag);
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
    const Model *model = value;
    size_t most = 12 + (size_t)model->inputs.count + (size_t)model->outputs.count;
    Text **words = Server_Calloc(most, sizeof(Text *));
    size_t count = model_words(model, words);
    Server_EmitAOF(io, "AI.MODELSTORE", "sssvcs", key, model->program.backend,
                   model->program.device, words, count, "BLOB", model->blob);
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
static const char *options_parse(Text **argv, int argc, int *at, Model *model) {
    const char *fault = NULL;
    while (!fault && *at < argc && !is_word(argv[*at], "BLOB")) {
        if (is_word(argv[*at], "TAG") && *at + 1 < argc && !model->program.tag) {
            *at += 1;
            model->program.tag = Server_HoldString(NULL, argv[*at]);
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

static const char *model_parse(Text **argv, int argc, Model *model) {
    static const char *const backends[] = {"TF", "TFLITE", "TORCH", "ONNX"};
    bool known = false;
    for (int i = 0; i < 4; i++) known = known || is_word(argv[2], backends[i]);
    if (!known) return "ERR unsupported backend";
    size_t length = 0;
    const char *device = Server_StringPtrLen(argv[3], &length);
    if (!is_device(device, length)) return "ERR Invalid DEVICE";
    model->program.backend = Server_HoldString(NULL, argv[2]);
    model->program.device = Server_HoldString(NULL, argv[3]);
    int at = 4;
    const char *fault = options_parse(argv, argc, &at, model);
    if (fault) return fault;
    if (at >= argc - 1) return "ERR Insufficient arguments, missing model BLOB";
    bool needs_names = is_word(argv[2], "TF");
    if (needs_names && (!model->inputs.count || !model->outputs.count)) {
        return "ERR Insufficient arguments, INPUTS and OUTPUTS not specified";
    }
    model->blob = blob_join(argv + at + 1, argc - at - 1);
    return NULL;
}

/* AI.MODELSTORE key BACKEND DEVICE [option ..] BLOB chunk [chunk ..] */
static int model_store(Ctx *ctx, Text **argv, int argc) {
    if (argc < 6) return Server_WrongArity(ctx);
    Model *model = model_new();
    const char *fault = model_parse(argv, argc, model);
    Key *key = fault ? NULL : Server_OpenKey(ctx, argv[1], KEY_READ | KEY_WRITE);
    if (key && !key_takes(key, model_type)) fault = WRONG_TYPE;
    if (fault) {
        if (key) Server_CloseKey(key);
        model_free(model);
        return Server_ReplyWithError(ctx, fault);
    }
    Server_ModuleTypeSetValue(key, model_type, model);
    Server_CloseKey(key);
    Server_ReplicateVerbatim(ctx);
    return Server_ReplyWithSimpleString(ctx, "OK");
}

/* AI.MODELGET key BLOB */
static int model_get(Ctx *ctx, Text **argv, int argc) {
    if (argc != 3) return Server_WrongArity(ctx);
    if (!is_word(argv[2], "BLOB")) {
        return Server_ReplyWithError(ctx, "ERR unsupported argument: only BLOB");
    }
    const char *fault = NULL;
    Key *key = key_open(ctx, argv[1], KEY_READ, model_type, &fault);
    if (!key) return Server_ReplyWithError(ctx, fault ? fault : MODEL_MISSING);
    const Model *model = Server_ModuleTypeGetValue(key);
    Server_ReplyWithString(ctx, model->blob);
    Server_CloseKey(key);
    return OK;
}

static int model_delete(Ctx *ctx, Text **argv, int argc) {
    return program_delete(ctx, argv, argc, model_type, MODEL_MISSING);
}

Program *model_of(Key *key) {
    if (!key || Server_ModuleTypeGetType(key) != model_type) return NULL;
    Model *model = Server_ModuleTypeGetValue(key);
    return &model->program;
}

int model_register(Ctx *ctx) {
    TypeMethods methods = {
        .version = TYPE_METHODS_VERSION,
        .rdb_load = model_load,
        .rdb_save = model_save,
        .aof_rewrite = model_rewrite,
        .mem_usage = model_memory,
        .digest = model_digest,
        .free = model_free,
        .free_effort = model_free_effort,
    };
    model_type = Server_CreateDataType(ctx, "hpcmodel1", ENCODING_VERSION, &methods);
    if (!model_type) return ERR;
    if (Server_CreateCommand(ctx, "AI.MODELSTORE", model_store, "write deny-oom", 1, 1, 1) ||
        Server_CreateCommand(ctx, "AI.MODELGET", model_get, "readonly", 1, 1, 1)) {
        return ERR;
    }
    return Server_CreateCommand(ctx, "AI.MODELDEL", model_delete, "write", 1, 1, 1);
}
