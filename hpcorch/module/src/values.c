#include "values.h"

#include "parse.h"

bool is_word(const Text *argument, const char *expected) {
    size_t length = 0;
    const char *word = Server_StringPtrLen(argument, &length);
    return word_is(word, length, expected);
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
