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

/* Whether two words are equal, whatever their case. */
bool word_is(const char *word, size_t length, const char *expected);

/* Whether the word is CPU, GPU or GPU:n. */
bool is_device(const char *word, size_t length);

#endif
