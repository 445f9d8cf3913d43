// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pinbench_kernel.h"

#define THP_ENABLED "/sys/kernel/mm/transparent_hugepage/enabled"

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

const char *const pin_counters[] = { "nr_foll_pin_acquired", "nr_foll_pin_released", NULL };

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

const char *no_huge_pages(char *why, size_t size)
{
	/* The kernel starts with "never" on small machines; mm/huge_memory.c: hugepage_init. */
	int err = put_text(THP_ENABLED, "madvise");

	if (err)
		return because(why, size, THP_ENABLED ": %s (CONFIG_TRANSPARENT_HUGEPAGE)",
			       strerror(-err));
	return NULL;
}

void sleep_ms(unsigned ms)
{
	const struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	nanosleep(&pause, NULL);
}

void run_on(unsigned cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	/* With one CPU there is no other to choose, and both take turns. */
	sched_setaffinity(0, sizeof(set), &set);
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
