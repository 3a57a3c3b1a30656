/* The part of the server's module API that this module uses, declared by ourselves.
 *
 * The API is binary stable: Redis from 6.2 on, Valkey and KeyDB hand out the same functions by name.
 * https://redis.io/docs/latest/develop/reference/modules/modules-api-ref/ documents each of them.
 */
#ifndef HPCORCH_SERVER_API_H
#define HPCORCH_SERVER_API_H

#include <stddef.h>
#include <stdint.h>

typedef struct RedisModuleCtx Ctx;
typedef struct RedisModuleString Text;
typedef struct RedisModuleKey Key;
typedef struct RedisModuleIO Io;
typedef struct RedisModuleType Type;
typedef struct RedisModuleDigest Digest;
typedef struct RedisModuleInfoCtx InfoCtx;
typedef struct RedisModuleBlockedClient Blocked;
typedef struct RedisModuleCallReply CallReply;
typedef uint64_t TimerId;

typedef int (*Command)(Ctx *ctx, Text **argv, int argc);

enum { OK = 0, ERR = 1 };
enum { API_VERSION = 1 };
enum { KEY_READ = 1 << 0, KEY_WRITE = 1 << 1 };
enum { KEY_EMPTY = 0 };
/* An I/O error while loading is reported to us instead of ending the server. */
enum { OPTION_HANDLE_IO_ERRORS = 1 << 0 };
/* Whoever calls cannot be kept waiting: from a script, a transaction, another module. */
enum { CONTEXT_LUA = 1 << 0, CONTEXT_MULTI = 1 << 1, CONTEXT_DENY_BLOCKING = 1 << 21 };
/* The server is above its maxmemory. */
enum { CONTEXT_OUT_OF_MEMORY = 1 << 10 };

/* What happens to the server; passed by value. */
typedef struct {
    uint64_t id;
    uint64_t data_version;
} Event;
enum { EVENT_FLUSH = 2, EVENT_CLIENT_CHANGE = 4, EVENT_DATA_VERSION = 1 };
enum { FLUSH_BEGINS = 0, CLIENT_HAS_GONE = 1 };
typedef struct {
    uint64_t version;
    uint64_t flags;
    uint64_t id;
    char address[46];
    uint16_t port;
    uint16_t database;
} ClientInfo;
typedef void (*EventHandler)(Ctx *ctx, Event event, uint64_t detail, void *data);

/* Version 3 of the table is known to every server from 6.2 on. */
enum { TYPE_METHODS_VERSION = 3 };
typedef struct {
    uint64_t version;
    void *(*rdb_load)(Io *io, int encoding_version);
    void (*rdb_save)(Io *io, void *value);
    void (*aof_rewrite)(Io *io, Text *key, void *value);
    size_t (*mem_usage)(const void *value);
    void (*digest)(Digest *digest, void *value);
    void (*free)(void *value);
    int (*aux_load)(Io *io, int encoding_version, int when);
    void (*aux_save)(Io *io, int when);
    int aux_save_triggers;
    size_t (*free_effort)(Text *key, const void *value);
    void (*unlink)(Text *key, const void *value);
    void *(*copy)(Text *from, Text *to, const void *value);
    int (*defrag)(void *ctx, Text *key, void **value);
} TypeMethods;

/* result, name without RedisModule_, arguments */
#define SERVER_API(X)                                                                              \
    X(void *, Alloc, (size_t bytes))                                                               \
    X(void *, Calloc, (size_t count, size_t bytes))                                                \
    X(void, Free, (void *memory))                                                                  \
    X(void, SetModuleAttribs, (Ctx *, const char *name, int version, int api_version))             \
    X(int, IsModuleNameBusy, (const char *name))                                                   \
    X(int, GetServerVersion, (void))                                                               \
    X(void, SetModuleOptions, (Ctx *, int options))                                                \
    X(int, CreateCommand,                                                                          \
      (Ctx *, const char *name, Command, const char *flags, int first, int last, int step))        \
    X(Type *, CreateDataType, (Ctx *, const char *name, int encoding_version, TypeMethods *))      \
    X(int, RegisterInfoFunc, (Ctx *, void (*)(InfoCtx *, int for_crash_report)))                   \
    X(int, InfoAddSection, (InfoCtx *, const char *name))                                          \
    X(int, InfoAddFieldCString, (InfoCtx *, const char *field, const char *value))                 \
    X(int, InfoAddFieldULongLong, (InfoCtx *, const char *field, unsigned long long value))        \
    X(void, Log, (Ctx *, const char *level, const char *format, ...))                              \
    X(int, WrongArity, (Ctx *))                                                                    \
    X(int, IsKeysPositionRequest, (Ctx *))                                                         \
    X(void, KeyAtPos, (Ctx *, int position))                                                       \
    X(int, ReplyWithError, (Ctx *, const char *text))                                              \
    X(int, ReplyWithSimpleString, (Ctx *, const char *text))                                       \
    X(int, ReplyWithCString, (Ctx *, const char *text))                                            \
    X(int, ReplyWithStringBuffer, (Ctx *, const char *bytes, size_t length))                       \
    X(int, ReplyWithString, (Ctx *, Text *))                                                       \
    X(int, ReplyWithLongLong, (Ctx *, long long number))                                           \
    X(int, ReplyWithArray, (Ctx *, long length))                                                   \
    X(int, ReplyWithNull, (Ctx *))                                                                 \
    X(int, ReplyWithNullArray, (Ctx *))                                                            \
    X(int, ReplicateVerbatim, (Ctx *))                                                             \
    X(int, Replicate, (Ctx *, const char *command, const char *format, ...))                       \
    X(CallReply *, Call, (Ctx *, const char *command, const char *format, ...))                    \
    X(void, FreeCallReply, (CallReply *))                                                          \
    X(Blocked *, BlockClient,                                                                      \
      (Ctx *, Command reply, Command time_out, void (*release)(Ctx *, void *), long long timeout)) \
    X(int, UnblockClient, (Blocked *, void *data))                                                 \
    X(void, SetDisconnectCallback, (Blocked *, void (*)(Ctx *, Blocked *)))                        \
    X(void *, GetBlockedClientPrivateData, (Ctx *))                                                \
    X(TimerId, CreateTimer, (Ctx *, long long milliseconds, void (*)(Ctx *, void *), void *data))  \
    X(int, StopTimer, (Ctx *, TimerId, void **data))                                               \
    X(long long, Milliseconds, (void))                                                             \
    X(int, SubscribeToServerEvent, (Ctx *, Event, EventHandler))                                   \
    X(unsigned long long, GetClientId, (Ctx *))                                                    \
    X(int, GetContextFlags, (Ctx *))                                                               \
    X(int, GetSelectedDb, (Ctx *))                                                                 \
    X(int, SelectDb, (Ctx *, int database))                                                        \
    X(void *, OpenKey, (Ctx *, Text *name, int mode))                                              \
    X(void, CloseKey, (Key *))                                                                     \
    X(int, KeyType, (Key *))                                                                       \
    X(int, DeleteKey, (Key *))                                                                     \
    X(int, SignalModifiedKey, (Ctx *, Text *name))                                                 \
    X(Type *, ModuleTypeGetType, (Key *))                                                          \
    X(void *, ModuleTypeGetValue, (Key *))                                                         \
    X(int, ModuleTypeSetValue, (Key *, Type *, void *value))                                       \
    X(const char *, StringPtrLen, (const Text *, size_t *length))                                  \
    X(int, StringToLongLong, (const Text *, long long *number))                                    \
    X(Text *, HoldString, (Ctx *, Text *))                                                         \
    X(Text *, CreateString, (Ctx *, const char *bytes, size_t length))                             \
    X(int, StringAppendBuffer, (Ctx *, Text *, const char *bytes, size_t length))                  \
    X(Text *, CreateStringFromLongLong, (Ctx *, long long number))                                 \
    X(void, FreeString, (Ctx *, Text *))                                                           \
    X(void, SaveUnsigned, (Io *, uint64_t number))                                                 \
    X(uint64_t, LoadUnsigned, (Io *))                                                              \
    X(void, SaveSigned, (Io *, int64_t number))                                                    \
    X(int64_t, LoadSigned, (Io *))                                                                 \
    X(void, SaveString, (Io *, Text *))                                                            \
    X(Text *, LoadString, (Io *))                                                                  \
    X(int, IsIOError, (Io *))                                                                      \
    X(void, EmitAOF, (Io *, const char *command, const char *format, ...))                         \
    X(void, LogIOError, (Io *, const char *level, const char *format, ...))                        \
    X(void, DigestAddStringBuffer, (Digest *, const char *bytes, size_t length))                   \
    X(void, DigestAddLongLong, (Digest *, long long number))                                       \
    X(void, DigestEndSequence, (Digest *))

#define DECLARE(result, name, arguments) extern result(*Server_##name) arguments;
SERVER_API(DECLARE)
#undef DECLARE

/* Fetches all of the above; the name of a function that the server lacks, else NULL. */
const char *server_api_load(Ctx *ctx);

#endif
