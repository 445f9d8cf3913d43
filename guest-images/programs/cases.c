// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include "cases.h"

#include <stdarg.h>
#include <stdio.h>

const char *case_name;

static void tell(const char *verdict, const char *format, va_list args)
{
	printf("%s: %s ", case_name, verdict);
	vprintf(format, args);
	printf("\n");
	fflush(stdout);
}

int passed(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	tell("ok", format, args);
	va_end(args);
	return 0;
}

int failed(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	tell("FAILED:", format, args);
	va_end(args);
	return -1;
}

void case_pattern(uint8_t *at, size_t bytes, uint32_t seed)
{
	uint32_t x = seed * 2654435761u + 1;

	for (size_t i = 0; i < bytes; i++) {
		if (i % 32 == 0)
			x = x * 1664525 + 1013904223;
		at[i] = (uint8_t)(x >> (i % 8 * 3));
	}
}
