#include <stdbool.h>
#include <string.h>

#include "dispatch.h"
#include "execute.h"
#include "values.h"

#define OUT_OF_MEMORY "OOM outputs cannot be kept when used memory > 'maxmemory'"
#define NOT_YOURS "ERR this request has ended, or was given to another worker"

/* The tensors of an answer, one for each output of the call; what is wrong, or NULL. */
static const char *outputs_make(Text **argv, int argc, int count, Tensor **made) {
    Word *words = words_of(argv, argc);
    const char *fault = NULL;
    int at = 0;
    for (int i = 0; i < count && !fault; i++) {
        int length = tensor_word_count(words + at, argc - at);
        fault = length ? tensor_make(argv + at, length, &made[i]) : "ERR an output is missing";
        at += length;
    }
    Server_Free(words);
    return !fault && at != argc ? "ERR there are more outputs than names for them" : fault;
}

static const char *outputs_put(Ctx *ctx, const Call *call, Text **argv, int argc) {
    int count = call->output_count;
    Tensor **made = Server_Calloc((size_t)count, sizeof *made);
    /* Told here and not by a flag of the command: the caller must be told of it. */
    bool full = Server_GetContextFlags(ctx) & CONTEXT_OUT_OF_MEMORY;
    const char *fault = full ? OUT_OF_MEMORY : outputs_make(argv, argc, count, made);
    for (int i = 0; i < count && !fault; i++) {
        if (!tensor_fits(ctx, call->outputs[i])) fault = WRONG_TYPE;
    }
    for (int i = 0; i < count; i++) {
        if (!fault) tensor_put(ctx, call->outputs[i], made[i]);
        else if (made[i]) tensor_free(made[i]);
    }
    Server_Free(made);
    return fault;
}

/* The call that argv[1] names, with the run's time from argv[2]; NULL after an error reply. */
static Call *call_answered(Ctx *ctx, Text **argv, int argc, long long *microseconds) {
    long long id = 0;
    if (argc < 4) {
        Server_WrongArity(ctx);
        return NULL;
    }
    Call *call = NULL;
    if (Server_StringToLongLong(argv[1], &id) == OK &&
        Server_StringToLongLong(argv[2], microseconds) == OK && *microseconds >= 0) {
        call = dispatch_take(ctx, (uint64_t)id);
    }
    if (!call) Server_ReplyWithError(ctx, NOT_YOURS);
    /* Where callers are, whatever database the worker has selected. */
    else Server_SelectDb(ctx, 0);
    return call;
}

/* HPCORCH.DONE id microseconds TYPE d1 .. dn BLOB bytes [TYPE ..]: the outputs of a run */
static int done(Ctx *ctx, Text **argv, int argc) {
    long long microseconds = 0;
    Call *call = call_answered(ctx, argv, argc, &microseconds);
    if (!call) return OK;
    /* The worker has done its part, whatever the caller is told. */
    const char *fault = outputs_put(ctx, call, argv + 3, argc - 3);
    call_count(ctx, call, microseconds, !fault);
    call_end(ctx, call, fault, fault ? strlen(fault) : 0);
    return Server_ReplyWithSimpleString(ctx, "OK");
}

/* HPCORCH.FAIL id microseconds text: what the caller is told instead */
static int fail(Ctx *ctx, Text **argv, int argc) {
    long long microseconds = 0;
    if (argc != 4) return Server_WrongArity(ctx);
    Call *call = call_answered(ctx, argv, argc, &microseconds);
    if (!call) return OK;
    size_t length = 0;
    const char *text = Server_StringPtrLen(argv[3], &length);
    call_count(ctx, call, microseconds, false);
    call_end(ctx, call, text, length);
    return Server_ReplyWithSimpleString(ctx, "OK");
}

int answer_register(Ctx *ctx) {
    const char *done_flags = "admin write deny-script no-slowlog";
    const char *fail_flags = "admin readonly deny-script no-slowlog";
    if (Server_CreateCommand(ctx, "HPCORCH.DONE", done, done_flags, 0, 0, 0)) return ERR;
    return Server_CreateCommand(ctx, "HPCORCH.FAIL", fail, fail_flags, 0, 0, 0);
}
