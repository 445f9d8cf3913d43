// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* pinbench: memory that a device works on. */
#ifndef STALLBOX_PINBENCH_MEMORY_H
#define STALLBOX_PINBENCH_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pinbench_kernel.h"

#define REGION (2u << 20)
#define REGIONS_MAX 8u
#define SLOTS_MAX 128u

/* A mapping. */
struct range {
	uint8_t *at;
	size_t bytes;
	bool file; /* read-only pages of a file */
};

/*
 * Memory with slots in it: sources in the lower half of each region, destinations in the upper.
 * Sources that are pages of a file are a mapping of their own.
 */
struct memory {
	struct range ranges[2]; /* the regions, aligned to REGION; then the file, if there is one */
	unsigned range_count;
	uint8_t *sources; /* of region 0 */
	uint8_t *destinations;
	size_t source_stride, destination_stride; /* from region to region */
	unsigned regions, slots;
};

static inline uint8_t *source_of(const struct memory *m, unsigned region, unsigned slot)
{
	return m->sources + region * m->source_stride + slot * PAGE;
}

static inline uint8_t *destination_of(const struct memory *m, unsigned region, unsigned slot)
{
	return m->destinations + region * m->destination_stride + slot * PAGE;
}

/*
 * Maps m->regions of 2 MiB with m->slots in each, not touched; the sources are those of the file
 * `fd`, if it is not -1. `flags` are further flags of mmap.
 */
int map_memory(struct memory *m, int fd, int flags);
/* One byte of each page: written, or read where it is a file's. */
void touch(const struct memory *m);
/* madvise over the used pages of a region: 0 or errno. */
int advise(const struct memory *m, unsigned region, int advice);
/* Pages of the memory's mapping in a field of /proc/self/smaps, such as "Locked:". */
uint64_t get_mapped(const struct memory *m, const char *field);

#endif
