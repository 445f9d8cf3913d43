// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Programs that are a list of cases: each prints one line, "CASE: ok ..." or "CASE: FAILED ...", with
 * its evidence.
 */
#ifndef STALLBOX_CASES_H
#define STALLBOX_CASES_H

#include <stddef.h>
#include <stdint.h>

#include "options.h"

/* The name of the case that runs. */
extern const char *case_name;

/* Prints the case's line; 0 and -1, for the case to return. */
__attribute__((format(printf, 1, 2))) int passed(const char *format, ...);
__attribute__((format(printf, 1, 2))) int failed(const char *format, ...);

struct options;

struct test_case {
	struct word word;
	int (*run)(const struct options *o); /* NULL: all cases, one after the other */
};

/* Runs the case of this index, or all. The exit status. */
int run_cases(const struct test_case *cases, size_t count, size_t wanted, const struct options *o);

/* Fills memory with what is different in each 8 bytes and for each seed, and still compressible. */
void case_pattern(uint8_t *at, size_t bytes, uint32_t seed);

#endif
