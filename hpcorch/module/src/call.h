/* A call: somebody waits for a model or a function of a script to be run on tensors. */
#ifndef HPCORCH_CALL_H
#define HPCORCH_CALL_H

#include <stdbool.h>

#include "parse.h"
#include "program.h"
#include "server_api.h"
#include "tensor.h"

typedef struct Call Call;
struct Call {
    Call *next; /* in the queue */
    uint64_t id;
    Blocked *caller;
    TimerId deadline; /* 0 when it is over */
    long long milliseconds; /* the time allowed */
    long long ends;         /* by Server_Milliseconds */
    const char *kind;
    uint64_t version; /* of the program when it was called */
    int lost;         /* workers that have gone while they worked on it */
    Text *key;
    Text *function; /* NULL for models */
    Tensor **inputs;
    int input_count;
    size_t input_bytes;
    Text **outputs;
    int output_count;
    char *error; /* what the caller is told; NULL: it went well */
};

/* Makes a call of a program from its command; NULL when an input is missing, *fault then tells. */
Call *call_new(Ctx *ctx, const Program *program, Text **argv, const Run *run, const char **fault);

void call_free(Call *call);

/* Keeps the caller waiting until call_end. `time_out` is called when the time is up, and `leave`
 * when the caller has gone: both are to end the call. */
void call_wait(Ctx *ctx, Call *call, void (*time_out)(Ctx *, void *),
               void (*leave)(Ctx *, Blocked *));

/* Answers the caller: with an error, or that all went well for NULL. The call is not ours any more
 * and must have been taken out of every list. */
void call_end(Ctx *ctx, Call *call, const char *error, size_t length);

/* Counts a run in the statistics of the program that was called, if it is still there. */
void call_count(Ctx *ctx, const Call *call, long long microseconds, bool well);

/* Tells a worker what to do. */
int call_reply(Ctx *ctx, const Call *call);

#endif
