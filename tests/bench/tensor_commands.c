/* AI.TENSORSET and AI.TENSORGET for the transfer bench: a server module that keeps the arguments
 * themselves, so that the peer client is measured against a server that costs next to nothing.
 * It knows a handful of keys, checks nothing and saves nothing. Built by bench_client.py. */
#include <stddef.h>
#include <string.h>

typedef struct Context Context;
typedef struct String String;
typedef int (*Command)(Context *, String **, int);

/* The part of the module API that is used; resolved by name when the module is loaded. */
static int (*CreateCommand)(Context *, const char *, Command, const char *, int, int, int);
static void (*SetModuleAttribs)(Context *, const char *, int, int);
static const char *(*StringPtrLen)(const String *, size_t *);
static int (*StringToLongLong)(const String *, long long *);
static void (*RetainString)(Context *, String *);
static void (*FreeString)(Context *, String *);
static int (*ReplyWithArray)(Context *, long);
static int (*ReplyWithLongLong)(Context *, long long);
static int (*ReplyWithSimpleString)(Context *, const char *);
static int (*ReplyWithError)(Context *, const char *);
static int (*ReplyWithString)(Context *, String *);

enum { MOST_KEYS = 16, MOST_ARGUMENTS = 16 };
static struct { String *arguments[MOST_ARGUMENTS]; int count; } tensors[MOST_KEYS];

static int place_of(const String *key) {
    int place = 0;
    for (; place < MOST_KEYS && tensors[place].count; place++)
        if (!strcmp(StringPtrLen(tensors[place].arguments[1], NULL), StringPtrLen(key, NULL)))
            break;
    return place;
}

/* AI.TENSORSET key TYPE dim... BLOB bytes */
static int tensor_set(Context *context, String **arguments, int count) {
    int place = place_of(arguments[1]);
    if (place == MOST_KEYS || count > MOST_ARGUMENTS || count < 5)
        return ReplyWithError(context, "ERR not in this bench");
    for (int i = 0; i < tensors[place].count; i++) FreeString(NULL, tensors[place].arguments[i]);
    tensors[place].count = count;
    for (int i = 0; i < count; i++) {
        RetainString(context, arguments[i]);
        tensors[place].arguments[i] = arguments[i];
    }
    return ReplyWithSimpleString(context, "OK");
}

/* AI.TENSORGET key META BLOB */
static int tensor_get(Context *context, String **arguments, int count) {
    int place = place_of(arguments[1]);
    (void)count;
    if (place == MOST_KEYS || !tensors[place].count)
        return ReplyWithError(context, "ERR tensor key is empty or in a different shard");
    String **stored = tensors[place].arguments;
    int last = tensors[place].count - 1;
    ReplyWithArray(context, 6);
    ReplyWithSimpleString(context, "dtype");
    ReplyWithString(context, stored[2]);
    ReplyWithSimpleString(context, "shape");
    ReplyWithArray(context, last - 4);
    for (int i = 3; i < last - 1; i++) {
        long long length = 0;
        StringToLongLong(stored[i], &length);
        ReplyWithLongLong(context, length);
    }
    ReplyWithSimpleString(context, "blob");
    return ReplyWithString(context, stored[last]);
}

int RedisModule_OnLoad(Context *context, String **arguments, int count) {
    /* The server keeps the function that resolves names at the start of the context. */
    int (*resolve)(const char *, void *) = ((int (**)(const char *, void *))context)[0];
    (void)arguments;
    (void)count;
#define RESOLVE(name) if (resolve("RedisModule_" #name, &name)) return 1
    RESOLVE(CreateCommand);
    RESOLVE(SetModuleAttribs);
    RESOLVE(StringPtrLen);
    RESOLVE(StringToLongLong);
    RESOLVE(RetainString);
    RESOLVE(FreeString);
    RESOLVE(ReplyWithArray);
    RESOLVE(ReplyWithLongLong);
    RESOLVE(ReplyWithSimpleString);
    RESOLVE(ReplyWithError);
    RESOLVE(ReplyWithString);
    SetModuleAttribs(context, "benchtensor", 1, 1);
    return CreateCommand(context, "ai.tensorset", tensor_set, "write", 1, 1, 1)
        || CreateCommand(context, "ai.tensorget", tensor_get, "readonly", 1, 1, 1);
}
