/* Who waits for whom: calls that wait for a worker, and workers that wait for a call. */
#ifndef HPCORCH_DISPATCH_H
#define HPCORCH_DISPATCH_H

#include <stdbool.h>

#include "call.h"
#include "server_api.h"

#define NO_WORKER                                                                                  \
    "ERR no model worker of this database is there: start it with workers=1 or more, or start a "  \
    "worker beside this server"

/* Makes HPCORCH.WORK known, and watches who leaves. */
int dispatch_register(Ctx *ctx);

/* For how long a call waits for a worker to come when there is none. */
void dispatch_set_patience(long long milliseconds);

/* Keeps the caller waiting until a worker has answered. False, and the call is still the caller's,
 * when there is no worker, and none is to be expected. */
bool dispatch_add(Ctx *ctx, Call *call);

/* The call that the client is to answer, taken from it; NULL when it is not that one (any more). */
Call *dispatch_take(Ctx *ctx, uint64_t call_id);

/* For INFO. */
unsigned long long dispatch_workers(void);
unsigned long long dispatch_waiting(void);

#endif
