// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The rows: ways of preparing memory for a device. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pinbench.h"

#define HUGETLB_POOL "/proc/sys/vm/nr_hugepages"
#define UACCE_CTRL "/dev/uacce_ctrl"
#define UACCE_CTRL_MODULE "/lib/modules/uacce_ctrl.ko"

/* What both pin interfaces take. */
struct pin_range {
	uint64_t address;
	uint64_t size;
};

#define UACCE_CTRL_PIN _IOW('W', 2, struct pin_range)
#define MEMPINFD_PIN _IOWR('M', 0, struct pin_range)
/* The number that our kernel patch takes: none is assigned. */
#define NR_MEMPINFD 500

int map_regions(struct memory *m, unsigned regions, unsigned slots, int flags)
{
	const size_t bytes = (size_t)regions * REGION;
	uint8_t *room, *base;

	/* Room to align in, then the real mapping on top of it. */
	room = mmap(NULL, bytes + REGION, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		    0);
	if (room == MAP_FAILED)
		return -errno;
	base = (uint8_t *)(((uintptr_t)room + REGION - 1) & ~(uintptr_t)(REGION - 1));
	base = mmap(base, bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | flags, -1, 0);
	if (base == MAP_FAILED)
		return -errno;
	*m = (struct memory){
		.sources = base,
		.destinations = base + REGION / 2,
		.source_stride = REGION,
		.destination_stride = REGION,
		.base = base,
		.bytes = bytes,
		.regions = regions,
		.slots = slots,
	};
	return 0;
}

void touch(uint8_t *at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += PAGE)
		*(volatile uint8_t *)(at + i) = 0;
}

static int refused(struct cell *cell, const char *what)
{
	int err = errno;

	because(cell->why, sizeof(cell->why), "%s: %s", what, strerror(err));
	return -err;
}

static int map(struct cell *cell, int flags)
{
	int err = map_regions(&cell->memory, cell->memory.regions, cell->memory.slots, flags);

	if (err) {
		errno = -err;
		return refused(cell, "mmap");
	}
	return 0;
}

static int prepare_none(struct cell *cell)
{
	return map(cell, 0);
}

static int prepare_touched(struct cell *cell)
{
	int err = map(cell, 0);

	if (!err)
		touch(cell->memory.base, cell->memory.bytes);
	return err;
}

static int prepare_populate(struct cell *cell)
{
	return map(cell, MAP_POPULATE);
}

static int prepare_mlock(struct cell *cell)
{
	int err = map(cell, 0);

	if (!err && mlock(cell->memory.base, cell->memory.bytes) < 0)
		err = refused(cell, "mlock");
	return err;
}

/* Nothing becomes present now; what a fault brings in later is locked. */
static int prepare_onfault(struct cell *cell)
{
	int err = map(cell, 0);

	if (!err && mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
		err = refused(cell, "mlockall");
	/* The bystander has to stay what it is. */
	if (!err && munlock(cell->bystander.base, cell->bystander.bytes) < 0)
		err = refused(cell, "munlock");
	return err;
}

static const char *no_hugetlb(char *why, size_t size)
{
	/* For the memory, and again for its copy on the other node. */
	const uint64_t wanted = 4 * REGIONS_MAX;
	int err = put_number(HUGETLB_POOL, wanted);

	if (err)
		return because(why, size, "%s: %s", HUGETLB_POOL, strerror(-err));
	if (get_number(HUGETLB_POOL) < (int64_t)wanted)
		return because(why, size, "no room for %llu huge pages",
			       (unsigned long long)wanted);
	return NULL;
}

static int prepare_hugetlb(struct cell *cell)
{
	return map(cell, MAP_HUGETLB | MAP_POPULATE);
}

static const char *no_thp(char *why, size_t size)
{
	/* The kernel starts with "never" on small machines; mm/huge_memory.c: hugepage_init. */
	int err = put_text(THP_ENABLED, "madvise");

	if (err)
		return because(why, size, THP_ENABLED ": %s (CONFIG_TRANSPARENT_HUGEPAGE)",
			       strerror(-err));
	return NULL;
}

static int prepare_thp(struct cell *cell)
{
	int err = map(cell, 0);

	if (!err && madvise(cell->memory.base, cell->memory.bytes, MADV_HUGEPAGE) < 0)
		err = refused(cell, "MADV_HUGEPAGE");
	if (!err)
		touch(cell->memory.base, cell->memory.bytes);
	if (!err && get_mapped(&cell->memory, "AnonHugePages:") != cell->memory.bytes / PAGE) {
		because(cell->why, sizeof(cell->why), "no huge pages were free");
		err = -ENOMEM;
	}
	return err;
}

static int pin(struct cell *cell, const char *interface, unsigned long request)
{
	const struct pin_range range = {
		.address = (uintptr_t)cell->memory.base,
		.size = cell->memory.bytes,
	};
	int done = ioctl(cell->pin_fd, request, &range);

	if (done < 0)
		return refused(cell, interface);
	/* The first RFC answers with the number of pages where it pinned only some. */
	if (done > 0) {
		because(cell->why, sizeof(cell->why), "%s pinned only %d pages", interface, done);
		return -EIO;
	}
	return 0;
}

static const char *no_uacce_ctrl(char *why, size_t size)
{
	int fd, err;

	if (access(UACCE_CTRL, F_OK) == 0)
		return NULL;
	fd = open(UACCE_CTRL_MODULE, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return because(why, size, "no %s, and no module %s to bring it", UACCE_CTRL,
			       UACCE_CTRL_MODULE);
	err = syscall(SYS_finit_module, fd, "", 0) < 0 ? errno : 0;
	close(fd);
	if (err)
		return because(why, size, "cannot load %s: %s", UACCE_CTRL_MODULE, strerror(err));
	if (access(UACCE_CTRL, F_OK) < 0)
		return because(why, size, "%s is loaded and yet there is no %s", UACCE_CTRL_MODULE,
			       UACCE_CTRL);
	return NULL;
}

static int prepare_uacce_ctrl(struct cell *cell)
{
	int err = map(cell, 0);

	if (err)
		return err;
	cell->pin_fd = open(UACCE_CTRL, O_RDWR | O_CLOEXEC);
	if (cell->pin_fd < 0)
		return refused(cell, UACCE_CTRL);
	return pin(cell, UACCE_CTRL, UACCE_CTRL_PIN);
}

static const char *no_mempinfd(char *why, size_t size)
{
	int fd = (int)syscall(NR_MEMPINFD, 0);

	if (fd < 0)
		return because(why, size, "mempinfd (system call %d): %s", NR_MEMPINFD,
			       errno == ENOSYS ? "this kernel has none" : strerror(errno));
	close(fd);
	return NULL;
}

static int prepare_mempinfd(struct cell *cell)
{
	int err = map(cell, 0);

	if (err)
		return err;
	cell->pin_fd = (int)syscall(NR_MEMPINFD, O_CLOEXEC);
	if (cell->pin_fd < 0)
		return refused(cell, "mempinfd");
	return pin(cell, "mempinfd", MEMPINFD_PIN);
}

const struct preparation preparations[] = {
	{ "none", NULL, prepare_none },
	{ "touched", NULL, prepare_touched },
	{ "populate", NULL, prepare_populate },
	{ "mlock", NULL, prepare_mlock },
	{ "mlockall_onfault", NULL, prepare_onfault },
	{ "hugetlb", no_hugetlb, prepare_hugetlb },
	{ "thp", no_thp, prepare_thp },
	{ "uacce_ctrl", no_uacce_ctrl, prepare_uacce_ctrl },
	{ "mempinfd", no_mempinfd, prepare_mempinfd },
};
const unsigned preparation_count = sizeof(preparations) / sizeof(preparations[0]);
