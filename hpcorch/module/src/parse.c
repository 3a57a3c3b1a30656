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
