/* Words of commands to numbers: pure functions, so that they can be fuzzed without a server. */
#ifndef HPCORCH_PARSE_H
#define HPCORCH_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As many as NumPy arrays have. */
enum { MOST_DIMENSIONS = 64 };

typedef struct {
    const char *name;
    unsigned size; /* bytes of one element */
} ElementType;

/* The element type of that name, whatever its case; -1 if there is none. */
int element_type_find(const char *word, size_t length);

/* The element type of that number; NULL if there is none. */
const ElementType *element_type(uint64_t number);

/* Multiplies *bytes by a dimension; false when the result is not a size any more. */
bool dimension_apply(size_t *bytes, long long dimension);

/* Milliseconds: 30 years, which a timer can still count. */
#define LONGEST_RUN 1000000000000

/* One argument of a command. */
typedef struct {
    const char *bytes;
    size_t length;
} Word;

/* Where the names are in a request to run something; positions count from the command on. */
typedef struct {
    int inputs;
    int input_count;
    int outputs;
    int output_count;
    long long milliseconds; /* that it may take; 0: it does not say */
} Run;

/* Reads AI.MODELEXECUTE key INPUTS n name .. OUTPUTS n name .. [TIMEOUT ms].
 * Returns what is wrong, or NULL. */
const char *model_run_parse(const Word *words, int count, Run *run);

/* Reads AI.SCRIPTRUN key function [TIMEOUT ms] INPUTS name .. OUTPUTS name ..: without counts. */
const char *script_run_parse(const Word *words, int count, Run *run);

/* How many words a tensor takes that begins with the first one: TYPE d1 .. dn BLOB bytes.
 * 0 when there is none. */
int tensor_word_count(const Word *words, int count);

/* A whole number without a sign; false for anything else. */
bool number_read(const char *word, size_t length, long long *number);

/* Whether two words are equal, whatever their case. */
bool word_is(const char *word, size_t length, const char *expected);

/* Whether the word is CPU, GPU or GPU:n. */
bool is_device(const char *word, size_t length);

#endif
