#include "fingerprint.h"

#include <string.h>

/* Odd, so that multiplying loses nothing. */
static const uint64_t FACTOR = 0x9e3779b97f4a7c15u;

static uint64_t stir(uint64_t state, uint64_t word) {
    state = (state ^ word) * FACTOR;
    return state ^ (state >> 32);
}

uint64_t fingerprint(uint64_t so_far, const char *bytes, size_t length) {
    /* The length keeps "ab" "c" apart from "a" "bc". */
    uint64_t state = stir(so_far, length);
    size_t at = 0;
    for (; length - at >= sizeof(uint64_t); at += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, bytes + at, sizeof word);
        state = stir(state, word);
    }
    uint64_t rest = 0;
    if (at < length) memcpy(&rest, bytes + at, length - at);
    return stir(stir(state, rest), FACTOR);
}
