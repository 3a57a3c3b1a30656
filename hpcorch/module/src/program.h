/* What models and scripts have in common: where they run, and how often they did. */
#ifndef HPCORCH_PROGRAM_H
#define HPCORCH_PROGRAM_H

#include "server_api.h"

#define MODEL_MISSING "ERR model key is empty"
#define SCRIPT_MISSING "ERR script key is empty"

/* Since the server started; times in microseconds. */
typedef struct {
    long long duration;
    long long samples;
    long long calls;
    long long errors;
} Statistics;

typedef struct {
    const char *kind; /* MODEL or SCRIPT */
    Text *backend;    /* NULL for scripts, which are TorchScript */
    Text *device;
    Text *tag; /* NULL without one */
    Statistics statistics;
} Program;

/* Makes AI.MODEL* and AI.SCRIPT* known to the server. */
int model_register(Ctx *ctx);
int script_register(Ctx *ctx);

/* The program that a key holds, NULL if it holds none. */
Program *model_of(Key *key);
Program *script_of(Key *key);

/* Deletes a key that holds a value of that type, as AI.MODELDEL and AI.SCRIPTDEL do. */
int program_delete(Ctx *ctx, Text **argv, int argc, Type *type, const char *missing);

/* NULL stays NULL. */
void text_free(Text *text);
size_t text_length(const Text *text);
void text_save(Io *io, Text *text);

#endif
