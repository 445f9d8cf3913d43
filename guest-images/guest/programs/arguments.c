// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include "arguments.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool parse(const char *text, const char *units, size_t *value)
{
	char *end;
	const char *unit;

	errno = 0;
	/* strtoul takes a sign, and makes a large number of it. */
	if (text[0] < '0' || text[0] > '9')
		return false;
	*value = strtoul(text, &end, 0);
	if (errno)
		return false;
	if (!*end)
		return true;
	unit = strchr(units, *end);
	if (!unit || end[1])
		return false;
	return !__builtin_mul_overflow(*value, (size_t)1 << 10 * (unit - units + 1), value);
}

bool parse_number(const char *program, const char *option, const char *text, unsigned least,
		  unsigned most, unsigned *value)
{
	size_t number;

	if (!parse(text, "", &number) || number < least || number > most) {
		fprintf(stderr, "%s: %s %s: a number from %u to %u\n", program, option, text, least,
			most);
		return false;
	}
	*value = (unsigned)number;
	return true;
}

bool parse_bytes(const char *program, const char *option, const char *text, size_t least,
		 size_t most, size_t *value)
{
	size_t number;

	if (!parse(text, "KM", &number) || number < least || number > most) {
		fprintf(stderr, "%s: %s %s: a number of bytes from %zu to %zu, or with K or M\n",
			program, option, text, least, most);
		return false;
	}
	*value = number;
	return true;
}
