/* Tensors: AI.TENSORSET and AI.TENSORGET, which keep the client's argument itself, uncopied. */
#ifndef HPCORCH_TENSOR_H
#define HPCORCH_TENSOR_H

#include <stdbool.h>

#include "server_api.h"

typedef struct Tensor Tensor;

/* Makes the data type and the commands known to the server. */
int tensor_register(Ctx *ctx);

/* Makes a tensor of TYPE d1 .. dn BLOB bytes; returns what is wrong, or NULL. */
const char *tensor_make(Text **words, int count, Tensor **made);

/* The tensor under that name, for the caller to free: the data is shared with the key, which may
 * change or go meanwhile. NULL without one; *fault then says why. */
Tensor *tensor_hold(Ctx *ctx, Text *name, const char **fault);

/* Gives a held tensor data of its own, before another thread may free what it shares. */
void tensor_own(Tensor *tensor);

void tensor_free(void *tensor);

/* Whether the key of that name may be made a tensor. */
bool tensor_fits(Ctx *ctx, Text *name);

/* Puts a tensor under a name that it fits, and tells replicas; it is not the caller's any more. */
void tensor_put(Ctx *ctx, Text *name, Tensor *tensor);

/* Replies with an array: type, shape, data. */
void tensor_reply(Ctx *ctx, const Tensor *tensor);

/* The number of bytes of its data. */
size_t tensor_bytes(const Tensor *tensor);

/* The length of the first dimension, 1 without dimensions. */
long long tensor_rows(const Tensor *tensor);

#endif
