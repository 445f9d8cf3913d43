// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Numbers on a command line, decimal or with 0x. What is none, or not from `least` to `most`, is
 * told on stderr with the program and the option, and false is returned.
 */
#ifndef STALLBOX_ARGUMENTS_H
#define STALLBOX_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>

bool parse_number(const char *program, const char *option, const char *text, unsigned least,
		  unsigned most, unsigned *value);

/* A number of bytes: K or M may follow. */
bool parse_bytes(const char *program, const char *option, const char *text, size_t least,
		 size_t most, size_t *value);

#endif
