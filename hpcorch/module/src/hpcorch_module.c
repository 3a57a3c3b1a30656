/* hpcorch's server module: the AI.* commands that SmartRedis programs send.
 *
 * Tensors, models and scripts are kept as they were sent; workers, which are clients of the server,
 * run them. One shared object serves Redis from 6.2
 * on, Valkey and KeyDB: everything is asked of the server by name when it loads.
 */
#include <stdbool.h>

#include "dispatch.h"
#include "execute.h"
#include "program.h"
#include "server_api.h"
#include "tensor.h"
#include "values.h"

/* The same as that of the Python package; a test compares them. */
#define HPCORCH_MODULE_VERSION "0.1.0"

enum {
    OLDEST_SERVER = 0x060200,
    DEFAULT_CHUNK_SIZE = 535822336, /* 511 MiB: below the length limit of one argument */
};

static long long model_chunk_size = DEFAULT_CHUNK_SIZE;

static bool chunk_size_set(const Text *word) {
    long long size = 0;
    if (Server_StringToLongLong(word, &size) != OK || size <= 0) return false;
    model_chunk_size = size;
    return true;
}

/* AI.CONFIG GET MODEL_CHUNK_SIZE, AI.CONFIG MODEL_CHUNK_SIZE n */
static int config(Ctx *ctx, Text **argv, int argc) {
    if (argc != 3) return Server_WrongArity(ctx);
    if (is_word(argv[1], "GET")) {
        if (!is_word(argv[2], "MODEL_CHUNK_SIZE")) {
            return Server_ReplyWithError(ctx, "ERR unsupported setting: only MODEL_CHUNK_SIZE");
        }
        return Server_ReplyWithLongLong(ctx, model_chunk_size);
    }
    if (!is_word(argv[1], "MODEL_CHUNK_SIZE")) {
        return Server_ReplyWithError(ctx, "ERR unsupported setting: only MODEL_CHUNK_SIZE");
    }
    if (!chunk_size_set(argv[2])) {
        return Server_ReplyWithError(ctx, "ERR MODEL_CHUNK_SIZE: invalid chunk size");
    }
    return Server_ReplyWithSimpleString(ctx, "OK");
}

static void reply_text(Ctx *ctx, const char *name, Text *text, const char *otherwise) {
    Server_ReplyWithCString(ctx, name);
    if (text) Server_ReplyWithString(ctx, text);
    else Server_ReplyWithCString(ctx, otherwise);
}

static void reply_number(Ctx *ctx, const char *name, long long number) {
    Server_ReplyWithCString(ctx, name);
    Server_ReplyWithLongLong(ctx, number);
}

static int info_reply(Ctx *ctx, Text *key_name, const Program *program) {
    Server_ReplyWithArray(ctx, 18);
    reply_text(ctx, "key", key_name, "");
    reply_text(ctx, "type", NULL, program->kind);
    reply_text(ctx, "backend", program->backend, "TORCH");
    reply_text(ctx, "device", program->device, "");
    reply_text(ctx, "tag", program->tag, "");
    reply_number(ctx, "duration", program->statistics.duration);
    reply_number(ctx, "samples", program->statistics.samples);
    reply_number(ctx, "calls", program->statistics.calls);
    reply_number(ctx, "errors", program->statistics.errors);
    return OK;
}

/* AI.INFO key [RESETSTAT] */
static int info(Ctx *ctx, Text **argv, int argc) {
    if (argc != 2 && argc != 3) return Server_WrongArity(ctx);
    if (argc == 3 && !is_word(argv[2], "RESETSTAT")) {
        return Server_ReplyWithError(ctx, "ERR unsupported argument: only RESETSTAT");
    }
    Key *key = Server_OpenKey(ctx, argv[1], KEY_READ);
    Program *program = program_of(key);
    int result = OK;
    if (!program) {
        result = Server_ReplyWithError(ctx, "ERR cannot find run info for key");
    } else if (argc == 3) {
        bool counts_samples = program->statistics.samples >= 0;
        program->statistics = (Statistics){.samples = counts_samples ? 0 : -1};
        result = Server_ReplyWithSimpleString(ctx, "OK");
    } else {
        result = info_reply(ctx, argv[1], program);
    }
    if (key) Server_CloseKey(key);
    return result;
}

static void describe(InfoCtx *ctx, int for_crash_report) {
    (void)for_crash_report;
    Server_InfoAddSection(ctx, "module");
    Server_InfoAddFieldCString(ctx, "version", HPCORCH_MODULE_VERSION);
    Server_InfoAddFieldULongLong(ctx, "model_chunk_size", (unsigned long long)model_chunk_size);
    Server_InfoAddFieldULongLong(ctx, "workers", dispatch_workers());
    Server_InfoAddFieldULongLong(ctx, "waiting_requests", dispatch_waiting());
}

/* Pairs of a name and a value. Those by which RedisAI was tuned mean nothing here: workers run the
 * models; they are let through, so that start-up commands need not change. */
static bool arguments_read(Ctx *ctx, Text **argv, int argc) {
    static const char *const ignored[] = {
        "THREADS_PER_QUEUE",       "INTRA_OP_PARALLELISM", "INTER_OP_PARALLELISM",
        "MODEL_EXECUTION_TIMEOUT", "BACKEND_MEMORY_LIMIT", "BACKENDSPATH",
        "TORCH",                   "TF",                   "TFLITE",
        "ONNX",
    };
    for (int at = 0; at < argc; at += 2) {
        bool known = false;
        for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++) {
            known = known || is_word(argv[at], ignored[i]);
        }
        bool has_value = at + 1 < argc;
        if (has_value && is_word(argv[at], "MODEL_CHUNK_SIZE")) known = chunk_size_set(argv[at + 1]);
        long long milliseconds = 0;
        if (has_value && is_word(argv[at], "WORKER_WAIT") &&
            Server_StringToLongLong(argv[at + 1], &milliseconds) == OK && milliseconds >= 0) {
            dispatch_set_patience(milliseconds);
            known = true;
        }
        if (!has_value || !known) {
            Server_Log(ctx, "warning", "argument %d of the module is not understood", at + 1);
            return false;
        }
    }
    return true;
}

__attribute__((visibility("default"))) int RedisModule_OnLoad(Ctx *ctx, Text **argv, int argc) {
    const char *missing = server_api_load(ctx);
    if (missing) {
        if (Server_Log) Server_Log(ctx, "warning", "this server has no %s: it is too old", missing);
        return ERR;
    }
    if (Server_IsModuleNameBusy("hpcorch")) return ERR;
    Server_SetModuleAttribs(ctx, "hpcorch", 1, API_VERSION);
    if (Server_GetServerVersion() < OLDEST_SERVER) {
        Server_Log(ctx, "warning", "this server is too old: 6.2 or newer is needed");
        return ERR;
    }
    Server_SetModuleOptions(ctx, OPTION_HANDLE_IO_ERRORS);
    if (!arguments_read(ctx, argv, argc)) return ERR;
    if (tensor_register(ctx) || model_register(ctx) || script_register(ctx)) return ERR;
    if (program_register(ctx) || dispatch_register(ctx)) return ERR;
    if (execute_register(ctx) || answer_register(ctx)) return ERR;
    if (Server_CreateCommand(ctx, "AI.INFO", info, "readonly", 1, 1, 1) ||
        Server_CreateCommand(ctx, "AI.CONFIG", config, "readonly", 0, 0, 0)) {
        return ERR;
    }
    return Server_RegisterInfoFunc(ctx, describe);
}
