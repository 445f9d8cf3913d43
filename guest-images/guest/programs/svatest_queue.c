// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#define _GNU_SOURCE
#include "svatest_queue.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <misc/uacce/uacce.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAME "svatest-"
#define CLASS "/sys/class/uacce"
#define PCI "/sys/bus/pci/devices"
#define VENDOR "0x5342"

#define PAGE_BYTES 0x10000 /* of the device, whatever the kernel's pages are */
#define PAGE_SQ_TAIL 0x00
#define PAGE_CQ_HEAD 0x04
#define PAGE_STATUS 0x08
#define STATUS_FAILED (1u << 2)
#define STATUS_FAILURE_SHIFT 8
#define PAGE_CAPABILITY 0x10
#define CAPABILITY_PRI (1u << 16)
#define CAPABILITY_PREFILL (1u << 17)
#define PAGE_COUNTERS 0x40

#define PHASE 0x8000u

#define NO_PRI                                                                                     \
	"  With --accel test-engine,fault=pri the kernel must handle page requests (PRI), which\n" \
	"  needs Stallbox's patch for arm-smmu-v3 (guest-images/guest/patches)\n"

_Static_assert(sizeof(struct svatest_descriptor) == 64, "descriptor");
_Static_assert(sizeof(struct svatest_completion) == 32, "completion");

/* modules/svatest-engine/svatest_engine.h */
struct setup {
	uint64_t sq, cq;
	uint32_t ring_log2, depth, access_log2, interval_ns, rate, queue;
};
#define SET_QUEUE _IOWR('W', 16, struct setup)

/* The rings, which are memory, against the doorbell, which is a device register. */
#define write_barrier() __asm__ volatile("dsb st" ::: "memory")
#define read_barrier() __asm__ volatile("dmb oshld" ::: "memory")

static int complain(const char *what, const char *which, int err)
{
	fprintf(stderr, "%s: %s: %s\n", which, what, strerror(err));
	return -err;
}

static int find_node(char *path, size_t size)
{
	DIR *dir = opendir(CLASS);
	struct dirent *entry;
	int err = -ENODEV;

	while (dir && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, NAME, strlen(NAME)))
			continue;
		snprintf(path, size, "/dev/%s", entry->d_name);
		err = 0;
		break;
	}
	if (dir)
		closedir(dir);
	return err;
}

static bool function_is_there(void)
{
	DIR *dir = opendir(PCI);
	struct dirent *entry;
	bool found = false;

	while (dir && !found && (entry = readdir(dir))) {
		char path[320], vendor[16] = "";
		int fd;

		snprintf(path, sizeof(path), PCI "/%s/vendor", entry->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (read(fd, vendor, sizeof(vendor) - 1) > 0)
			found = !strncmp(vendor, VENDOR, strlen(VENDOR));
		close(fd);
	}
	if (dir)
		closedir(dir);
	return found;
}

static int load(const char *module)
{
	int fd = open(module, O_RDONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return complain("cannot open the driver", module, errno);
	if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)
		err = complain("cannot load the driver", module, errno);
	close(fd);
	return err;
}

int svatest_find(const char *module, char *path, size_t size)
{
	int err = find_node(path, size);

	if (!err)
		return 0;
	if (!function_is_there()) {
		fprintf(stderr, "svatest: there is no test engine in this machine; start it with "
				"stallbox run --accel test-engine\n");
		return -ENODEV;
	}
	err = load(module);
	if (err)
		return err;
	err = find_node(path, size);
	if (!err)
		return 0;
	fprintf(stderr,
		"svatest: the driver is loaded but does not offer the engine: dmesg says why\n" NO_PRI);
	return -EOPNOTSUPP;
}

static void *fresh(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

int svatest_open(struct svatest_queue *q, const char *path, const struct svatest_config *config)
{
	size_t entries = (size_t)1 << config->ring_log2;
	struct setup setup = {
		.ring_log2 = config->ring_log2,
		.depth = config->depth,
		.access_log2 = config->access_log2,
		.interval_ns = config->interval_ns,
		.rate = config->rate,
	};
	void *page;
	int err;

	memset(q, 0, sizeof(*q));
	q->entries = (unsigned)entries;
	q->ring_log2 = config->ring_log2;
	q->fd = open(path, O_RDWR | O_CLOEXEC);
	if (q->fd < 0)
		return complain("cannot open", path, errno);
	/* Both rings in one piece, which the completion ring follows in. */
	q->ring_bytes = entries * (sizeof(*q->sq) + sizeof(*q->cq));
	q->sq = fresh(q->ring_bytes);
	if (!q->sq) {
		err = complain("no memory for rings", path, ENOMEM);
		goto fail;
	}
	q->cq = (volatile struct svatest_completion *)(q->sq + entries);
	if (config->touch_rings)
		memset(q->sq, 0, q->ring_bytes);
	setup.sq = (uintptr_t)q->sq;
	setup.cq = (uintptr_t)q->cq;
	if (ioctl(q->fd, SET_QUEUE, &setup) < 0) {
		err = complain("cannot set the queue up", path, errno);
		goto fail;
	}
	q->number = setup.queue;
	page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, q->fd, 0);
	if (page == MAP_FAILED) {
		err = complain("cannot map the doorbells", path, errno);
		goto fail;
	}
	q->page = page;
	if (ioctl(q->fd, UACCE_CMD_START_Q) < 0) {
		err = complain("cannot start the queue", path, errno);
		if (err == -EOPNOTSUPP)
			fprintf(stderr, NO_PRI);
		goto fail;
	}
	return 0;

fail:
	svatest_close(q);
	return err;
}

void svatest_close(struct svatest_queue *q)
{
	if (q->fd < 0)
		return;
	if (q->page)
		munmap((void *)q->page, PAGE_BYTES);
	close(q->fd);
	/* After the queue has drained: the device writes into them. */
	if (q->sq)
		munmap(q->sq, q->ring_bytes);
	q->fd = -1;
	q->page = NULL;
	q->sq = NULL;
}

static uint32_t page_read(const struct svatest_queue *q, unsigned offset)
{
	return *(volatile uint32_t *)(q->page + offset);
}

static void page_write(struct svatest_queue *q, unsigned offset, uint32_t value)
{
	*(volatile uint32_t *)(q->page + offset) = value;
}

bool svatest_uses_page_requests(const struct svatest_queue *q)
{
	return page_read(q, PAGE_CAPABILITY) & CAPABILITY_PRI;
}

bool svatest_prefills(const struct svatest_queue *q)
{
	return page_read(q, PAGE_CAPABILITY) & CAPABILITY_PREFILL;
}

void svatest_counters(const struct svatest_queue *q, struct svatest_counters *counters)
{
	uint64_t *words = (uint64_t *)counters;

	for (size_t i = 0; i < sizeof(*counters) / sizeof(*words); i++)
		words[i] = *(volatile uint64_t *)(q->page + PAGE_COUNTERS + 8 * i);
}

int svatest_put(struct svatest_queue *q, const struct svatest_descriptor *d)
{
	if (q->tail - q->head >= q->entries)
		return -EBUSY;
	q->sq[q->tail % q->entries] = *d;
	q->tail++;
	return 0;
}

void svatest_ring(struct svatest_queue *q)
{
	if (q->rung == q->tail)
		return;
	write_barrier();
	page_write(q, PAGE_SQ_TAIL, q->tail);
	q->rung = q->tail;
}

bool svatest_ready(const struct svatest_queue *q)
{
	unsigned phase = (q->head >> q->ring_log2) & 1 ? 0 : PHASE;

	return (q->cq[q->head % q->entries].slot & PHASE) == phase;
}

int svatest_take(struct svatest_queue *q, struct svatest_completion *c)
{
	volatile struct svatest_completion *entry = &q->cq[q->head % q->entries];

	if (!svatest_ready(q))
		return -EAGAIN;
	/* The phase says that the rest of the entry, and the data behind it, is written. */
	read_barrier();
	*c = *(const struct svatest_completion *)entry;
	c->slot &= (uint16_t)~PHASE;
	q->head++;
	page_write(q, PAGE_CQ_HEAD, q->head);
	return 0;
}

int svatest_failure(const struct svatest_queue *q)
{
	uint32_t status = page_read(q, PAGE_STATUS);

	return status & STATUS_FAILED ? (int)(status >> STATUS_FAILURE_SHIFT & 0xff) : -1;
}

const char *svatest_failure_name(int failure)
{
	switch (failure) {
	case 1:
		return "its settings describe nothing possible";
	case 2:
		return "the submission ring could not be read";
	case 3:
		return "the completion ring could not be written";
	default:
		return "unknown";
	}
}

const char *svatest_status_name(unsigned status)
{
	switch (status) {
	case SVATEST_DONE:
		return "done";
	case SVATEST_MISMATCH:
		return "mismatch";
	case SVATEST_LIMIT:
		return "limit reached";
	case SVATEST_BAD_OPCODE:
		return "bad opcode";
	case SVATEST_RESERVED:
		return "reserved field";
	case SVATEST_BAD_LENGTH:
		return "bad length";
	case SVATEST_BAD_COUNT:
		return "bad count";
	case SVATEST_BAD_ADDRESS:
		return "bad address";
	case SVATEST_ABORTED:
		return "access aborted";
	case SVATEST_NO_ATOMICS:
		return "atomics disabled";
	default:
		return "unknown";
	}
}
