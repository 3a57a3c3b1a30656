/* TorchScript sources: stored and given back, run elsewhere. */
#include "parse.h"
#include "program.h"
#include "values.h"

enum { ENCODING_VERSION = 1 };

typedef struct {
    Program program;
    Text *source;
} Script;

static Type *script_type;

static void script_free(void *value) {
    Script *script = value;
    text_free(script->program.device);
    text_free(script->program.tag);
    text_free(script->source);
    Server_Free(script);
}

static Script *script_new(void) {
    Script *script = Server_Calloc(1, sizeof *script);
    script->program.kind = "SCRIPT";
    /* Scripts have no samples: each call is one. */
    script->program.statistics.samples = -1;
    return script;
}

static size_t script_memory(const void *value) {
    const Script *script = value;
    return sizeof *script + text_length(script->source) + text_length(script->program.tag);
}

static void script_save(Io *io, void *value) {
    const Script *script = value;
    text_save(io, script->program.device);
    text_save(io, script->program.tag);
    text_save(io, script->source);
}

static void *script_load(Io *io, int encoding_version) {
    if (encoding_version != ENCODING_VERSION) return NULL;
    Script *script = script_new();
    script->program.device = Server_LoadString(io);
    script->program.tag = Server_LoadString(io);
    script->source = Server_LoadString(io);
    if (Server_IsIOError(io) || !script->source || !script->program.device) {
        Server_LogIOError(io, "warning", "a script is damaged");
        script_free(script);
        return NULL;
    }
    return script;
}

static void script_rewrite(Io *io, Text *key, void *value) {
    const Script *script = value;
    if (text_length(script->program.tag)) {
        Server_EmitAOF(io, "AI.SCRIPTSET", "sscscs", key, script->program.device, "TAG",
                       script->program.tag, "SOURCE", script->source);
    } else {
        Server_EmitAOF(io, "AI.SCRIPTSET", "sscs", key, script->program.device, "SOURCE",
                       script->source);
    }
}

static void script_digest(Digest *digest, void *value) {
    const Script *script = value;
    size_t length = 0;
    const char *bytes = Server_StringPtrLen(script->source, &length);
    Server_DigestAddStringBuffer(digest, bytes, length);
    Server_DigestEndSequence(digest);
}

/* AI.SCRIPTSET key DEVICE [TAG tag] SOURCE text */
static int script_set(Ctx *ctx, Text **argv, int argc) {
    if (argc != 5 && argc != 7) return Server_WrongArity(ctx);
    size_t length = 0;
    const char *device = Server_StringPtrLen(argv[2], &length);
    if (!is_device(device, length)) return Server_ReplyWithError(ctx, "ERR Invalid DEVICE");
    if (!is_word(argv[argc - 2], "SOURCE") || (argc == 7 && !is_word(argv[3], "TAG"))) {
        return Server_ReplyWithError(ctx, "ERR Insufficient arguments, missing script SOURCE");
    }
    Key *key = Server_OpenKey(ctx, argv[1], KEY_READ | KEY_WRITE);
    if (!key_takes(key, script_type)) {
        Server_CloseKey(key);
        return Server_ReplyWithError(ctx, WRONG_TYPE);
    }
    Script *script = script_new();
    script->program.device = Server_HoldString(NULL, argv[2]);
    if (argc == 7) script->program.tag = Server_HoldString(NULL, argv[4]);
    script->source = Server_HoldString(NULL, argv[argc - 1]);
    Server_ModuleTypeSetValue(key, script_type, script);
    Server_CloseKey(key);
    Server_ReplicateVerbatim(ctx);
    return Server_ReplyWithSimpleString(ctx, "OK");
}

/* AI.SCRIPTGET key SOURCE */
static int script_get(Ctx *ctx, Text **argv, int argc) {
    if (argc != 3) return Server_WrongArity(ctx);
    if (!is_word(argv[2], "SOURCE")) {
        return Server_ReplyWithError(ctx, "ERR unsupported argument: only SOURCE");
    }
    const char *fault = NULL;
    Key *key = key_open(ctx, argv[1], KEY_READ, script_type, &fault);
    if (!key) return Server_ReplyWithError(ctx, fault ? fault : SCRIPT_MISSING);
    const Script *script = Server_ModuleTypeGetValue(key);
    Server_ReplyWithString(ctx, script->source);
    Server_CloseKey(key);
    return OK;
}

static int script_delete(Ctx *ctx, Text **argv, int argc) {
    return program_delete(ctx, argv, argc, script_type, SCRIPT_MISSING);
}

Program *script_of(Key *key) {
    if (!key || Server_ModuleTypeGetType(key) != script_type) return NULL;
    Script *script = Server_ModuleTypeGetValue(key);
    return &script->program;
}

int script_register(Ctx *ctx) {
    TypeMethods methods = {
        .version = TYPE_METHODS_VERSION,
        .rdb_load = script_load,
        .rdb_save = script_save,
        .aof_rewrite = script_rewrite,
        .mem_usage = script_memory,
        .digest = script_digest,
        .free = script_free,
    };
    script_type = Server_CreateDataType(ctx, "hpcscript", ENCODING_VERSION, &methods);
    if (!script_type) return ERR;
    if (Server_CreateCommand(ctx, "AI.SCRIPTSET", script_set, "write deny-oom", 1, 1, 1) ||
        Server_CreateCommand(ctx, "AI.SCRIPTGET", script_get, "readonly", 1, 1, 1)) {
        return ERR;
    }
    return Server_CreateCommand(ctx, "AI.SCRIPTDEL", script_delete, "write", 1, 1, 1);
}
