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

#include "pin.h"
#include "pinbench_device.h"
#include "pinbench_prepare.h"

#define HUGETLB_POOL "/proc/sys/vm/nr_hugepages"
#define UACCE_CTRL_MODULE "/lib/modules/uacce_ctrl.ko"

static int refused(struct cell *cell, const char *what)
{
	int err = errno;

	because(cell->why, sizeof(cell->why), "%s: %s", what, strerror(err));
	return -err;
}

static int map(struct cell *cell, int flags)
{
	int err = map_memory(&cell->memory, cell->file, flags);

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
		touch(&cell->memory);
	return err;
}

static int prepare_populate(struct cell *cell)
{
	return map(cell, MAP_POPULATE);
}

static int prepare_mlock(struct cell *cell)
{
	int err = map(cell, 0);

	for (unsigned i = 0; !err && i < cell->memory.range_count; i++)
		if (mlock(cell->memory.ranges[i].at, cell->memory.ranges[i].bytes) < 0)
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
	for (unsigned i = 0; !err && i < cell->bystander.range_count; i++)
		if (munlock(cell->bystander.ranges[i].at, cell->bystander.ranges[i].bytes) < 0)
			err = refused(cell, "munlock");
	return err;
}

/* Huge pages for the device's memory, but not for the pages of a file. */
static int huge_file(struct cell *cell)
{
	because(cell->why, sizeof(cell->why), "this file system's files have no huge pages");
	return -EOPNOTSUPP;
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
	return cell->file >= 0 ? huge_file(cell) : map(cell, MAP_HUGETLB | MAP_POPULATE);
}

static int prepare_thp(struct cell *cell)
{
	const struct range *regions = &cell->memory.ranges[0];
	int err = cell->file >= 0 ? huge_file(cell) : map(cell, 0);

	if (!err && madvise(regions->at, regions->bytes, MADV_HUGEPAGE) < 0)
		err = refused(cell, "MADV_HUGEPAGE");
	if (!err)
		touch(&cell->memory);
	if (!err && get_mapped(&cell->memory, "AnonHugePages:") != regions->bytes / PAGE) {
		because(cell->why, sizeof(cell->why), "no huge pages were free");
		err = -ENOMEM;
	}
	return err;
}

static int pin(struct cell *cell, const char *interface, unsigned long request)
{
	for (unsigned i = 0; i < cell->memory.range_count; i++) {
		const struct pin_range range = {
			.addr = (uintptr_t)cell->memory.ranges[i].at,
			.size = cell->memory.ranges[i].bytes,
		};
		int done = ioctl(cell->pin_fd, request, &range);

		if (done < 0)
			return refused(cell, interface);
		/* The first RFC answers with the number of pages where it pinned only some. */
		if (done > 0) {
			because(cell->why, sizeof(cell->why), "%s pinned only %d pages", interface,
				done);
			return -EIO;
		}
	}
	return 0;
}

static const char *no_uacce_ctrl(char *why, size_t size)
{
	int fd, err;

	if (access(PIN_DEVICE, F_OK) == 0)
		return NULL;
	fd = open(UACCE_CTRL_MODULE, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return because(why, size, "no %s, and no module %s to bring it", PIN_DEVICE,
			       UACCE_CTRL_MODULE);
	err = syscall(SYS_finit_module, fd, "", 0) < 0 ? errno : 0;
	close(fd);
	if (err)
		return because(why, size, "cannot load %s: %s", UACCE_CTRL_MODULE, strerror(err));
	if (access(PIN_DEVICE, F_OK) < 0)
		return because(why, size, "%s is loaded and yet there is no %s", UACCE_CTRL_MODULE,
			       PIN_DEVICE);
	return NULL;
}

static int prepare_uacce_ctrl(struct cell *cell)
{
	int err = map(cell, 0);

	if (err)
		return err;
	cell->pin_fd = open(PIN_DEVICE, O_RDWR | O_CLOEXEC);
	if (cell->pin_fd < 0)
		return refused(cell, PIN_DEVICE);
	return pin(cell, PIN_DEVICE, UACCE_CMD_PIN);
}

static const char *no_mempinfd(char *why, size_t size)
{
	int fd = (int)syscall(PIN_SYSCALL, 0);

	if (fd < 0)
		return because(why, size, "mempinfd (system call %d): %s", PIN_SYSCALL,
			       errno == ENOSYS ? "this kernel has none" : strerror(errno));
	close(fd);
	return NULL;
}

static int prepare_mempinfd(struct cell *cell)
{
	int err = map(cell, 0);

	if (err)
		return err;
	cell->pin_fd = (int)syscall(PIN_SYSCALL, O_CLOEXEC);
	if (cell->pin_fd < 0)
		return refused(cell, "mempinfd");
	return pin(cell, "mempinfd", MEMPIN_PIN);
}

static const char *no_page_requests(char *why, size_t size)
{
	return no_engine(false, why, size);
}

static const char *no_prefill(char *why, size_t size)
{
	return no_engine(true, why, size);
}

const struct preparation preparations[] = {
	{ "none", &zip_device, false, NULL, prepare_none },
	{ "touched", &zip_device, false, NULL, prepare_touched },
	{ "populate", &zip_device, false, NULL, prepare_populate },
	{ "mlock", &zip_device, false, NULL, prepare_mlock },
	{ "mlockall_onfault", &zip_device, false, NULL, prepare_onfault },
	{ "hugetlb", &zip_device, false, no_hugetlb, prepare_hugetlb },
	{ "thp", &zip_device, false, no_huge_pages, prepare_thp },
	{ "uacce_ctrl", &zip_device, true, no_uacce_ctrl, prepare_uacce_ctrl },
	{ "mempinfd", &zip_device, true, no_mempinfd, prepare_mempinfd },
	{ "ats_none", &engine_device, false, no_page_requests, prepare_none },
	{ "ats_touched", &engine_device, false, no_page_requests, prepare_touched },
	{ "ats_prefill", &engine_device, false, no_prefill, prepare_touched },
};
const unsigned preparation_count = sizeof(preparations) / sizeof(preparations[0]);
