#include "program.h"

#include <stdbool.h>
#include <string.h>

#include "fingerprint.h"
#include "values.h"

enum { DESCRIPTION_PARTS = 12 };

static void names_free(Names *names) {
    for (int i = 0; i < names->count; i++) text_free(names->texts[i]);
    if (names->texts) Server_Free(names->texts);
}

Program *program_new(const char *kind) {
    Program *program = Server_Calloc(1, sizeof *program);
    program->kind = kind;
    return program;
}

void program_free(void *value) {
    Program *program = value;
    text_free(program->backend);
    text_free(program->device);
    text_free(program->tag);
    text_free(program->content);
    names_free(&program->inputs);
    names_free(&program->outputs);
    Server_Free(program);
}

static uint64_t text_fingerprint(uint64_t so_far, const Text *text) {
    size_t length = 0;
    const char *bytes = text ? Server_StringPtrLen(text, &length) : "";
    return fingerprint(so_far, bytes, length);
}

void program_complete(Program *program) {
    const long long numbers[] = {program->batch_size, program->min_batch_size,
                                 program->min_batch_timeout};
    const Names *lists[] = {&program->inputs, &program->outputs};
    uint64_t found = fingerprint(0, program->kind, strlen(program->kind));
    found = text_fingerprint(found, program->backend);
    found = text_fingerprint(found, program->device);
    found = text_fingerprint(found, program->tag);
    found = fingerprint(found, (const char *)numbers, sizeof numbers);
    for (int list = 0; list < 2; list++) {
        for (int i = 0; i < lists[list]->count; i++) {
            found = text_fingerprint(found, lists[list]->texts[i]);
        }
        found = fingerprint(found, "", 0);
    }
    program->version = text_fingerprint(found, program->content);
}

static Names names_copy(const Names *names) {
    Names copy = {NULL, names->count};
    if (names->count) copy.texts = Server_Calloc((size_t)names->count, sizeof(Text *));
    for (int i = 0; i < names->count; i++) copy.texts[i] = text_copy(names->texts[i]);
    return copy;
}

/* Everything is copied: two keys must never share a string that different threads may free. */
void *program_copy(Text *from, Text *to, const void *value) {
    (void)from;
    (void)to;
    const Program *program = value;
    Program *copy = program_new(program->kind);
    *copy = *program;
    copy->backend = text_copy(program->backend);
    copy->device = text_copy(program->device);
    copy->tag = text_copy(program->tag);
    copy->content = text_copy(program->content);
    copy->inputs = names_copy(&program->inputs);
    copy->outputs = names_copy(&program->outputs);
    return copy;
}

size_t program_memory(const void *value) {
    const Program *program = value;
    size_t bytes = sizeof *program + text_length(program->content) + text_length(program->tag);
    const Names *lists[] = {&program->inputs, &program->outputs};
    for (int list = 0; list < 2; list++) {
        for (int i = 0; i < lists[list]->count; i++) bytes += text_length(lists[list]->texts[i]);
    }
    return bytes;
}

/* Freed where it is deleted: its strings may still be held by the main thread. */
size_t program_free_effort(Text *key, const void *value) {
    (void)key;
    (void)value;
    return 1;
}

void program_digest(Digest *digest, void *value) {
    const Program *program = value;
    Server_DigestAddLongLong(digest, (long long)program->version);
    Server_DigestEndSequence(digest);
}

Program *program_of(Key *key) {
    Program *program = model_of(key);
    return program ? program : script_of(key);
}

/* Workers forget what they have loaded of a key that changes. */
static void tell_workers(Ctx *ctx, const char *kind, Text *key) {
    size_t length = 0;
    const char *bytes = Server_StringPtrLen(key, &length);
    Text *message = Server_CreateString(NULL, kind, strlen(kind));
    Server_StringAppendBuffer(NULL, message, ":", 1);
    Server_StringAppendBuffer(NULL, message, bytes, length);
    CallReply *reply = Server_Call(ctx, "PUBLISH", "cs", "hpcorch:models", message);
    if (reply) Server_FreeCallReply(reply);
    Server_FreeString(NULL, message);
}

int program_store(Ctx *ctx, Text *name, Type *type, Program *program) {
    Key *key = Server_OpenKey(ctx, name, KEY_READ | KEY_WRITE);
    if (!key_takes(key, type)) {
        Server_CloseKey(key);
        program_free(program);
        return Server_ReplyWithError(ctx, WRONG_TYPE);
    }
    program_complete(program);
    const Program *earlier = program_of(key);
    bool changes = !earlier || earlier->version != program->version;
    Server_ModuleTypeSetValue(key, type, program);
    Server_CloseKey(key);
    if (changes) tell_workers(ctx, program->kind, name);
    Server_ReplicateVerbatim(ctx);
    return Server_ReplyWithSimpleString(ctx, "OK");
}

int program_get(Ctx *ctx, Text *name, Type *type, const char *missing) {
    const char *fault = NULL;
    Key *key = key_open(ctx, name, KEY_READ, type, &fault);
    if (!key) return Server_ReplyWithError(ctx, fault ? fault : missing);
    const Program *program = Server_ModuleTypeGetValue(key);
    Server_ReplyWithString(ctx, program->content);
    Server_CloseKey(key);
    return OK;
}

int program_delete(Ctx *ctx, Text **argv, int argc, Type *type, const char *missing) {
    if (argc != 2) return Server_WrongArity(ctx);
    const char *fault = NULL;
    Key *key = key_open(ctx, argv[1], KEY_READ | KEY_WRITE, type, &fault);
    if (!key) return Server_ReplyWithError(ctx, fault ? fault : missing);
    const char *kind = ((const Program *)Server_ModuleTypeGetValue(key))->kind;
    Server_DeleteKey(key);
    Server_CloseKey(key);
    tell_workers(ctx, kind, argv[1]);
    Server_ReplicateVerbatim(ctx);
    return Server_ReplyWithSimpleString(ctx, "OK");
}

static void reply_names(Ctx *ctx, const Names *names) {
    Server_ReplyWithArray(ctx, names->count);
    for (int i = 0; i < names->count; i++) Server_ReplyWithString(ctx, names->texts[i]);
}

static void reply_text(Ctx *ctx, Text *text) {
    if (text) Server_ReplyWithString(ctx, text);
    else Server_ReplyWithCString(ctx, "");
}

static void reply_program(Ctx *ctx, const Program *program, bool whole) {
    Server_ReplyWithArray(ctx, DESCRIPTION_PARTS);
    Server_ReplyWithCString(ctx, program->kind);
    reply_version(ctx, program->version);
    reply_text(ctx, program->backend);
    reply_text(ctx, program->device);
    reply_text(ctx, program->tag);
    Server_ReplyWithLongLong(ctx, program->batch_size);
    Server_ReplyWithLongLong(ctx, program->min_batch_size);
    Server_ReplyWithLongLong(ctx, program->min_batch_timeout);
    reply_names(ctx, &program->inputs);
    reply_names(ctx, &program->outputs);
    Server_ReplyWithLongLong(ctx, (long long)text_length(program->content));
    if (whole) Server_ReplyWithString(ctx, program->content);
    else Server_ReplyWithNull(ctx);
}

/* HPCORCH.PROGRAM key [CONTENT]: all about a model or script, for those who run it. */
static int program_describe(Ctx *ctx, Text **argv, int argc) {
    if (argc != 2 && argc != 3) return Server_WrongArity(ctx);
    if (argc == 3 && !is_word(argv[2], "CONTENT")) {
        return Server_ReplyWithError(ctx, "ERR unsupported argument: only CONTENT");
    }
    Key *key = Server_OpenKey(ctx, argv[1], KEY_READ);
    const Program *program = program_of(key);
    if (program) reply_program(ctx, program, argc == 3);
    else Server_ReplyWithNullArray(ctx);
    if (key) Server_CloseKey(key);
    return OK;
}

int program_register(Ctx *ctx) {
    return Server_CreateCommand(ctx, "HPCORCH.PROGRAM", program_describe, "readonly", 1, 1, 1);
}
