#include "values.h"

#include <inttypes.h>
#include <stdio.h>

bool is_word(const Text *argument, const char *expected) {
    size_t length = 0;
    const char *word = Server_StringPtrLen(argument, &length);
    return word_is(word, length, expected);
}

Word *words_of(Text **argv, int argc) {
    Word *words = Server_Calloc((size_t)argc, sizeof *words);
    for (int i = 0; i < argc; i++) words[i].bytes = Server_StringPtrLen(argv[i], &words[i].length);
    return words;
}

void text_free(Text *text) {
    if (text) Server_FreeString(NULL, text);
}

Text *text_copy(const Text *text) {
    if (!text) return NULL;
    size_t length = 0;
    const char *bytes = Server_StringPtrLen(text, &length);
    return Server_CreateString(NULL, bytes, length);
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

int reply_version(Ctx *ctx, uint64_t version) {
    char text[17];
    int length = snprintf(text, sizeof text, "%016" PRIx64, version);
    return Server_ReplyWithStringBuffer(ctx, text, (size_t)length);
}

bool key_takes(Key *key, Type *type) {
    return Server_KeyType(key) == KEY_EMPTY || Server_ModuleTypeGetType(key) == type;
}

Key *key_open(Ctx *ctx, Text *name, int mode, Type *type, const char **fault) {
    *fault = NULL;
    Key *key = Server_OpenKey(ctx, name, mode);
    if (!key) return NULL;
    if (Server_KeyType(key) != KEY_EMPTY) {
        if (Server_ModuleTypeGetType(key) == type) return key;
        *fault = WRONG_TYPE;
    }
    Server_CloseKey(key);
    return NULL;
}
