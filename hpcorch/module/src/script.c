/* TorchScript sources: stored and given back, run by workers. */
#include "parse.h"
#include "program.h"
#include "values.h"

enum { ENCODING_VERSION = 1 };

static Type *script_type;

static Program *script_new(void) {
    Program *script = program_new("SCRIPT");
    /* Scripts have no samples: each call is one. */
    script->statistics.samples = -1;
    return script;
}

static void script_save(Io *io, void *value) {
    const Program *script = value;
    text_save(io, script->device);
    text_save(io, script->tag);
    text_save(io, script->content);
}

static void *script_load(Io *io, int encoding_version) {
    if (encoding_version != ENCODING_VERSION) return NULL;
    Program *script = script_new();
    script->device = Server_LoadString(io);
    script->tag = Server_LoadString(io);
    script->content = Server_LoadString(io);
    if (Server_IsIOError(io) || !script->content || !script->device) {
        Server_LogIOError(io, "warning", "a script is damaged");
        program_free(script);
        return NULL;
    }
    program_complete(script);
    return script;
}

static void script_rewrite(Io *io, Text *key, void *value) {
    const Program *script = value;
    if (text_length(script->tag)) {
        Server_EmitAOF(io, "AI.SCRIPTSET", "sscscs", key, script->device, "TAG",
                       script->tag, "SOURCE", script->content);
    } else {
        Server_EmitAOF(io, "AI.SCRIPTSET", "sscs", key, script->device, "SOURCE",
                       script->content);
    }
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
    Program *script = script_new();
    script->device = Server_HoldString(NULL, argv[2]);
    if (argc == 7) script->tag = Server_HoldString(NULL, argv[4]);
    script->content = Server_HoldString(NULL, argv[argc - 1]);
    return program_store(ctx, argv[1], script_type, script);
}

/* AI.SCRIPTGET key SOURCE */
static int script_get(Ctx *ctx, Text **argv, int argc) {
    if (argc != 3) return Server_WrongArity(ctx);
    if (!is_word(argv[2], "SOURCE")) {
        return Server_ReplyWithError(ctx, "ERR unsupported argument: only SOURCE");
    }
    return program_get(ctx, argv[1], script_type, SCRIPT_MISSING);
}

static int script_delete(Ctx *ctx, Text **argv, int argc) {
    return program_delete(ctx, argv, argc, script_type, SCRIPT_MISSING);
}

Program *script_of(Key *key) {
    if (!key || Server_ModuleTypeGetType(key) != script_type) return NULL;
    return Server_ModuleTypeGetValue(key);
}

int script_register(Ctx *ctx) {
    TypeMethods methods = {
        .version = TYPE_METHODS_VERSION,
        .rdb_load = script_load,
        .rdb_save = script_save,
        .aof_rewrite = script_rewrite,
        .mem_usage = program_memory,
        .digest = program_digest,
        .free = program_free,
        .free_effort = program_free_effort,
        .copy = program_copy,
    };
    script_type = Server_CreateDataType(ctx, "hpcscript", ENCODING_VERSION, &methods);
    if (!script_type) return ERR;
    if (Server_CreateCommand(ctx, "AI.SCRIPTSET", script_set, "write deny-oom", 1, 1, 1) ||
        Server_CreateCommand(ctx, "AI.SCRIPTGET", script_get, "readonly", 1, 1, 1)) {
        return ERR;
    }
    return Server_CreateCommand(ctx, "AI.SCRIPTDEL", script_delete, "write", 1, 1, 1);
}
