// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* pintest's evidence: what calls returned, and what the kernel counts. */
#define _GNU_SOURCE
#include "pintest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *told(int result)
{
	static char texts[4][48];
	static unsigned next;
	char *text = texts[next++ % 4];

	if (result < 0)
		snprintf(text, sizeof(texts[0]), "%s", strerrorname_np(-result));
	else
		snprintf(text, sizeof(texts[0]), "%d", result);
	return text;
}

/* A line of a file in /proc, in kB. */
static int64_t kilobytes(const char *path, const char *name)
{
	FILE *file = fopen(path, "re");
	char line[256];
	int64_t value = -1;

	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':')
			value = strtoll(line + strlen(name) + 1, NULL, 10);
	if (file)
		fclose(file);
	return value;
}

int64_t locked_pages(void)
{
	return kilobytes("/proc/self/status", "VmLck") / 4;
}

int64_t pinned_pages(void)
{
	return kilobytes("/proc/self/status", "VmPin") / 4;
}

int64_t free_pages(void)
{
	FILE *file = fopen("/proc/zoneinfo", "re");
	long long pages = 0, value;
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, " nr_free_pages %lld", &value) == 1 ||
		    sscanf(line, " count: %lld", &value) == 1)
			pages += value;
	if (file)
		fclose(file);
	return pages;
}

int open_pinner(const struct options *o, struct pinner *p)
{
	int err = pin_open(p, o->interface);

	if (err)
		pin_complain(o->interface, err);
	return err ? failed("no way to pin") : 0;
}

int must(const char *what, int got, int wanted)
{
	if (got == wanted)
		return 0;
	return failed("%s: %s instead of %s", what, told(got), told(wanted));
}

int counted(const char *what, int64_t got, int64_t wanted)
{
	if (got == wanted)
		return 0;
	return failed("%s: %" PRId64 " pages are pinned instead of %" PRId64, what, got, wanted);
}
