#include "server_api.h"

#define DEFINE(result, name, arguments) result(*Server_##name) arguments;
SERVER_API(DEFINE)
#undef DEFINE

typedef int (*GetApi)(const char *name, void *function);

const char *server_api_load(Ctx *ctx) {
    /* A context begins with the function that hands out all others. */
    GetApi get_api = *(GetApi *)(void *)ctx;
#define FETCH(result, name, arguments)                                                             \
    if (get_api("RedisModule_" #name, (void *)&Server_##name) != OK) return "RedisModule_" #name;
    SERVER_API(FETCH)
#undef FETCH
    return NULL;
}
