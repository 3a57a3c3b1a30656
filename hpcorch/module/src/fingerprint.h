/* What tells one content from another: models and scripts that are equal have the same version. */
#ifndef HPCORCH_FINGERPRINT_H
#define HPCORCH_FINGERPRINT_H

#include <stddef.h>
#include <stdint.h>

/* Takes bytes into a fingerprint, which begins as any number. It tells accidents apart, and is no
 * protection against somebody who wants two contents to look alike. */
uint64_t fingerprint(uint64_t so_far, const char *bytes, size_t length);

#endif
