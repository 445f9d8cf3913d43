// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The columns: what the kernel does with the memory meanwhile. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pinbench.h"

#define ZRAM "/sys/block/zram0/"
#define SWAP_DEVICE "/dev/zram0"
#define SWAP_BYTES (64u << 20)

static int failed(struct cell *cell, const char *what, int err)
{
	because(cell->why, sizeof(cell->why), "%s: %s", what, strerror(-err));
	return err;
}


/* advice over the used pages of a region: 0 or errno */
static int advise(const struct memory *m, unsigned region, int advice)
{
	const size_t bytes = (size_t)m->slots * PAGE;
	int err = 0;

	if (madvise(source_of(m, region, 0), bytes, advice) < 0)
		err = errno;
	if (madvise(destination_of(m, region, 0), bytes, advice) < 0)
		err = errno;
	return err;
}

static unsigned bystander_left(const struct cell *cell)
{
	unsigned pages = 0;

	for (unsigned i = 0; i < cell->step_count; i++)
		pages += cell->steps[i].bystander.moved + cell->steps[i].bystander.gone;
	return pages;
}

/* --- none --- */

static const char *nothing_missing(const struct cell *cell)
{
	(void)cell;
	return NULL;
}

/* --- swap: MADV_PAGEOUT to a zram disk --- */

/* mm/swapfile.c: read_swap_header; include/linux/swap.h: union swap_header, version 1. */
static int make_swap(const char *device, size_t bytes)
{
	static uint8_t header[PAGE];
	const uint32_t words[3] = { 1, (uint32_t)(bytes / PAGE - 1), 0 };
	int fd = open(device, O_WRONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	memcpy(header + 1024, words, sizeof(words));
	memcpy(header + PAGE - 10, "SWAPSPACE2", 10);
	if (write(fd, header, sizeof(header)) != sizeof(header))
		err = errno ? -errno : -EIO;
	close(fd);
	return err;
}

static const char *no_swap(char *why, size_t size)
{
	int err;

	if (access(ZRAM "disksize", W_OK) < 0)
		return because(why, size, "no " ZRAM " (CONFIG_ZRAM)");
	err = put_number(ZRAM "disksize", SWAP_BYTES);
	if (err)
		return because(why, size, ZRAM "disksize: %s", strerror(-err));
	err = make_swap(SWAP_DEVICE, SWAP_BYTES);
	if (err)
		return because(why, size, SWAP_DEVICE ": %s", strerror(-err));
	if (swapon(SWAP_DEVICE, 0) < 0)
		return because(why, size, "swapon " SWAP_DEVICE ": %s", strerror(errno));
	return NULL;
}

static int step_swap(struct cell *cell, unsigned region, struct step *step)
{
	int err = advise(&cell->bystander, region, MADV_PAGEOUT);

	if (err)
		return failed(cell, "MADV_PAGEOUT", -err);
	/* The kernel refuses locked and hugetlb mappings (mm/madvise.c: can_madv_lru_vma). */
	step->error = advise(&cell->memory, region, MADV_PAGEOUT);
	return 0;
}

static const char *no_page_left(const struct cell *cell)
{
	return bystander_left(cell) ? NULL : "no page of the bystander went away or moved";
}

/* --- migrate: move_pages to the other node --- */

#define MPOL_MF_MOVE (1 << 1)

static const char *no_second_node(char *why, size_t size)
{
	if (access("/sys/devices/system/node/node1", F_OK) < 0)
		return because(why, size, "one NUMA node only");
	return NULL;
}

static int move_region(const struct memory *m, unsigned region, int node)
{
	void *pages[2 * SLOTS_MAX];
	int nodes[2 * SLOTS_MAX], status[2 * SLOTS_MAX];
	int err = 0;
	long left;

	for (unsigned slot = 0; slot < m->slots; slot++) {
		pages[slot] = source_of(m, region, slot);
		pages[m->slots + slot] = destination_of(m, region, slot);
	}
	for (unsigned i = 0; i < 2 * m->slots; i++)
		nodes[i] = node;
	left = syscall(SYS_move_pages, 0, 2ul * m->slots, pages, nodes, status, MPOL_MF_MOVE);
	if (left < 0)
		return errno;
	/* So many pages could not be moved, and have no status of their own (move_pages(2)). */
	if (left > 0)
		return EBUSY;
	for (unsigned i = 0; i < 2 * m->slots; i++)
		/* An absent page and the zero page have nothing to move. */
		if (status[i] < 0 && status[i] != -ENOENT && status[i] != -EFAULT)
			err = -status[i];
	return err;
}

static int step_migrate(struct cell *cell, unsigned region, struct step *step)
{
	int err = move_region(&cell->bystander, region, 1);

	if (err)
		return failed(cell, "move_pages", -err);
	step->error = move_region(&cell->memory, region, 1);
	return 0;
}

static const char *const no_counters[] = { NULL };
static const char *const swap_counters[] = { "pswpout", "swpout_zero", "pswpin", "swpin_zero",
					     NULL };
static const char *const migrate_counters[] = { "pgmigrate_success", "pgmigrate_fail", NULL };

const struct activity activities[] = {
	{ "none", no_counters, NULL, NULL, NULL, NULL, nothing_missing },
	{ "swap", swap_counters, no_swap, NULL, step_swap, NULL, no_page_left },
	{ "migrate", migrate_counters, no_second_node, NULL, step_migrate, NULL, no_page_left },
};
const unsigned activity_count = sizeof(activities) / sizeof(activities[0]);
