#include "execute.h"

#include "dispatch.h"
#include "values.h"

typedef struct {
    const char *(*parse)(const Word *words, int count, Run *run);
    Program *(*find)(Key *key);
    const char *missing;
    int least; /* words, the command's name among them */
} Form;

static const Form MODEL_FORM = {model_run_parse, model_of, MODEL_MISSING, 3};
static const Form SCRIPT_FORM = {script_run_parse, script_of, SCRIPT_MISSING, 4};

static const char *parse(const Form *form, Text **argv, int argc, Run *run) {
    Word *words = words_of(argv, argc);
    const char *fault = form->parse(words, argc, run);
    Server_Free(words);
    return fault;
}

/* The server asks which arguments are keys. */
static int name_keys(Ctx *ctx, const Form *form, Text **argv, int argc) {
    Run run;
    if (argc > 1) Server_KeyAtPos(ctx, 1);
    if (argc < form->least || parse(form, argv, argc, &run)) return OK;
    for (int i = 0; i < run.input_count; i++) Server_KeyAtPos(ctx, run.inputs + i);
    for (int i = 0; i < run.output_count; i++) Server_KeyAtPos(ctx, run.outputs + i);
    return OK;
}

/* The call that a command asks for; NULL when it makes no sense, *fault then tells. */
static Call *call_made(Ctx *ctx, const Form *form, Text **argv, int argc, const char **fault) {
    Run run;
    Key *key = Server_OpenKey(ctx, argv[1], KEY_READ);
    const Program *program = form->find(key);
    *fault = program ? parse(form, argv, argc, &run) : form->missing;
    Call *call = *fault ? NULL : call_new(ctx, program, argv, &run, fault);
    if (key) Server_CloseKey(key);
    return call;
}

static int execute(Ctx *ctx, const Form *form, Text **argv, int argc) {
    if (Server_IsKeysPositionRequest(ctx)) return name_keys(ctx, form, argv, argc);
    if (argc < form->least) return Server_WrongArity(ctx);
    if (Server_GetContextFlags(ctx) & (CONTEXT_LUA | CONTEXT_MULTI | CONTEXT_DENY_BLOCKING)) {
        return Server_ReplyWithError(ctx, "ERR models and scripts cannot be run in transactions");
    }
    if (Server_GetSelectedDb(ctx) != 0) {
        return Server_ReplyWithError(ctx, "ERR models and scripts are run in database 0 only");
    }
    const char *fault = NULL;
    Call *call = call_made(ctx, form, argv, argc, &fault);
    if (!call) return Server_ReplyWithError(ctx, fault);
    if (form == &SCRIPT_FORM) call->function = Server_HoldString(NULL, argv[2]);
    if (dispatch_add(ctx, call)) return OK;
    call_free(call);
    return Server_ReplyWithError(ctx, NO_WORKER);
}

/* AI.MODELEXECUTE key INPUTS n name .. OUTPUTS n name .. [TIMEOUT milliseconds] */
static int model_execute(Ctx *ctx, Text **argv, int argc) {
    return execute(ctx, &MODEL_FORM, argv, argc);
}

/* AI.SCRIPTRUN key function [TIMEOUT milliseconds] INPUTS name .. OUTPUTS name .. */
static int script_run(Ctx *ctx, Text **argv, int argc) {
    return execute(ctx, &SCRIPT_FORM, argv, argc);
}

int execute_register(Ctx *ctx) {
    const char *flags = "write deny-oom deny-script getkeys-api";
    if (Server_CreateCommand(ctx, "AI.MODELEXECUTE", model_execute, flags, 1, 1, 1)) return ERR;
    return Server_CreateCommand(ctx, "AI.SCRIPTRUN", script_run, flags, 1, 1, 1);
}
