#include "call.h"

#include <string.h>

#include "values.h"

enum {
    ORDER_PARTS = 8,
    LONGEST_ERROR = 8192,
    HARDLY_ANY = 3, /* milliseconds */
    /* What SmartRedis gives a model; its scripts have no time of their own. */
    DEFAULT_MILLISECONDS = 60000000,
};

static uint64_t last_id;

Call *call_new(Ctx *ctx, const Program *program, Text **argv, const Run *run, const char **fault) {
    Call *call = Server_Calloc(1, sizeof *call);
    call->id = ++last_id;
    call->kind = program->kind;
    call->version = program->version;
    call->key = Server_HoldString(NULL, argv[1]);
    call->milliseconds = run->milliseconds ? run->milliseconds : DEFAULT_MILLISECONDS;
    call->inputs = Server_Calloc((size_t)run->input_count + 1, sizeof(Tensor *));
    call->outputs = Server_Calloc((size_t)run->output_count, sizeof(Text *));
    for (int i = 0; i < run->input_count; i++) {
        Tensor *input = tensor_hold(ctx, argv[run->inputs + i], fault);
        if (!input) {
            call_free(call);
            return NULL;
        }
        call->inputs[call->input_count++] = input;
        call->input_bytes += tensor_bytes(input);
    }
    while (call->output_count < run->output_count) {
        Text *name = argv[run->outputs + call->output_count];
        call->outputs[call->output_count++] = Server_HoldString(NULL, name);
    }
    return call;
}

void call_free(Call *call) {
    text_free(call->key);
    text_free(call->function);
    for (int i = 0; i < call->input_count; i++) tensor_free(call->inputs[i]);
    for (int i = 0; i < call->output_count; i++) text_free(call->outputs[i]);
    Server_Free(call->inputs);
    Server_Free(call->outputs);
    if (call->error) Server_Free(call->error);
    Server_Free(call);
}

static int reply(Ctx *ctx, Text **argv, int argc) {
    (void)argv;
    (void)argc;
    const Call *call = Server_GetBlockedClientPrivateData(ctx);
    if (call->error) return Server_ReplyWithError(ctx, call->error);
    return Server_ReplyWithSimpleString(ctx, "OK");
}

static void release(Ctx *ctx, void *call) {
    (void)ctx;
    call_free(call);
}

void call_wait(Ctx *ctx, Call *call, void (*time_out)(Ctx *, void *),
               void (*leave)(Ctx *, Blocked *)) {
    call->caller = Server_BlockClient(ctx, reply, NULL, release, 0);
    Server_SetDisconnectCallback(call->caller, leave);
    call->deadline = Server_CreateTimer(ctx, call->milliseconds, time_out, call);
    call->ends = Server_Milliseconds() + call->milliseconds;
}

/* An error is one line of a reply, whatever a framework has written. */
static char *one_line(const char *text, size_t length) {
    if (length > LONGEST_ERROR) length = LONGEST_ERROR;
    char *line = Server_Alloc(length + 1);
    for (size_t i = 0; i < length; i++) line[i] = (unsigned char)text[i] < ' ' ? ' ' : text[i];
    line[length] = '\0';
    return line;
}

void call_end(Ctx *ctx, Call *call, const char *error, size_t length) {
    if (call->deadline) Server_StopTimer(ctx, call->deadline, NULL);
    call->error = error ? one_line(error, length) : NULL;
    Server_UnblockClient(call->caller, call);
}

void call_count(Ctx *ctx, const Call *call, long long microseconds, bool well) {
    Key *key = Server_OpenKey(ctx, call->key, KEY_READ);
    Program *program = program_of(key);
    if (program) {
        Statistics *found = &program->statistics;
        found->calls++;
        found->duration += microseconds;
        if (!well) found->errors++;
        else if (found->samples >= 0 && call->input_count) {
            found->samples += tensor_rows(call->inputs[0]);
        }
    }
    if (key) Server_CloseKey(key);
}

int call_reply(Ctx *ctx, const Call *call) {
    long long left = call->ends - Server_Milliseconds();
    /* Hardly any time has passed: what is told is then the same for call after call. */
    if (call->milliseconds - left <= HARDLY_ANY) left = call->milliseconds;
    Server_ReplyWithArray(ctx, ORDER_PARTS);
    Server_ReplyWithCString(ctx, call->kind);
    Server_ReplyWithString(ctx, call->key);
    reply_version(ctx, call->version);
    if (call->function) Server_ReplyWithString(ctx, call->function);
    else Server_ReplyWithCString(ctx, "");
    Server_ReplyWithLongLong(ctx, left > 1 ? left : 1);
    Server_ReplyWithLongLong(ctx, call->output_count);
    Server_ReplyWithArray(ctx, call->input_count);
    for (int i = 0; i < call->input_count; i++) tensor_reply(ctx, call->inputs[i]);
    /* Last: all before it is mostly what it was for the call before. */
    Server_ReplyWithLongLong(ctx, (long long)call->id);
    return OK;
}
