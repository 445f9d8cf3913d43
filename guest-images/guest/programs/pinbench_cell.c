// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include "pinbench_cell.h"

#include <string.h>

int cell_failed(struct cell *cell, const char *what, int err)
{
	because(cell->why, sizeof(cell->why), "%s: %s", what, strerror(-err));
	return err;
}

static void fill(uint8_t *at, unsigned pages, uint8_t byte, bool alike)
{
	for (unsigned i = 0; i < pages; i++) {
		memset(at + (size_t)i * PAGE, byte, PAGE);
		if (!alike)
			memcpy(at + (size_t)i * PAGE, &i, sizeof(i));
	}
}

int make_bystander(struct cell *cell, int fd, bool alike)
{
	struct memory *m = &cell->bystander;
	int err;

	m->regions = cell->memory.regions;
	m->slots = cell->memory.slots;
	err = map_memory(m, fd, 0);
	for (unsigned region = 0; !err && region < m->regions; region++) {
		if (fd < 0)
			fill(source_of(m, region, 0), m->slots, 0x5a, alike);
		fill(destination_of(m, region, 0), m->slots, 0xa5, alike);
	}
	/* A file's pages are read, no more. */
	for (size_t at = 0; !err && fd >= 0 && at < m->ranges[1].bytes; at += PAGE)
		(void)*(volatile uint8_t *)(m->ranges[1].at + at);
	return err;
}

const char *bystander_stayed(const struct cell *cell)
{
	for (unsigned i = 0; i < cell->step_count; i++)
		if (!cell->steps[i].bystander.moved && !cell->steps[i].bystander.gone)
			return "the activity did not take place: the bystander stayed where it was";
	return NULL;
}
