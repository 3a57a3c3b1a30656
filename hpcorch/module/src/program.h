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
    Text **texts;
    int count;
} Names;

typedef struct {
    const char *kind; /* MODEL or SCRIPT */
    Text *backend;    /* NULL for scripts, which are TorchScript */
    Text *device;
    Text *tag; /* NULL without one */
    /* Of models: how requests are joined, and the ends of a TensorFlow graph. */
    long long batch_size;
    long long min_batch_size;
    long long min_batch_timeout; /* milliseconds */
    Names inputs;
    Names outputs;
    Text *content; /* the model's bytes, the script's source */
    uint64_t version;
    Statistics statistics;
} Program;

/* Makes AI.MODEL*, AI.SCRIPT* and the commands for both known to the server. */
int model_register(Ctx *ctx);
int script_register(Ctx *ctx);
int program_register(Ctx *ctx);

/* The program that a key holds, NULL if it holds none. */
Program *model_of(Key *key);
Program *script_of(Key *key);
Program *program_of(Key *key);

/* An empty program, and the end of one. */
Program *program_new(const char *kind);
void program_free(void *program);

/* Computes the version, when everything else is there. */
void program_complete(Program *program);

/* For the tables of both data types. */
void *program_copy(Text *from, Text *to, const void *program);
size_t program_memory(const void *program);
size_t program_free_effort(Text *key, const void *program);
void program_digest(Digest *digest, void *program);

/* Puts a program under a name of that type, as AI.MODELSTORE and AI.SCRIPTSET do, and replies. */
int program_store(Ctx *ctx, Text *name, Type *type, Program *program);

/* Replies with the content of a key of that type, as AI.MODELGET and AI.SCRIPTGET do. */
int program_get(Ctx *ctx, Text *name, Type *type, const char *missing);

/* Deletes a key that holds a value of that type, as AI.MODELDEL and AI.SCRIPTDEL do. */
int program_delete(Ctx *ctx, Text **argv, int argc, Type *type, const char *missing);

#endif
