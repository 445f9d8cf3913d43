// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * pintest: what the interfaces that pin memory promise, and what they must refuse.
 *
 * Each case runs in a process of its own and prints one line, "CASE: ok ..." or "CASE: FAILED ...",
 * with its evidence: what the calls returned, how many pages the kernel counts as pinned
 * (nr_foll_pin_acquired less nr_foll_pin_released), free memory, VmLck and VmPin, and IO page faults.
 * The cases from `limit` to `wrap` are the faults of /dev/uacce_ctrl as it was first posted.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faultcount.h"
#include "pin.h"
#include "programs.h"
#include "timing.h"
#include "zip.h"

#define PAGE ((uint64_t)4096)

static const char usage[] =
	"usage: pintest CASE [options]\n"
	"  limit       more than RLIMIT_MEMLOCK allows, without CAP_IPC_LOCK\n"
	"  duplicate   the same range twice\n"
	"  partial     a range of which a part is not mapped\n"
	"  zero        a range of no bytes\n"
	"  wrap        a range past the last address\n"
	"  faults      all of these, the faults of the first proposal\n"
	"  overlap     ranges that share pages\n"
	"  kernel      addresses that are not the process's\n"
	"  readonly    memory that may not be written\n"
	"  unknown     unpin what is not pinned, or not so\n"
	"  calls       calls that make no sense\n"
	"  two-files   the same page through two open files\n"
	"  munmap      pin, then unmap\n"
	"  fork        pin, then fork: the device works on, the child is refused\n"
	"  kill        the process is killed\n"
	"  dma         pinned memory takes no IO page fault; unpinned under DMA, the data is right\n"
	"  big         many pages: see --bytes\n"
	"  all         one after the other\n"
	"options:\n"
	"  --via NAME     uacce_ctrl or mempinfd (uacce_ctrl)\n"
	"  --bytes N      bytes of `big` (67108864)\n"
	"  --device PATH  queue device (" QM_DEFAULT_DEVICE ")\n"
	"Exit status: 0 ok, 1 failed, 2 wrong usage.\n";

struct options {
	enum pin_interface interface;
	uint64_t big_bytes;
	const char *device;
};

static const char *current;

__attribute__((format(printf, 1, 2))) static int failed(const char *format, ...)
{
	va_list args;

	printf("%s: FAILED: ", current);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	return -1;
}

__attribute__((format(printf, 1, 2))) static int passed(const char *format, ...)
{
	va_list args;

	printf("%s: ok ", current);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	return 0;
}

/* What a call returned, for people. Four at a time is enough for one message. */
static const char *told(int result)
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

static int64_t locked_pages(void)
{
	return kilobytes("/proc/self/status", "VmLck") / 4;
}

static int64_t pinned_pages(void)
{
	return kilobytes("/proc/self/status", "VmPin") / 4;
}

/* Free memory: MemFree, and what each CPU keeps on its own list, as freed pages first are. */
static int64_t free_pages(void)
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

static int open_pinner(const struct options *o, struct pinner *p)
{
	int err = pin_open(p, o->interface);

	if (err)
		pin_complain(o->interface, err);
	return err ? failed("no way to pin") : 0;
}

/* A call that must give `wanted`. */
static int must(const char *what, int got, int wanted)
{
	if (got == wanted)
		return 0;
	return failed("%s: %s instead of %s", what, told(got), told(wanted));
}

static int counted(const char *what, int64_t got, int64_t wanted)
{
	if (got == wanted)
		return 0;
	return failed("%s: %" PRId64 " pages are pinned instead of %" PRId64, what, got, wanted);
}

static int limit(const struct options *o)
{
	enum { PAGES = 64 };
	const struct rlimit memlock = { PAGES * PAGE, PAGES * PAGE };
	uint8_t *at = fresh_pages(2 * PAGES * PAGE);
	struct pinner p, late;
	int64_t locked;
	int over;

	/* Before the privileges go: the device's file as posted belongs to root. */
	if (!at || open_pinner(o, &p))
		return -1;
	if (setrlimit(RLIMIT_MEMLOCK, &memlock) || setgid(1000) || setuid(1000))
		return failed("cannot drop privileges: %s", strerror(errno));
	over = pin_range(&p, at, (PAGES + 1) * PAGE);
	if (over != -ENOMEM)
		return failed("%d pages with a limit of %d: %s instead of ENOMEM; VmLck %" PRId64
			      " pages, VmPin %" PRId64,
			      PAGES + 1, PAGES, told(over), locked_pages(), pinned_pages());
	if (must("up to the limit", pin_range(&p, at, PAGES * PAGE), 0))
		return -1;
	locked = locked_pages();
	if (locked != PAGES || pinned_pages() != PAGES)
		return failed("VmLck is %" PRId64 " pages, VmPin %" PRId64 "; %d are pinned",
			      locked, pinned_pages(), PAGES);
	if (must("one more", pin_range(&p, at + PAGES * PAGE, PAGE), -ENOMEM) ||
	    must("mlock beside it", mlock(at + PAGES * PAGE, PAGE) ? -errno : 0, -ENOMEM) ||
	    must("unpin", unpin_range(&p, at, PAGES * PAGE), 0))
		return -1;
	if (locked_pages() != 0 || pinned_pages() != 0)
		return failed("VmLck is still %" PRId64 " pages after unpin", locked_pages());
	if (must("again", pin_range(&p, at, PAGES * PAGE), 0))
		return -1;
	pin_close(&p);
	if (locked_pages() != 0 || pinned_pages() != 0)
		return failed("VmLck is still %" PRId64 " pages after close", locked_pages());
	if (o->interface == PIN_MEMPINFD) {
		const struct rlimit none = { 0, 0 };
		int err;

		if (setrlimit(RLIMIT_MEMLOCK, &none))
			return failed("setrlimit: %s", strerror(errno));
		err = pin_open(&late, o->interface);
		if (must("mempinfd with a limit of 0", err, -EPERM))
			return -1;
	}
	return passed("%d pages at most, VmLck and VmPin follow", PAGES);
}

static int duplicate(const struct options *o)
{
	enum { PAGES = 4096 };
	uint8_t *at = fresh_pages(PAGES * PAGE);
	int64_t before = pin_count(), free_before = free_pages(), left, fell;
	struct pinner p;
	int second, unpinned;

	if (!at || open_pinner(o, &p))
		return -1;
	if (must("first pin", pin_range(&p, at, PAGES * PAGE), 0))
		return -1;
	second = pin_range(&p, at, PAGES * PAGE);
	unpinned = unpin_range(&p, at, PAGES * PAGE);
	pin_close(&p);
	munmap(at, PAGES * PAGE);
	left = pin_count() - before;
	fell = free_before - free_pages();
	if (second != -EEXIST || unpinned != 0 || left != 0 || fell > PAGES / 2)
		return failed("second pin of %d pages: %s (EEXIST is right), unpin: %s; after close "
			      "%" PRId64 " pages are pinned, %" PRId64 " fewer are free",
			      PAGES, told(second), told(unpinned), left, fell);
	return passed("EEXIST, nothing is pinned after close, and all memory is free again");
}

static int partial(const struct options *o)
{
	enum { PAGES = 4096 };
	static const struct {
		const char *what;
		unsigned page;
	} holes[] = { { "start", 0 }, { "middle", PAGES / 2 }, { "end", PAGES - 1 } };
	int64_t before = pin_count();

	for (unsigned i = 0; i < sizeof(holes) / sizeof(holes[0]); i++) {
		uint8_t *at = fresh_pages(PAGES * PAGE);
		int64_t free_before = free_pages(), left, fell;
		struct pinner p;
		int result;

		if (!at || open_pinner(o, &p))
			return -1;
		munmap(at + holes[i].page * PAGE, PAGE);
		result = pin_range(&p, at, PAGES * PAGE);
		pin_close(&p);
		munmap(at, PAGES * PAGE);
		left = pin_count() - before;
		fell = free_before - free_pages();
		if (result != -EFAULT || left != 0 || fell > PAGES / 4)
			return failed("hole at the %s of %d pages: %s (EFAULT is right); after close "
				      "%" PRId64 " pages are pinned, %" PRId64 " fewer are free",
				      holes[i].what, PAGES, told(result), left, fell);
	}
	return passed("EFAULT with a hole at the start, the middle, the end; nothing stays pinned");
}

static int zero(const struct options *o)
{
	uint8_t *at = fresh_pages(PAGE);
	int64_t before = pin_count(), now;
	int inside, aligned, unpinned;
	struct pinner p;

	if (!at || open_pinner(o, &p))
		return -1;
	inside = pin_range(&p, at + 5, 0);
	now = pin_count() - before;
	aligned = pin_range(&p, at, 0);
	unpinned = unpin_range(&p, at, 0);
	if (inside != -EINVAL || aligned != -EINVAL || unpinned != -EINVAL || now != 0)
		return failed("0 bytes inside a page: %s, and %" PRId64
			      " pages are pinned; at its start: %s; unpin: %s; instead of EINVAL",
			      told(inside), now, told(aligned), told(unpinned));
	pin_close(&p);
	return passed("EINVAL");
}

static int wrap(const struct options *o)
{
	uint8_t *at = fresh_pages(2 * PAGE);
	int64_t before = pin_count();
	struct pinner p;

	if (!at || open_pinner(o, &p))
		return -1;
	const struct {
		const char *what;
		uint64_t addr, size;
	} ranges[] = {
		{ "to address 0", (uintptr_t)at, -(uint64_t)(uintptr_t)at },
		{ "past 0", (uintptr_t)at, PAGE - (uint64_t)(uintptr_t)at },
		{ "to itself", (uintptr_t)at + PAGE, -PAGE },
		{ "one byte less than all", (uintptr_t)at, UINT64_MAX },
		{ "the last page", -PAGE, 2 * PAGE },
	};
	for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		const void *addr = (void *)(uintptr_t)ranges[i].addr;

		if (must(ranges[i].what, pin_range(&p, addr, ranges[i].size), -EINVAL) ||
		    must(ranges[i].what, unpin_range(&p, addr, ranges[i].size), -EINVAL))
			return -1;
	}
	if (counted("nothing", pin_count() - before, 0))
		return -1;
	pin_close(&p);
	return passed("EINVAL for %zu ranges", sizeof(ranges) / sizeof(ranges[0]));
}

static int overlap(const struct options *o)
{
	uint8_t *at = fresh_pages(16 * PAGE);
	int64_t before = pin_count();
	struct pinner p;

	if (!at || open_pinner(o, &p))
		return -1;
	/* Bytes 1 to 4 pages + 1 touch pages 4 to 8. */
	if (must("pages 4 to 8", pin_range(&p, at + 4 * PAGE + 1, 4 * PAGE), 0) ||
	    must("its first page", pin_range(&p, at + 3 * PAGE, 2 * PAGE), -EEXIST) ||
	    must("its last byte's page", pin_range(&p, at + 8 * PAGE + 9, 1), -EEXIST) ||
	    must("all around", pin_range(&p, at, 16 * PAGE), -EEXIST) ||
	    must("within", pin_range(&p, at + 5 * PAGE, PAGE), -EEXIST) ||
	    must("before", pin_range(&p, at, 4 * PAGE), 0) ||
	    must("behind", pin_range(&p, at + 9 * PAGE, 7 * PAGE), 0) ||
	    counted("three ranges", pin_count() - before, 16))
		return -1;
	/* Any bytes that touch the same pages name the range. */
	if (must("unpin by pages", unpin_range(&p, at + 4 * PAGE, 5 * PAGE), 0) ||
	    counted("two ranges", pin_count() - before, 11) ||
	    must("its pages again", pin_range(&p, at + 5 * PAGE, 2 * PAGE), 0))
		return -1;
	pin_close(&p);
	if (counted("after close", pin_count() - before, 0))
		return -1;
	return passed("EEXIST where ranges share a page, neighbours are independent");
}

static int kernel(const struct options *o)
{
	static const struct {
		const char *what;
		uint64_t addr, size;
	} ranges[] = {
		{ "the kernel's image", 0xffff800080000000, PAGE },
		{ "the kernel's memory", 0xffff000000000000, PAGE },
		{ "beyond the process's half", 0x0001000000000000, PAGE },
		{ "across its end", 0x0000fffffffff000, 2 * PAGE },
		{ "page 0", 0, PAGE },
		{ "all of it", PAGE, 0x0000ffffffff0000 },
	};
	int64_t before = pin_count();
	struct pinner p;

	if (open_pinner(o, &p))
		return -1;
	for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		int result = pin_range(&p, (void *)(uintptr_t)ranges[i].addr, ranges[i].size);

		/* More pages than there is memory for: the list of them comes first. */
		if (result != -ENOMEM || ranges[i].size < 1ull << 40)
			if (must(ranges[i].what, result, -EFAULT))
				return -1;
	}
	if (counted("nothing", pin_count() - before, 0))
		return -1;
	pin_close(&p);
	return passed("EFAULT for %zu ranges", sizeof(ranges) / sizeof(ranges[0]));
}

static int readonly(const struct options *o)
{
	uint8_t *written = fresh_pages(4 * PAGE);
	uint8_t *untouched = fresh_pages(4 * PAGE);
	uint8_t *mixed = fresh_pages(4 * PAGE);
	uint8_t *none = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int64_t before = pin_count();
	struct pinner p;

	if (!written || !untouched || !mixed || none == MAP_FAILED || open_pinner(o, &p))
		return -1;
	memset(written, 0x55, 4 * PAGE);
	if (mprotect(written, 4 * PAGE, PROT_READ) || mprotect(untouched, 4 * PAGE, PROT_READ) ||
	    mprotect(mixed + PAGE, 2 * PAGE, PROT_READ))
		return failed("mprotect: %s", strerror(errno));
	if (must("written before", pin_range(&p, written, 4 * PAGE), 0) ||
	    must("never touched", pin_range(&p, untouched, 4 * PAGE), 0) ||
	    must("in the middle", pin_range(&p, mixed, 4 * PAGE), 0) ||
	    must("without any right", pin_range(&p, none, PAGE), -EFAULT) ||
	    must("program text", pin_range(&p, (void *)((uintptr_t)readonly & -PAGE), PAGE), 0))
		return -1;
	for (unsigned i = 0; i < 4 * PAGE; i++)
		if (written[i] != 0x55 || untouched[i] != 0)
			return failed("byte %u changed", i);
	if (counted("four ranges", pin_count() - before, 13))
		return -1;
	pin_close(&p);
	if (counted("after close", pin_count() - before, 0))
		return -1;
	return passed("pinned for reading; EFAULT without any right");
}

static int unknown(const struct options *o)
{
	uint8_t *at = fresh_pages(8 * PAGE);
	int64_t before = pin_count();
	struct pinner p;

	if (!at || open_pinner(o, &p))
		return -1;
	if (must("never pinned", unpin_range(&p, at, 8 * PAGE), -ENODEV) ||
	    must("pin", pin_range(&p, at, 8 * PAGE), 0) ||
	    must("shorter", unpin_range(&p, at, 7 * PAGE), -EINVAL) ||
	    must("longer", unpin_range(&p, at, 9 * PAGE), -EINVAL) ||
	    must("from within", unpin_range(&p, at + PAGE, 7 * PAGE), -ENODEV) ||
	    counted("all this time", pin_count() - before, 8) ||
	    must("as pinned", unpin_range(&p, at, 8 * PAGE), 0) ||
	    counted("unpinned", pin_count() - before, 0) ||
	    must("again", unpin_range(&p, at, 8 * PAGE), -ENODEV))
		return -1;
	pin_close(&p);
	return passed("ENODEV for another start, EINVAL for another length");
}

static int calls(const struct options *o)
{
	unsigned long pin = o->interface == PIN_UACCE_CTRL ? UACCE_CMD_PIN : MEMPIN_PIN;
	struct pinner p;
	char byte;

	if (open_pinner(o, &p))
		return -1;
	if (must("no range", ioctl(p.fd, pin, NULL) ? -errno : 0, -EFAULT) ||
	    must("a range in the kernel", ioctl(p.fd, pin, -PAGE) ? -errno : 0, -EFAULT) ||
	    must("another number", ioctl(p.fd, pin + 7, &byte) ? -errno : 0, -ENOTTY) ||
	    must("another size", ioctl(p.fd, pin + (8 << 16), &byte) ? -errno : 0, -ENOTTY) ||
	    must("read", read(p.fd, &byte, 1) < 0 ? -errno : 0, -EINVAL) ||
	    must("write", write(p.fd, "", 1) < 0 ? -errno : 0, -EINVAL))
		return -1;
	pin_close(&p);
	if (o->interface == PIN_MEMPINFD &&
	    must("unknown flags", (int)syscall(PIN_SYSCALL, 1) < 0 ? -errno : 0, -EINVAL))
		return -1;
	return passed("EFAULT, ENOTTY, EINVAL");
}

static int two_files(const struct options *o)
{
	uint8_t *at = fresh_pages(4 * PAGE);
	int64_t before = pin_count();
	struct pinner a, b;

	if (!at || open_pinner(o, &a) || open_pinner(o, &b))
		return -1;
	if (must("first file", pin_range(&a, at, 4 * PAGE), 0) ||
	    must("second file", pin_range(&b, at, 4 * PAGE), 0) ||
	    counted("both", pin_count() - before, 8) ||
	    must("unpin the first", unpin_range(&a, at, 4 * PAGE), 0) ||
	    counted("one", pin_count() - before, 4) ||
	    must("the first has none", unpin_range(&a, at, 4 * PAGE), -ENODEV))
		return -1;
	pin_close(&a);
	if (counted("the other's close", pin_count() - before, 4))
		return -1;
	pin_close(&b);
	if (counted("both closed", pin_count() - before, 0))
		return -1;
	return passed("each file's pin counts, and ends by itself");
}

static int unmap(const struct options *o)
{
	uint8_t *at = fresh_pages(8 * PAGE), *again;
	int64_t before = pin_count();
	struct pinner p;

	if (!at || open_pinner(o, &p))
		return -1;
	if (must("pin", pin_range(&p, at, 8 * PAGE), 0))
		return -1;
	munmap(at, 8 * PAGE);
	again = mmap(at, 8 * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (again != at)
		return failed("cannot map there again");
	if (counted("unmapped", pin_count() - before, 8) ||
	    must("other pages at the same address", pin_range(&p, at, 8 * PAGE), -EEXIST) ||
	    must("unpin", unpin_range(&p, at, 8 * PAGE), 0) ||
	    counted("unpinned", pin_count() - before, 0) ||
	    must("the new pages", pin_range(&p, at, 8 * PAGE), 0))
		return -1;
	munmap(at, 8 * PAGE);
	pin_close(&p);
	if (counted("closed", pin_count() - before, 0))
		return -1;
	return passed("pages stay pinned until unpin or close");
}

/* Different in each 8 bytes, and still compressible. */
static void pattern(uint8_t *at, size_t bytes, uint32_t seed)
{
	uint32_t x = seed * 2654435761u + 1;

	for (size_t i = 0; i < bytes; i++) {
		if (i % 32 == 0)
			x = x * 1664525 + 1013904223;
		at[i] = (uint8_t)(x >> (i % 8 * 3));
	}
}

/* The device's work for the cases with DMA: requests that are alike. */
enum { JOBS = 6, JOB_BYTES = 128 << 10, JOB_ROOM = JOB_BYTES + JOB_BYTES / 8 + 4096 };

struct work {
	struct qm_queue q;
	uint8_t *source, *target; /* JOBS of each */
	uint8_t *expected;
	size_t expected_bytes;
};

static int work_open(const struct options *o, struct work *w)
{
	struct zip_request request;
	struct zip_sqe done;
	int err;

	w->source = fresh_pages(JOBS * JOB_BYTES);
	w->target = fresh_pages(JOBS * JOB_ROOM);
	w->expected = fresh_pages(JOB_ROOM);
	if (!w->source || !w->target || !w->expected)
		return failed("no memory");
	for (unsigned i = 0; i < JOBS; i++)
		pattern(w->source + i * JOB_BYTES, JOB_BYTES, 5);
	if (qm_open(&w->q, o->device, QM_COMPRESS, QM_BUSY) < 0)
		return failed("cannot open a queue");
	request = (struct zip_request){
		.algorithm = ZIP_ZLIB,
		.source = w->source,
		.source_bytes = JOB_BYTES,
		.destination = w->expected,
		.room = JOB_ROOM,
	};
	err = zip_run(&w->q, &request, &done);
	if (err || !zip_good(&done))
		return failed("a request beforehand: %s", err ? strerror(-err) : "bad status");
	w->expected_bytes = done.produced;
	return 0;
}

static int work_start(struct work *w)
{
	for (unsigned i = 0; i < JOBS; i++) {
		struct zip_request request = {
			.algorithm = ZIP_ZLIB,
			.source = w->source + i * JOB_BYTES,
			.source_bytes = JOB_BYTES,
			.destination = w->target + i * JOB_ROOM,
			.room = JOB_ROOM,
			.tag = i,
		};
		struct zip_sqe sqe;
		int err;

		zip_fill(&sqe, &w->q, &request);
		err = qm_put(&w->q, &sqe);
		if (err)
			return failed("request %u: %s", i, strerror(-err));
	}
	qm_ring(&w->q);
	return 0;
}

/* All have completed, and well. */
static int work_end(struct work *w)
{
	for (unsigned i = 0; i < JOBS; i++) {
		struct zip_sqe done;
		int err = qm_wait(&w->q, &done, ZIP_TIMEOUT_MS);

		if (err || !zip_good(&done))
			return failed("request %u: %s", i, err ? strerror(-err) : "bad status");
	}
	return 0;
}

/* What they wrote, as this process sees it. */
static int work_check(const struct work *w)
{
	for (unsigned i = 0; i < JOBS; i++)
		if (memcmp(w->target + i * JOB_ROOM, w->expected, w->expected_bytes))
			return failed("request %u gave other data", i);
	return 0;
}

static int pin_work(const struct pinner *p, const struct work *w)
{
	if (must("pin the source", pin_range(p, w->source, JOBS * JOB_BYTES), 0) ||
	    must("pin the target", pin_range(p, w->target, JOBS * JOB_ROOM), 0))
		return -1;
	return 0;
}

static int unpin_work(const struct pinner *p, const struct work *w)
{
	if (must("unpin the source", unpin_range(p, w->source, JOBS * JOB_BYTES), 0) ||
	    must("unpin the target", unpin_range(p, w->target, JOBS * JOB_ROOM), 0))
		return -1;
	return 0;
}

/* A child that has a copy of everything, until it is killed. */
static pid_t bystander(const struct pinner *p, const struct work *w, int status_of_pin)
{
	pid_t child = fork();
	int got;

	if (child != 0)
		return child;
	got = pin_range(p, w->source, PAGE);
	if (got != status_of_pin) {
		failed("the child's pin: %s instead of %s", told(got), told(status_of_pin));
		_exit(1);
	}
	for (;;)
		pause();
}

static int end_bystander(pid_t child)
{
	int status;

	kill(child, SIGKILL);
	if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status))
		return failed("the child ended by itself");
	return 0;
}

static int pin_then_fork(const struct options *o)
{
	int64_t before = pin_count(), pinned, faults;
	struct pinner p;
	struct work w;
	pid_t child;

	if (open_pinner(o, &p) || work_open(o, &w) || pin_work(&p, &w))
		return -1;
	pinned = pin_count() - before;
	child = bystander(&p, &w, -EPERM);
	if (child < 0)
		return failed("fork: %s", strerror(errno));
	if (faultcount_start())
		return failed("cannot count IO page faults");
	if (work_start(&w) || work_end(&w))
		return -1;
	faults = faultcount_read();
	faultcount_stop();
	if (faults != 0)
		return failed("%" PRId64 " IO page faults on pinned memory after a fork", faults);
	if (work_check(&w) || counted("after fork", pin_count() - before, pinned))
		return -1;
	if (end_bystander(child) || counted("the child is gone", pin_count() - before, pinned) ||
	    unpin_work(&p, &w))
		return -1;
	pin_close(&p);
	qm_close(&w.q);
	if (counted("after close", pin_count() - before, 0))
		return -1;
	return passed("no IO page fault after the fork, EPERM for the child");
}

static int killed(const struct options *o)
{
	enum { PAGES = 2048 };
	int64_t before = pin_count(), during;
	int ready[2], status;
	pid_t child;
	char byte;

	if (pipe(ready))
		return failed("pipe: %s", strerror(errno));
	child = fork();
	if (child < 0)
		return failed("fork: %s", strerror(errno));
	if (child == 0) {
		uint8_t *at = fresh_pages(PAGES * PAGE);
		struct pinner p;

		if (!at || open_pinner(o, &p) ||
		    must("pin", pin_range(&p, at, PAGES / 2 * PAGE), 0) ||
		    must("pin", pin_range(&p, at + PAGES / 2 * PAGE, PAGES / 2 * PAGE), 0) ||
		    write(ready[1], "r", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		return failed("the child could not pin");
	during = pin_count() - before;
	kill(child, SIGKILL);
	if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status))
		return failed("the child ended by itself");
	if (counted("alive", during, PAGES) || counted("killed", pin_count() - before, 0))
		return -1;
	return passed("%d pages were pinned, none after SIGKILL", PAGES);
}

static int dma(const struct options *o)
{
	int64_t before = pin_count(), pinned_faults, faults;
	struct pinner p;
	struct work w;
	pid_t child;

	if (open_pinner(o, &p) || work_open(o, &w) || pin_work(&p, &w))
		return -1;
	if (faultcount_start())
		return failed("cannot count IO page faults");
	if (work_start(&w) || work_end(&w))
		return -1;
	pinned_faults = faultcount_read();
	if (work_start(&w) || unpin_work(&p, &w))
		return -1;
	/*
	 * The requests are under way. Now nothing keeps the pages, and a fork takes the right to
	 * write them: the device must fault, and its data go into this process's copies.
	 */
	child = fork();
	if (child == 0)
		for (;;)
			pause();
	if (child < 0)
		return failed("fork: %s", strerror(errno));
	if (work_end(&w) || work_check(&w))
		return -1;
	faults = faultcount_read() - pinned_faults;
	faultcount_stop();
	if (end_bystander(child))
		return -1;
	if (pinned_faults != 0)
		return failed("%" PRId64 " IO page faults on pinned memory", pinned_faults);
	if (faults <= 0)
		return failed("no IO page fault after the unpin: the requests were over too soon");
	if (counted("unpinned", pin_count() - before, 0))
		return -1;
	pin_close(&p);
	qm_close(&w.q);
	return passed("pinned: no IO page fault; unpinned under DMA: %" PRId64 ", and the data is right",
		      faults);
}

static int big(const struct options *o)
{
	int64_t before = pin_count(), pages = (int64_t)(o->big_bytes / PAGE);
	uint8_t *at = fresh_pages(o->big_bytes);
	uint64_t start, took, unpin;
	struct pinner p;

	if (!at || open_pinner(o, &p))
		return failed("no %" PRIu64 " bytes", o->big_bytes);
	start = now_ns();
	if (must("pin", pin_range(&p, at, o->big_bytes), 0))
		return -1;
	took = now_ns() - start;
	if (counted("pinned", pin_count() - before, pages))
		return -1;
	start = now_ns();
	if (must("unpin", unpin_range(&p, at, o->big_bytes), 0))
		return -1;
	unpin = now_ns() - start;
	pin_close(&p);
	if (counted("unpinned", pin_count() - before, 0))
		return -1;
	return passed("%" PRId64 " pages, pin %" PRIu64 " us, unpin %" PRIu64 " us", pages, took / 1000,
		      unpin / 1000);
}

static const struct {
	const char *name;
	int (*run)(const struct options *o);
	bool fault; /* one of the first proposal's */
} cases[] = {
	{ "limit", limit, true },
	{ "duplicate", duplicate, true },
	{ "partial", partial, true },
	{ "zero", zero, true },
	{ "wrap", wrap, true },
	{ "overlap", overlap, false },
	{ "kernel", kernel, false },
	{ "readonly", readonly, false },
	{ "unknown", unknown, false },
	{ "calls", calls, false },
	{ "two-files", two_files, false },
	{ "munmap", unmap, false },
	{ "fork", pin_then_fork, false },
	{ "kill", killed, false },
	{ "dma", dma, false },
	{ "big", big, false },
};

/* A case may lose its privileges, or be killed by what it does: it gets a process of its own. */
static int run_case(unsigned i, const struct options *o)
{
	pid_t child;
	int status;

	current = cases[i].name;
	fflush(NULL);
	child = fork();
	if (child < 0)
		return failed("fork: %s", strerror(errno));
	if (child == 0)
		exit(cases[i].run(o) ? EXIT_FAILURE : EXIT_SUCCESS);
	if (waitpid(child, &status, 0) != child)
		return failed("waitpid: %s", strerror(errno));
	if (WIFSIGNALED(status))
		return failed("killed by signal %d; see the kernel's log", WTERMSIG(status));
	return WEXITSTATUS(status) == EXIT_SUCCESS ? 0 : -1;
}

static int parse(int argc, char **argv, struct options *o)
{
	static const struct option options[] = {
		{ "via", required_argument, NULL, 'v' },
		{ "bytes", required_argument, NULL, 'b' },
		{ "device", required_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	char *end;
	int option;

	*o = (struct options){
		.interface = PIN_UACCE_CTRL,
		.big_bytes = 64 << 20,
		.device = QM_DEFAULT_DEVICE,
	};
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'v':
			if (!pin_parse_interface(optarg, &o->interface))
				return -1;
			break;
		case 'b':
			o->big_bytes = strtoull(optarg, &end, 0);
			if (*end || o->big_bytes == 0 || o->big_bytes % PAGE)
				return -1;
			break;
		case 'd':
			o->device = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(EXIT_SUCCESS);
		default:
			return -1;
		}
	}
	return optind + 1 == argc ? 0 : -1;
}

int pintest_main(int argc, char **argv)
{
	bool all, faults, found = false;
	int status = EXIT_SUCCESS;
	struct options o;

	if (parse(argc, argv, &o) < 0) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	all = !strcmp(argv[optind], "all");
	faults = !strcmp(argv[optind], "faults");
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (!all && !(faults && cases[i].fault) && strcmp(argv[optind], cases[i].name))
			continue;
		found = true;
		if (run_case(i, &o))
			status = EXIT_FAILURE;
	}
	if (!found) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	return status;
}
