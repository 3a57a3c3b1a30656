/* What all kinds of values share: words of commands, and keys that hold them. */
#ifndef HPCORCH_VALUES_H
#define HPCORCH_VALUES_H

#include <stdbool.h>

#include "parse.h"
#include "server_api.h"

#define WRONG_TYPE "WRONGTYPE Operation against a key holding the wrong kind of value"

/* Whether an argument is that word, whatever its case. */
bool is_word(const Text *argument, const char *expected);

/* The arguments as plain words, which point into them; for the caller to Server_Free. */
Word *words_of(Text **argv, int argc);

/* NULL is no text, and stays it; its length is 0. */
void text_free(Text *text);
Text *text_copy(const Text *text);
size_t text_length(const Text *text);
void text_save(Io *io, Text *text);

/* Replies with a version as text. */
int reply_version(Ctx *ctx, uint64_t version);

/* Whether a value of that type may be put there: the key is free, or holds one already. */
bool key_takes(Key *key, Type *type);

/* Opens a key that holds a value of that type, else returns NULL; *fault then says why, and is
 * NULL when there is no such key. */
Key *key_open(Ctx *ctx, Text *name, int mode, Type *type, const char **fault);

#endif
