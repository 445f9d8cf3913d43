// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* pintest: ranges, limits and counts, without the device. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pintest.h"
#include "timing.h"
#include "zip.h"

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
		return failed(
			"second pin of %d pages: %s (EEXIST is right), unpin: %s; after close "
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
			return failed(
				"hole at the %s of %d pages: %s (EFAULT is right); after close "
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

static int big(const struct options *o)
{
	int64_t before = pin_count(), pages = (int64_t)(o->big_bytes / PAGE);
	uint8_t *at = fresh_pages(o->big_bytes);
	uint64_t start, took, unpin;
	struct pinner p;

	if (!at)
		return failed("no %zu bytes", o->big_bytes);
	if (open_pinner(o, &p))
		return -1;
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
	return passed("%" PRId64 " pages, pin %" PRIu64 " us, unpin %" PRIu64 " us", pages,
		      took / 1000, unpin / 1000);
}

const struct pintest_case pintest_rules[] = {
	{ EXPLAINED("limit", "more than RLIMIT_MEMLOCK allows, without CAP_IPC_LOCK"), limit,
	  true },
	{ EXPLAINED("duplicate", "the same range twice"), duplicate, true },
	{ EXPLAINED("partial", "a range of which a part is not mapped"), partial, true },
	{ EXPLAINED("zero", "a range of no bytes"), zero, true },
	{ EXPLAINED("wrap", "a range past the last address"), wrap, true },
	{ EXPLAINED("overlap", "ranges that share pages"), overlap, false },
	{ EXPLAINED("kernel", "addresses that are not the process's"), kernel, false },
	{ EXPLAINED("readonly", "memory that may not be written"), readonly, false },
	{ EXPLAINED("unknown", "unpin what is not pinned, or not so"), unknown, false },
	{ EXPLAINED("calls", "calls that make no sense"), calls, false },
	{ EXPLAINED("two-files", "the same page through two open files"), two_files, false },
	{ EXPLAINED("munmap", "pin, then unmap"), unmap, false },
	{ EXPLAINED("big", "many pages: see --bytes"), big, false },
	{},
};
