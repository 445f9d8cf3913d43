// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pinbench.h"

/* Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_FRAME ((1ull << 55) - 1)

int put_text(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC);
	ssize_t done;

	if (fd < 0)
		return -errno;
	done = write(fd, text, strlen(text));
	if (done < 0)
		done = -errno;
	close(fd);
	return done < 0 ? (int)done : 0;
}

int put_number(const char *file, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return put_text(file, text);
}

static ssize_t get_text(const char *file, char *text, size_t size)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	size_t have = 0;
	ssize_t done;

	if (fd < 0)
		return -errno;
	do {
		done = read(fd, text + have, size - 1 - have);
		if (done > 0)
			have += (size_t)done;
	} while (done > 0 && have < size - 1);
	close(fd);
	text[have] = '\0';
	return (ssize_t)have;
}

int64_t get_number(const char *file)
{
	char text[32], *end;
	int64_t value;

	if (get_text(file, text, sizeof(text)) <= 0)
		return -1;
	value = strtoll(text, &end, 10);
	return end == text ? -1 : value;
}

/* The value on the line "name value" of `text`, or -1. Lines may have a colon after the name. */
static int64_t find_named(const char *text, const char *name)
{
	const size_t length = strlen(name);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		if (*line == '\n')
			line++;
		if (!strncmp(line, name, length) &&
		    (line[length] == ' ' || line[length] == ':' || line[length] == '\t'))
			return strtoll(line + length + 1, NULL, 10);
	}
	return -1;
}

int64_t get_named(const char *file, const char *name)
{
	static char text[16384];

	if (get_text(file, text, sizeof(text)) <= 0)
		return -1;
	return find_named(text, name);
}

void get_vmstat(const char *const *names, int64_t *values)
{
	static char text[16384];

	/* Some counters are kept for each CPU and folded late; this folds them now. */
	put_text("/proc/sys/vm/stat_refresh", "1");
	if (get_text("/proc/vmstat", text, sizeof(text)) <= 0)
		text[0] = '\0';
	for (unsigned i = 0; names[i]; i++)
		values[i] = find_named(text, names[i]);
}

int get_frames(const void *at, size_t pages, uint64_t *frames)
{
	static int fd = -1;
	static pid_t owner;
	const off_t offset = (off_t)((uintptr_t)at / PAGE * sizeof(*frames));
	ssize_t done;

	/* A child of fork must not read its parent's. */
	if (owner != getpid()) {
		if (fd >= 0)
			close(fd);
		fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
		owner = getpid();
	}
	if (fd < 0)
		return -errno;
	done = pread(fd, frames, pages * sizeof(*frames), offset);
	if (done != (ssize_t)(pages * sizeof(*frames)))
		return done < 0 ? -errno : -EIO;
	for (size_t i = 0; i < pages; i++)
		frames[i] = frames[i] & PAGEMAP_PRESENT ? frames[i] & PAGEMAP_FRAME : 0;
	return 0;
}

static bool is_inside(const struct memory *m, uintptr_t start, uintptr_t end)
{
	for (unsigned i = 0; i < m->range_count; i++) {
		const uintptr_t at = (uintptr_t)m->ranges[i].at;

		if (start >= at && end <= at + m->ranges[i].bytes)
			return true;
	}
	return false;
}

uint64_t get_mapped(const struct memory *m, const char *field)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	const size_t length = strlen(field);
	bool inside = false;
	uint64_t pages = 0;
	char line[256];

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		unsigned long long start, end;

		/* The region may have been split into several mappings. */
		if (sscanf(line, "%llx-%llx ", &start, &end) == 2)
			inside = is_inside(m, start, end);
		else if (inside && !strncmp(line, field, length))
			pages += strtoull(line + length, NULL, 10) / (PAGE / 1024);
	}
	fclose(f);
	return pages;
}

void sleep_ms(unsigned ms)
{
	const struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	nanosleep(&pause, NULL);
}

void keep_from_cpu0(const char *name)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	cpu_set_t others;

	if (!proc)
		return;
	CPU_ZERO(&others);
	for (unsigned cpu = 1; cpu < 8; cpu++)
		CPU_SET(cpu, &others);
	while ((entry = readdir(proc))) {
		char path[300], found[32];
		ssize_t length;

		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		length = get_text(path, found, sizeof(found));
		if (length <= 1)
			continue;
		found[length - 1] = '\0';
		/* Refused with one CPU, and then there is no better place. */
		if (!strcmp(found, name))
			sched_setaffinity((pid_t)strtol(entry->d_name, NULL, 10), sizeof(others),
					  &others);
	}
	closedir(proc);
}

const char *because(char *why, size_t size, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(why, size, format, arguments);
	va_end(arguments);
	return why;
}
