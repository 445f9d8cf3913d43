// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include "cases.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

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

int run_cases(const struct test_case *cases, size_t count, size_t wanted, const struct options *o)
{
	int status = EXIT_SUCCESS;

	/* A child that dies must not take its parent with it through a pipe. */
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < count; i++) {
		if (!cases[i].run || (cases[wanted].run && i != wanted))
			continue;
		case_name = cases[i].word.name;
		if (cases[i].run(o) < 0)
			status = EXIT_FAILURE;
	}
	return status;
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
