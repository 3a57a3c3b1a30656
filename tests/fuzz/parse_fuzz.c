/* Feeds the module's parsers with any bytes: words are cut at newlines. For libFuzzer and AFL++. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fingerprint.h"
#include "parse.h"

enum { MOST_WORDS = 256 };

static int words_cut(const char *bytes, size_t size, Word *words) {
    int count = 0;
    const char *end = bytes + size;
    while (count < MOST_WORDS) {
        const char *stop = bytes < end ? memchr(bytes, '\n', (size_t)(end - bytes)) : NULL;
        words[count].bytes = bytes;
        words[count++].length = (size_t)((stop ? stop : end) - bytes);
        if (!stop) break;
        bytes = stop + 1;
    }
    return count;
}

static void check_run(const Word *words, int count, const Run *run) {
    assert(run->input_count >= 0 && run->output_count >= 1);
    assert(run->inputs > 0 && run->inputs + run->input_count <= count);
    assert(run->outputs > run->inputs && run->outputs + run->output_count <= count);
    assert(run->milliseconds >= 0 && run->milliseconds <= LONGEST_RUN);
    (void)words;
}

static void check_word(const Word *word) {
    int type = element_type_find(word->bytes, word->length);
    assert(type < 0 || word_is(word->bytes, word->length, element_type((uint64_t)type)->name));
    long long number = -1;
    if (number_read(word->bytes, word->length, &number)) assert(number >= 0);
    (void)is_device(word->bytes, word->length);
    size_t bytes = 8;
    if (dimension_apply(&bytes, number)) assert(number > 0);
    uint64_t found = fingerprint(1, word->bytes, word->length);
    assert(found == fingerprint(1, word->bytes, word->length));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    /* A copy of just that size, so that a byte too many is seen. */
    char *bytes = malloc(size ? size : 1);
    memcpy(bytes, data, size);
    Word words[MOST_WORDS];
    int count = words_cut(bytes, size, words);
    Run run;
    if (count >= 3 && !model_run_parse(words, count, &run)) check_run(words, count, &run);
    if (count >= 4 && !script_run_parse(words, count, &run)) check_run(words, count, &run);
    int length = tensor_word_count(words, count);
    assert(length == 0 || (length >= 3 && length <= count));
    for (int i = 0; i < count; i++) check_word(&words[i]);
    free(bytes);
    return 0;
}
