#include "program.h"

#include "values.h"

void text_free(Text *text) {
    if (text) Server_FreeString(NULL, text);
}

size_t text_length(const Text *text) {
    size_t length = 0;
    if (text) Server_StringPtrLen(text, &length);
    return length;
}

void text_save(Io *io, Text *text) {
    if (text) {
        Server_SaveString(io, text);
        return;
    }
    Text *empty = Server_CreateString(NULL, "", 0);
    Server_SaveString(io, empty);
    Server_FreeString(NULL, empty);
}

int program_delete(Ctx *ctx, Text **argv, int argc, Type *type, const char *missing) {
    if (argc != 2) return Server_WrongArity(ctx);
    const char *fault = NULL;
    Key *key = key_open(ctx, argv[1], KEY_READ | KEY_WRITE, type, &fault);
    if (!key) return Server_ReplyWithError(ctx, fault ? fault : missing);
    Server_DeleteKey(key);
    Server_CloseKey(key);
    Server_ReplicateVerbatim(ctx);
    return Server_ReplyWithSimpleString(ctx, "OK");
}
