#include "tensor.h"

#include <string.h>

#include "parse.h"
#include "values.h"

#define MISSING "ERR tensor key is empty or in a different shard"

enum { ENCODING_VERSION = 1 };

struct Tensor {
    int element_type;
    int dimension_count;
    Text *data;
    long long dimensions[];
};

static Type *tensor_type;

static Tensor *tensor_new(int dimension_count) {
    size_t bytes = sizeof(Tensor) + (size_t)dimension_count * sizeof(long long);
    Tensor *tensor = Server_Calloc(1, bytes);
    tensor->dimension_count = dimension_count;
    return tensor;
}

void tensor_free(void *value) {
    Tensor *tensor = value;
    if (tensor->data) Server_FreeString(NULL, tensor->data);
    Server_Free(tensor);
}

size_t tensor_bytes(const Tensor *tensor) {
    return text_length(tensor->data);
}

/* Whether the data has as many bytes as the type and the shape call for. */
static bool tensor_is_sound(const Tensor *tensor) {
    const ElementType *type = element_type((uint64_t)tensor->element_type);
    if (!type) return false;
    size_t bytes = type->size;
    for (int i = 0; i < tensor->dimension_count; i++) {
        if (!dimension_apply(&bytes, tensor->dimensions[i])) return false;
    }
    return tensor_bytes(tensor) == bytes;
}

static size_t tensor_memory(const void *value) {
    const Tensor *tensor = value;
    return sizeof(Tensor) + (size_t)tensor->dimension_count * sizeof(long long) +
           tensor_bytes(tensor);
}

/* Freed where it is deleted: its string may still be held by a client of the main thread. */
static size_t tensor_free_effort(Text *key, const void *value) {
    (void)key;
    (void)value;
    return 1;
}

/* A second tensor with the same data, not with a copy of it. */
static Tensor *tensor_share(const Tensor *tensor) {
    Tensor *shared = tensor_new(tensor->dimension_count);
    shared->element_type = tensor->element_type;
    shared->data = Server_HoldString(NULL, tensor->data);
    memcpy(shared->dimensions, tensor->dimensions,
           (size_t)tensor->dimension_count * sizeof(long long));
    return shared;
}

void tensor_own(Tensor *tensor) {
    Text *shared = tensor->data;
    tensor->data = text_copy(shared);
    Server_FreeString(NULL, shared);
}

/* The data is copied: two keys must never share a string that different threads may free. */
static void *tensor_copy(Text *from, Text *to, const void *value) {
    (void)from;
    (void)to;
    Tensor *copy = tensor_share(value);
    tensor_own(copy);
    return copy;
}

static void tensor_save(Io *io, void *value) {
    const Tensor *tensor = value;
    Server_SaveUnsigned(io, (uint64_t)tensor->element_type);
    Server_SaveUnsigned(io, (uint64_t)tensor->dimension_count);
    for (int i = 0; i < tensor->dimension_count; i++) {
        Server_SaveSigned(io, tensor->dimensions[i]);
    }
    Server_SaveString(io, tensor->data);
}

static void *tensor_load(Io *io, int encoding_version) {
    if (encoding_version != ENCODING_VERSION) {
        Server_LogIOError(io, "warning", "a tensor of a newer version cannot be read");
        return NULL;
    }
    uint64_t type = Server_LoadUnsigned(io);
    uint64_t dimension_count = Server_LoadUnsigned(io);
    if (Server_IsIOError(io) || dimension_count > MOST_DIMENSIONS || !element_type(type)) {
        return NULL;
    }
    Tensor *tensor = tensor_new((int)dimension_count);
    tensor->element_type = (int)type;
    for (int i = 0; i < tensor->dimension_count; i++) tensor->dimensions[i] = Server_LoadSigned(io);
    tensor->data = Server_LoadString(io);
    if (Server_IsIOError(io) || !tensor->data || !tensor_is_sound(tensor)) {
        Server_LogIOError(io, "warning", "a tensor is damaged");
        tensor_free(tensor);
        return NULL;
    }
    return tensor;
}

/* The words by which a tensor's shape was given, for the caller to free. */
static size_t shape_words(const Tensor *tensor, Text **words) {
    for (int i = 0; i < tensor->dimension_count; i++) {
        words[i] = Server_CreateStringFromLongLong(NULL, tensor->dimensions[i]);
    }
    return (size_t)tensor->dimension_count;
}

static void tensor_rewrite(Io *io, Text *key, void *value) {
    const Tensor *tensor = value;
    Text *shape[MOST_DIMENSIONS];
    size_t count = shape_words(tensor, shape);
    const char *type = element_type((uint64_t)tensor->element_type)->name;
    Server_EmitAOF(io, "AI.TENSORSET", "scvcs", key, type, shape, count, "BLOB", tensor->data);
    for (size_t i = 0; i < count; i++) Server_FreeString(NULL, shape[i]);
}

static void tensor_digest(Digest *digest, void *value) {
    const Tensor *tensor = value;
    size_t length = 0;
    const char *bytes = Server_StringPtrLen(tensor->data, &length);
    Server_DigestAddLongLong(digest, tensor->element_type);
    for (int i = 0; i < tensor->dimension_count; i++) {
        Server_DigestAddLongLong(digest, tensor->dimensions[i]);
    }
    Server_DigestAddStringBuffer(digest, bytes, length);
    Server_DigestEndSequence(digest);
}

const char *tensor_make(Text **words, int count, Tensor **made) {
    int dimension_count = count - 3;
    if (dimension_count > MOST_DIMENSIONS) return "ERR a tensor has at most 64 dimensions";
    size_t length = 0;
    const char *word = Server_StringPtrLen(words[0], &length);
    int type = element_type_find(word, length);
    if (type < 0) return "ERR invalid data type";
    if (!is_word(words[count - 2], "BLOB")) {
        return "ERR a single binary string should come after the BLOB argument in 'AI.TENSORSET' "
               "command";
    }
    Tensor *tensor = tensor_new(dimension_count);
    tensor->element_type = type;
    const char *fault = NULL;
    for (int i = 0; i < dimension_count && !fault; i++) {
        if (Server_StringToLongLong(words[1 + i], &tensor->dimensions[i]) != OK ||
            tensor->dimensions[i] <= 0) {
            fault = "ERR invalid or negative value found in tensor shape";
        }
    }
    /* Held only when it is kept: what is refused stays the client's alone. */
    tensor->data = words[count - 1];
    if (!fault && !tensor_is_sound(tensor)) {
        fault = "ERR data length does not match tensor shape and type";
    }
    tensor->data = fault ? NULL : Server_HoldString(NULL, words[count - 1]);
    if (fault) tensor_free(tensor);
    else *made = tensor;
    return fault;
}

/* AI.TENSORSET key TYPE d1 .. dn BLOB bytes */
static int tensor_set(Ctx *ctx, Text **argv, int argc) {
    if (argc < 5) return Server_WrongArity(ctx);
    Tensor *tensor = NULL;
    const char *fault = tensor_make(argv + 2, argc - 2, &tensor);
    if (fault) return Server_ReplyWithError(ctx, fault);
    Key *key = Server_OpenKey(ctx, argv[1], KEY_READ | KEY_WRITE);
    if (!key_takes(key, tensor_type)) {
        tensor_free(tensor);
        Server_CloseKey(key);
        return Server_ReplyWithError(ctx, WRONG_TYPE);
    }
    Server_ModuleTypeSetValue(key, tensor_type, tensor);
    Server_CloseKey(key);
    Server_ReplicateVerbatim(ctx);
    return Server_ReplyWithSimpleString(ctx, "OK");
}

bool tensor_fits(Ctx *ctx, Text *name) {
    Key *key = Server_OpenKey(ctx, name, KEY_READ);
    bool fits = !key || key_takes(key, tensor_type);
    if (key) Server_CloseKey(key);
    return fits;
}

void tensor_put(Ctx *ctx, Text *name, Tensor *tensor) {
    Key *key = Server_OpenKey(ctx, name, KEY_READ | KEY_WRITE);
    Server_ModuleTypeSetValue(key, tensor_type, tensor);
    Server_CloseKey(key);
    Text *shape[MOST_DIMENSIONS];
    size_t count = shape_words(tensor, shape);
    const char *type = element_type((uint64_t)tensor->element_type)->name;
    Server_Replicate(ctx, "AI.TENSORSET", "scvcs", name, type, shape, count, "BLOB", tensor->data);
    for (size_t i = 0; i < count; i++) Server_FreeString(NULL, shape[i]);
}

static void reply_shape(Ctx *ctx, const Tensor *tensor) {
    Server_ReplyWithArray(ctx, tensor->dimension_count);
    for (int i = 0; i < tensor->dimension_count; i++) {
        Server_ReplyWithLongLong(ctx, tensor->dimensions[i]);
    }
}

void tensor_reply(Ctx *ctx, const Tensor *tensor) {
    Server_ReplyWithArray(ctx, 3);
    Server_ReplyWithCString(ctx, element_type((uint64_t)tensor->element_type)->name);
    reply_shape(ctx, tensor);
    Server_ReplyWithString(ctx, tensor->data);
}

long long tensor_rows(const Tensor *tensor) {
    return tensor->dimension_count ? tensor->dimensions[0] : 1;
}

static void reply_meta(Ctx *ctx, const Tensor *tensor) {
    Server_ReplyWithCString(ctx, "dtype");
    Server_ReplyWithCString(ctx, element_type((uint64_t)tensor->element_type)->name);
    Server_ReplyWithCString(ctx, "shape");
    reply_shape(ctx, tensor);
}

/* AI.TENSORGET key [META] [BLOB]: clients read the parts by their position. */
static int tensor_get(Ctx *ctx, Text **argv, int argc) {
    if (argc < 2 || argc > 4) return Server_WrongArity(ctx);
    bool meta = false, blob = false;
    for (int i = 2; i < argc; i++) {
        if (is_word(argv[i], "META")) meta = true;
        else if (is_word(argv[i], "BLOB")) blob = true;
        else return Server_ReplyWithError(ctx, "ERR unsupported argument: only META and BLOB");
    }
    const char *fault = NULL;
    Key *key = key_open(ctx, argv[1], KEY_READ, tensor_type, &fault);
    if (!key) return Server_ReplyWithError(ctx, fault ? fault : MISSING);
    const Tensor *tensor = Server_ModuleTypeGetValue(key);
    if (meta || !blob) {
        Server_ReplyWithArray(ctx, blob ? 6 : 4);
        reply_meta(ctx, tensor);
        if (blob) Server_ReplyWithCString(ctx, "blob");
    }
    if (blob) Server_ReplyWithString(ctx, tensor->data);
    Server_CloseKey(key);
    return OK;
}

Tensor *tensor_hold(Ctx *ctx, Text *name, const char **fault) {
    Key *key = key_open(ctx, name, KEY_READ, tensor_type, fault);
    if (!key) {
        if (!*fault) *fault = MISSING;
        return NULL;
    }
    Tensor *held = tensor_share(Server_ModuleTypeGetValue(key));
    Server_CloseKey(key);
    return held;
}

int tensor_register(Ctx *ctx) {
    TypeMethods methods = {
        .version = TYPE_METHODS_VERSION,
        .rdb_load = tensor_load,
        .rdb_save = tensor_save,
        .aof_rewrite = tensor_rewrite,
        .mem_usage = tensor_memory,
        .digest = tensor_digest,
        .free = tensor_free,
        .free_effort = tensor_free_effort,
        .copy = tensor_copy,
    };
    tensor_type = Server_CreateDataType(ctx, "hpctensor", ENCODING_VERSION, &methods);
    if (!tensor_type) return ERR;
    if (Server_CreateCommand(ctx, "AI.TENSORSET", tensor_set, "write deny-oom", 1, 1, 1) != OK) {
        return ERR;
    }
    return Server_CreateCommand(ctx, "AI.TENSORGET", tensor_get, "readonly", 1, 1, 1);
}
