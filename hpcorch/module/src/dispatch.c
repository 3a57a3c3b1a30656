/* Everything here happens on the server's main thread.
 *
 * A worker is a process; each of its connections that has asked for work is a seat. A seat waits,
 * or works on a call, or on one that has ended without it. A call is in the queue, or at a seat. */
#include "dispatch.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "values.h"

#define TIMED_OUT "TIMEDOUT the model or script was not run in the time allowed"
#define WORKERS_LOST                                                                               \
    "ERR two model workers ended while they worked on this request: the model may crash its "      \
    "framework"
#define NO_ANSWER "ERR the model worker gave no answer"
/* The worker's own words, where it looks at the inputs itself. */
#define TOO_LARGE                                                                                  \
    "ERR a request has %zu bytes of inputs, above this worker's limit of %zu (start the workers "  \
    "with a larger max_request)"

enum { MOST_LOST = 2, DEFAULT_PATIENCE = 15000, LONGEST_WAIT = 3600000 };

typedef struct Worker Worker;
struct Worker {
    Worker *next;
    Text *name;
    int seats;
    int busy; /* seats that do not wait for work */
};

typedef struct Seat Seat;
struct Seat {
    Seat *next;
    uint64_t client;
    Worker *worker;
    size_t most; /* bytes of inputs that it takes */
    Blocked *asking; /* NULL when it does not wait for work */
    TimerId waits;
    Call *call; /* what it works on, NULL when it waits or the call has ended without it */
};

static Worker *workers;
static Seat *seats;
static Call *queue, **queue_end = &queue;
static long long patience = DEFAULT_PATIENCE;
/* Runs while a worker may still come: soon after the start, or after the last one left. */
static TimerId expecting;

static void seats_fill(Ctx *ctx);

void dispatch_set_patience(long long milliseconds) {
    patience = milliseconds;
}

unsigned long long dispatch_workers(void) {
    unsigned long long count = 0;
    for (const Worker *worker = workers; worker; worker = worker->next) count++;
    return count;
}

unsigned long long dispatch_waiting(void) {
    unsigned long long count = 0;
    for (const Call *call = queue; call; call = call->next) count++;
    return count;
}

static void queue_append(Call *call) {
    call->next = NULL;
    *queue_end = call;
    queue_end = &call->next;
}

static Call *queue_first(void) {
    Call *call = queue;
    if (call) queue = call->next;
    if (!queue) queue_end = &queue;
    return call;
}

static void queue_remove(const Call *call) {
    Call **at = &queue;
    while (*at && *at != call) at = &(*at)->next;
    if (!*at) return;
    *at = call->next;
    if (!*at) queue_end = at;
}

static void end(Ctx *ctx, Call *call, const char *error) {
    call_count(ctx, call, 0, false);
    call_end(ctx, call, error, strlen(error));
}

/* Takes a call out of the queue, or from the seat that works on it. */
static void detach(const Call *call) {
    queue_remove(call);
    for (Seat *seat = seats; seat; seat = seat->next) {
        if (seat->call == call) seat->call = NULL;
    }
}

static void on_deadline(Ctx *ctx, void *data) {
    Call *call = data;
    /* The server removes a timer that has fired by itself, and must be the only one to do so. */
    call->deadline = 0;
    detach(call);
    end(ctx, call, TIMED_OUT);
}

static Call *call_from(const Blocked *caller) {
    for (Call *call = queue; call; call = call->next) {
        if (call->caller == caller) return call;
    }
    for (const Seat *seat = seats; seat; seat = seat->next) {
        if (seat->call && seat->call->caller == caller) return seat->call;
    }
    return NULL;
}

static void on_caller_gone(Ctx *ctx, Blocked *caller) {
    /* None: it has been answered already, and leaves before it got that. */
    Call *call = call_from(caller);
    if (!call) return;
    detach(call);
    end(ctx, call, "");
}

bool dispatch_add(Ctx *ctx, Call *call) {
    if (!seats && !expecting) return false;
    call_wait(ctx, call, on_deadline, on_caller_gone);
    queue_append(call);
    seats_fill(ctx);
    return true;
}

static Seat *seat_of(uint64_t client) {
    Seat *seat = seats;
    while (seat && seat->client != client) seat = seat->next;
    return seat;
}

Call *dispatch_take(Ctx *ctx, uint64_t call_id) {
    Seat *seat = seat_of(Server_GetClientId(ctx));
    if (!seat || !seat->call || seat->call->id != call_id) return NULL;
    Call *call = seat->call;
    seat->call = NULL;
    return call;
}

/* The waiting seat of the worker that has least to do; NULL without one. */
static Seat *seat_waiting(void) {
    Seat *best = NULL;
    for (Seat *seat = seats; seat; seat = seat->next) {
        if (seat->asking && (!best || seat->worker->busy < best->worker->busy)) best = seat;
    }
    return best;
}

/* Ends the seat's wait; it is told what is at the seat then. */
static void seat_wake(Seat *seat) {
    Server_UnblockClient(seat->asking, NULL);
    seat->asking = NULL;
    seat->worker->busy++;
}

/* The next call for a seat, NULL without one. What is too large for it ends here: its bytes go
 * nowhere. */
static Call *call_for(Ctx *ctx, const Seat *seat) {
    Call *call = NULL;
    while ((call = queue_first()) && call->input_bytes > seat->most) {
        char told[sizeof TOO_LARGE + 40];
        snprintf(told, sizeof told, TOO_LARGE, call->input_bytes, seat->most);
        end(ctx, call, told);
    }
    return call;
}

static void seats_fill(Ctx *ctx) {
    Seat *seat = NULL;
    while (queue && (seat = seat_waiting())) {
        seat->call = call_for(ctx, seat);
        if (seat->call) seat_wake(seat);
    }
}

static int work_reply(Ctx *ctx, Text **argv, int argc) {
    (void)argv;
    (void)argc;
    const Seat *seat = seat_of(Server_GetClientId(ctx));
    if (seat && seat->call) return call_reply(ctx, seat->call);
    return Server_ReplyWithNullArray(ctx);
}

static void on_waited_enough(Ctx *ctx, void *data) {
    (void)ctx;
    Seat *seat = data;
    seat->waits = 0;
    if (seat->asking) seat_wake(seat);
}

/* The call goes to another worker, unless it has ended two of them. */
static void call_lost(Ctx *ctx, Call *call) {
    if (++call->lost >= MOST_LOST) {
        end(ctx, call, WORKERS_LOST);
        return;
    }
    call->next = queue;
    if (!queue) queue_end = &call->next;
    queue = call;
    seats_fill(ctx);
}

static Worker *worker_of(Text *name) {
    for (Worker *worker = workers; worker; worker = worker->next) {
        size_t length = 0, wanted = 0;
        const char *bytes = Server_StringPtrLen(worker->name, &length);
        const char *other = Server_StringPtrLen(name, &wanted);
        if (length == wanted && memcmp(bytes, other, length) == 0) return worker;
    }
    Worker *worker = Server_Calloc(1, sizeof *worker);
    worker->name = text_copy(name);
    worker->next = workers;
    workers = worker;
    return worker;
}

static void worker_leave(Worker *gone) {
    if (--gone->seats) return;
    Worker **at = &workers;
    while (*at != gone) at = &(*at)->next;
    *at = gone->next;
    text_free(gone->name);
    Server_Free(gone);
}

static void on_nobody_came(Ctx *ctx, void *data) {
    (void)data;
    expecting = 0;
    if (seats) return;
    for (Call *call = queue_first(); call; call = queue_first()) end(ctx, call, NO_WORKER);
}

static void expect_worker(Ctx *ctx) {
    if (expecting) Server_StopTimer(ctx, expecting, NULL);
    expecting = Server_CreateTimer(ctx, patience, on_nobody_came, NULL);
}

static void seat_leave(Ctx *ctx, Seat *gone) {
    Seat **at = &seats;
    while (*at != gone) at = &(*at)->next;
    *at = gone->next;
    if (gone->waits) Server_StopTimer(ctx, gone->waits, NULL);
    /* The server tells of a client that leaves before it ends its wait, which is left to us. */
    if (gone->asking) seat_wake(gone);
    gone->worker->busy--;
    worker_leave(gone->worker);
    Call *call = gone->call;
    Server_Free(gone);
    if (!seats) expect_worker(ctx);
    if (call) call_lost(ctx, call);
}

/* A waiting worker has gone: its wait must be ended by us, else it would never be forgotten. */
static void on_seat_gone(Ctx *ctx, Blocked *asking) {
    (void)ctx;
    for (Seat *seat = seats; seat; seat = seat->next) {
        if (seat->asking == asking) seat_wake(seat);
    }
}

static void on_client_gone(Ctx *ctx, Event event, uint64_t detail, void *data) {
    (void)event;
    if (detail != CLIENT_HAS_GONE) return;
    Seat *seat = seat_of(((const ClientInfo *)data)->id);
    if (seat) seat_leave(ctx, seat);
}

/* Another thread may free what is flushed, hence nothing of it may be shared any more. */
static void on_flush(Ctx *ctx, Event event, uint64_t detail, void *data) {
    (void)ctx;
    (void)event;
    (void)data;
    if (detail != FLUSH_BEGINS) return;
    for (Call *call = queue; call; call = call->next) {
        for (int i = 0; i < call->input_count; i++) tensor_own(call->inputs[i]);
    }
    for (const Seat *seat = seats; seat; seat = seat->next) {
        for (int i = 0; seat->call && i < seat->call->input_count; i++) {
            tensor_own(seat->call->inputs[i]);
        }
    }
}

static Seat *seat_take(Ctx *ctx, Text *name) {
    Seat *seat = seat_of(Server_GetClientId(ctx));
    if (seat) return seat;
    seat = Server_Calloc(1, sizeof *seat);
    seat->client = Server_GetClientId(ctx);
    seat->worker = worker_of(name);
    seat->worker->seats++;
    seat->worker->busy++;
    seat->next = seats;
    seats = seat;
    return seat;
}

/* HPCORCH.WORK name milliseconds [bytes]: what to do next, nothing after that time. The worker has a
 * name, which all connections of one process share, and may have a limit for the bytes of inputs. */
static int work(Ctx *ctx, Text **argv, int argc) {
    long long milliseconds = 0, most = LLONG_MAX;
    if (argc != 3 && argc != 4) return Server_WrongArity(ctx);
    if (Server_StringToLongLong(argv[2], &milliseconds) != OK || milliseconds < 1 ||
        milliseconds > LONGEST_WAIT) {
        return Server_ReplyWithError(ctx, "ERR the time to wait is no number of milliseconds");
    }
    if (Server_GetContextFlags(ctx) & (CONTEXT_LUA | CONTEXT_MULTI | CONTEXT_DENY_BLOCKING)) {
        return Server_ReplyWithError(ctx, "ERR nothing can be waited for here");
    }
    if (argc == 4 && (Server_StringToLongLong(argv[3], &most) != OK || most < 0)) {
        return Server_ReplyWithError(ctx, "ERR the limit is no number of bytes");
    }
    Seat *seat = seat_take(ctx, argv[1]);
    seat->most = (size_t)most;
    Call *unanswered = seat->call;
    seat->call = NULL;
    if (seat->waits) Server_StopTimer(ctx, seat->waits, NULL);
    seat->waits = 0;
    if (unanswered) end(ctx, unanswered, NO_ANSWER);
    seat->call = call_for(ctx, seat);
    if (seat->call) return call_reply(ctx, seat->call);
    seat->worker->busy--;
    seat->asking = Server_BlockClient(ctx, work_reply, NULL, NULL, 0);
    Server_SetDisconnectCallback(seat->asking, on_seat_gone);
    seat->waits = Server_CreateTimer(ctx, milliseconds, on_waited_enough, seat);
    return OK;
}

int dispatch_register(Ctx *ctx) {
    const Event flush = {EVENT_FLUSH, EVENT_DATA_VERSION};
    const Event clients = {EVENT_CLIENT_CHANGE, EVENT_DATA_VERSION};
    if (Server_SubscribeToServerEvent(ctx, flush, on_flush) ||
        Server_SubscribeToServerEvent(ctx, clients, on_client_gone)) {
        return ERR;
    }
    expect_worker(ctx);
    const char *flags = "admin readonly deny-script no-slowlog";
    return Server_CreateCommand(ctx, "HPCORCH.WORK", work, flags, 0, 0, 0);
}
