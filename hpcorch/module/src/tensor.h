/* Tensors: AI.TENSORSET and AI.TENSORGET, which keep the client's argument itself, uncopied. */
#ifndef HPCORCH_TENSOR_H
#define HPCORCH_TENSOR_H

#include "server_api.h"

/* Makes the data type and the commands known to the server. */
int tensor_register(Ctx *ctx);

/* Why there is no tensor under that name; NULL when there is one. */
const char *tensor_fault(Ctx *ctx, Text *name);

#endif
