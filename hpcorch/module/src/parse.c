#include "parse.h"

#include <string.h>
#include <strings.h>

/* The position is what snapshots hold: append, never reorder. */
static const ElementType TYPES[] = {
    {"FLOAT", 4},  {"DOUBLE", 8}, {"INT8", 1},   {"INT16", 2}, {"INT32", 4},
    {"INT64", 8},  {"UINT8", 1},  {"UINT16", 2}, {"BOOL", 1},
};
enum { TYPE_COUNT = sizeof TYPES / sizeof TYPES[0] };

bool word_is(const char *word, size_t length, const char *expected) {
    return length == strlen(expected) && strncasecmp(word, expected, length) == 0;
}

int element_type_find(const char *word, size_t length) {
    for (int i = 0; i < TYPE_COUNT; i++) {
        if (word_is(word, length, TYPES[i].name)) return i;
    }
    return -1;
}

const ElementType *element_type(uint64_t number) {
    return number < TYPE_COUNT ? &TYPES[number] : NULL;
}

bool dimension_apply(size_t *bytes, long long dimension) {
    if (dimension <= 0) return false;
    return !__builtin_mul_overflow(*bytes, (unsigned long long)dimension, bytes);
}

bool is_device(const char *word, size_t length) {
    if (word_is(word, length, "CPU") || word_is(word, length, "GPU")) return true;
    if (length < 5 || length > 8 || strncasecmp(word, "GPU:", 4) != 0) return false;
    for (size_t i = 4; i < length; i++) {
        if (word[i] < '0' || word[i] > '9') return false;
    }
    return true;
}

bool number_read(const char *word, size_t length, long long *number) {
    /* 18 digits cannot overflow. */
    if (length < 1 || length > 18) return false;
    long long value = 0;
    for (size_t i = 0; i < length; i++) {
        if (word[i] < '0' || word[i] > '9') return false;
        value = value * 10 + (word[i] - '0');
    }
    *number = value;
    return true;
}

static bool is(const Word *words, int count, int at, const char *expected) {
    return at < count && word_is(words[at].bytes, words[at].length, expected);
}

/* TIMEOUT ms, if it is there: moves *at behind it. */
static const char *timeout_parse(const Word *words, int count, int *at, Run *run) {
    if (!is(words, count, *at, "TIMEOUT")) return NULL;
    if (*at + 1 >= count ||
        !number_read(words[*at + 1].bytes, words[*at + 1].length, &run->milliseconds) ||
        run->milliseconds < 1 || run->milliseconds > LONGEST_RUN) {
        return "ERR Invalid value for TIMEOUT";
    }
    *at += 2;
    return NULL;
}

/* keyword n name ..: moves *at behind it. */
static const char *names_count(const Word *words, int count, int *at, const char *keyword,
                               int *first, int *name_count) {
    long long number = 0;
    if (!is(words, count, *at, keyword)) {
        return "ERR Insufficient arguments, missing INPUTS or OUTPUTS";
    }
    if (*at + 1 >= count || !number_read(words[*at + 1].bytes, words[*at + 1].length, &number) ||
        number < 1 || number > count - *at - 2) {
        return "ERR the number of names does not match the names that follow";
    }
    *first = *at + 2;
    *name_count = (int)number;
    *at += 2 + *name_count;
    return NULL;
}

const char *model_run_parse(const Word *words, int count, Run *run) {
    *run = (Run){0};
    int at = 2;
    const char *fault = names_count(words, count, &at, "INPUTS", &run->inputs, &run->input_count);
    if (!fault) {
        fault = names_count(words, count, &at, "OUTPUTS", &run->outputs, &run->output_count);
    }
    if (!fault) fault = timeout_parse(words, count, &at, run);
    return fault || at == count ? fault : "ERR Invalid argument";
}

const char *script_run_parse(const Word *words, int count, Run *run) {
    *run = (Run){0};
    int at = 3;
    const char *fault = timeout_parse(words, count, &at, run);
    if (fault) return fault;
    if (!is(words, count, at, "INPUTS")) return "ERR Insufficient arguments, missing INPUTS";
    run->inputs = ++at;
    while (at < count && !is(words, count, at, "OUTPUTS")) at++;
    run->input_count = at - run->inputs;
    run->outputs = at + 1;
    run->output_count = count - run->outputs;
    if (run->output_count < 1) return "ERR Insufficient arguments, missing OUTPUTS";
    return NULL;
}

int tensor_word_count(const Word *words, int count) {
    for (int at = 1; at <= MOST_DIMENSIONS + 1 && at + 1 < count; at++) {
        if (is(words, count, at, "BLOB")) return at + 2;
    }
    return 0;
}
