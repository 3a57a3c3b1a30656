/* AI.MODELEXECUTE and AI.SCRIPTRUN, and the answers of the workers that run them. */
#ifndef HPCORCH_EXECUTE_H
#define HPCORCH_EXECUTE_H

#include "server_api.h"

int execute_register(Ctx *ctx);
int answer_register(Ctx *ctx);

#endif
