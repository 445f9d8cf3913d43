// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#define _GNU_SOURCE
#include "pinbench_memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static int map_file(struct memory *m, int fd, int flags)
{
	const size_t bytes = (size_t)m->regions * m->slots * PAGE;
	uint8_t *at = mmap(NULL, bytes, PROT_READ, MAP_SHARED | flags, fd, 0);

	if (at == MAP_FAILED)
		return -errno;
	/* Only what is asked for comes in, as with anonymous memory. */
	madvise(at, bytes, MADV_RANDOM);
	m->ranges[m->range_count++] = (struct range){ .at = at, .bytes = bytes, .file = true };
	m->sources = at;
	m->source_stride = (size_t)m->slots * PAGE;
	return 0;
}

int map_memory(struct memory *m, int fd, int flags)
{
	const size_t bytes = (size_t)m->regions * REGION;
	uint8_t *room, *base;

	/* Room to align in, then the real mapping on top of it. */
	room = mmap(NULL, bytes + REGION, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		    -1, 0);
	if (room == MAP_FAILED)
		return -errno;
	base = (uint8_t *)(((uintptr_t)room + REGION - 1) & ~(uintptr_t)(REGION - 1));
	base = mmap(base, bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | flags, -1, 0);
	if (base == MAP_FAILED)
		return -errno;
	m->ranges[0] = (struct range){ .at = base, .bytes = bytes };
	m->range_count = 1;
	m->sources = base;
	m->destinations = base + REGION / 2;
	m->source_stride = REGION;
	m->destination_stride = REGION;
	return fd < 0 ? 0 : map_file(m, fd, flags);
}

void touch(const struct memory *m)
{
	for (unsigned i = 0; i < m->range_count; i++) {
		const struct range *r = &m->ranges[i];

		for (size_t at = 0; at < r->bytes; at += PAGE) {
			if (r->file)
				(void)*(volatile uint8_t *)(r->at + at);
			else
				*(volatile uint8_t *)(r->at + at) = 0;
		}
	}
}

int advise(const struct memory *m, unsigned region, int advice)
{
	const size_t bytes = (size_t)m->slots * PAGE;
	int err = 0;

	if (madvise(source_of(m, region, 0), bytes, advice) < 0)
		err = errno;
	if (madvise(destination_of(m, region, 0), bytes, advice) < 0)
		err = errno;
	return err;
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
