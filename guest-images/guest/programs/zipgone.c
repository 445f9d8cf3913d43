// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * zipgone: what the accelerator works on goes away under it, one case at a time: memory, the
 * process, the queue that it works for.
 *
 * Each case prints one line, "CASE: ok ..." or "CASE: FAILED ...", and says the same with its exit
 * status. Where the kernel keeps the SMMU informed, all are ok: a request for memory that is gone
 * ends in an error. Where it does not, the device gets at memory that is somebody else's by now.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cases.h"
#include "options.h"
#include "programs.h"
#include "zip.h"

#define PAGE 4096u

struct options {
	const char *device;
	unsigned rounds;
};

/* What does not compress: as many pages are written as are read. */
static void noise(uint8_t *at, size_t bytes, uint32_t seed)
{
	uint32_t x = seed * 2654435761u + 1;

	for (size_t i = 0; i < bytes; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		at[i] = (uint8_t)(x >> 11);
	}
}

static struct zip_request request(const void *source, size_t bytes, void *destination)
{
	return (struct zip_request){
		.algorithm = ZIP_ZLIB,
		.source = source,
		.source_bytes = bytes,
		.destination = destination,
		.room = ZIP_ROOM(bytes),
		.tag = 0x5a,
	};
}

/* Where no program and no library has anything: the same address in each process. */
#define ADDRESS ((void *)0x600000000000ull)

static uint8_t *map_at(void *address, size_t bytes)
{
	void *at = mmap(address, bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (at == MAP_FAILED || at != address)
		return NULL;
	/* Each page by itself. */
	madvise(at, bytes, MADV_NOHUGEPAGE);
	return at;
}

/* Lets the device write, and so know, the memory at `destination`. */
static int get_known(struct qm_queue *q, const uint8_t *source, size_t bytes, void *destination)
{
	struct zip_request job = request(source, bytes, destination);
	struct zip_sqe done;
	int err = zip_run(q, &job, &done);

	if (err || !zip_good(&done))
		return failed("a good request: %s, status 0x%02x",
			      err ? strerror(-err) : "completed", err ? 0 : zip_status(&done));
	return 0;
}

/* The same again must end in an error: 1 if it does, 0 if the device got through. */
static int is_refused(struct qm_queue *q, const uint8_t *source, size_t bytes, void *destination)
{
	struct zip_request job = request(source, bytes, destination);
	struct zip_sqe done;
	int err = zip_run(q, &job, &done);

	if (err)
		return failed("a request for memory that is gone: %s",
			      err == -ETIMEDOUT ? "never completed" : strerror(-err));
	return !zip_good(&done);
}

/*
 * Closing the queue makes the kernel forget all that the SMMU knows of this process. What was to be
 * told before that gets its time first, so that "late" can be told from "never".
 */
static void settle(void)
{
	usleep(20000);
}

static int after_unmap(const struct options *o)
{
	enum { BYTES = 8 * PAGE };
	uint8_t *source = fresh_pages(BYTES);
	uint8_t *target = fresh_pages(ZIP_ROOM(BYTES));
	struct qm_queue q;
	int err;

	if (!source || !target)
		return failed("no memory");
	noise(source, BYTES, 1);
	if (qm_open(&q, o->device, QM_COMPRESS, QM_BUSY) < 0)
		return failed("cannot open a queue");
	err = get_known(&q, source, BYTES, target);
	munmap(target, ZIP_ROOM(BYTES));
	/* From the beginning, and from the middle: a kernel may think of one page only. */
	for (unsigned i = 0; i < 2 && err >= 0; i++) {
		err = is_refused(&q, source, BYTES / 4, target + i * BYTES / 2);
		if (err == 0)
			err = failed("the device wrote to memory that was unmapped");
	}
	settle();
	qm_close(&q);
	munmap(source, BYTES);
	return err < 0 ? -1 : passed("refused");
}

static int under_unmap(const struct options *o)
{
	enum { BYTES = 32 * PAGE, REQUESTS = 4 };
	uint8_t *source = fresh_pages(BYTES);
	unsigned refused = 0;
	struct qm_queue q;

	if (!source)
		return failed("no memory");
	noise(source, BYTES, 2);
	if (qm_open(&q, o->device, QM_COMPRESS, QM_BUSY) < 0)
		return failed("cannot open a queue");
	for (unsigned round = 0; round < o->rounds; round++) {
		uint8_t *target = fresh_pages(ZIP_ROOM(BYTES));
		struct zip_request job = request(source, BYTES, target);
		struct zip_sqe sqe;

		if (!target)
			return failed("no memory");
		if (get_known(&q, source, BYTES, target))
			return -1;
		/* A new queue entry each, so that they follow each other without a pause. */
		zip_fill(&sqe, &q, &job);
		for (unsigned i = 0; i < REQUESTS; i++)
			if (qm_put(&q, &sqe) < 0)
				return failed("the queue takes no more");
		qm_ring(&q);
		/* From at once to well into the work, at uneven distances. */
		for (volatile unsigned spin = 0; spin < round * 37 % 64 * 1000; spin++)
			;
		munmap(target, ZIP_ROOM(BYTES));
		for (unsigned i = 0; i < REQUESTS; i++) {
			int err = qm_wait(&q, &sqe, ZIP_TIMEOUT_MS);

			if (err)
				return failed("round %u: %s", round,
					      err == -ETIMEDOUT ? "never completed" :
								  strerror(-err));
			refused += !zip_good(&sqe);
		}
	}
	settle();
	qm_close(&q);
	munmap(source, BYTES);
	return passed("%u rounds, %u of %u requests refused", o->rounds, refused,
		      o->rounds * REQUESTS);
}

/* Two processes in turn: one byte is "your turn". Without it, the other one has failed. */
static int await(int from)
{
	char byte;

	return read(from, &byte, 1) == 1 ? 0 : -1;
}

static void your_turn(int to)
{
	if (write(to, "t", 1) != 1)
		_exit(1);
}

enum { OWN_BYTES = 16 * PAGE };

/* The other process: its device writes to pages that come fresh from the kernel. */
static int other_side(const struct options *o, int from, int to)
{
	uint8_t *source = fresh_pages(OWN_BYTES);
	uint8_t *target = map_at(ADDRESS, ZIP_ROOM(OWN_BYTES));
	uint8_t *copy = fresh_pages(ZIP_ROOM(OWN_BYTES));
	struct qm_queue q;
	int err;

	if (!source || !target || !copy)
		return failed("no memory");
	noise(source, OWN_BYTES, 4);
	/* Present already, so that the fresh pages are all the target's. */
	memset(copy, 1, ZIP_ROOM(OWN_BYTES));
	if (qm_open(&q, o->device, QM_COMPRESS, QM_BUSY) < 0)
		return failed("cannot open a queue");
	your_turn(to);
	err = await(from);
	if (!err)
		err = get_known(&q, source, OWN_BYTES, target);
	if (!err) {
		memcpy(copy, target, ZIP_ROOM(OWN_BYTES));
		your_turn(to);
		err = await(from);
	}
	if (!err && memcmp(copy, target, ZIP_ROOM(OWN_BYTES)))
		err = failed("another process's device wrote to this one's memory");
	qm_close(&q);
	return err;
}

static int other_process(const struct options *o)
{
	int there[2], back[2], status, err;
	uint8_t *source, *target;
	struct qm_queue q;
	pid_t child;

	if (pipe(there) < 0 || pipe(back) < 0)
		return failed("pipe: %s", strerror(errno));
	/* Before any queue is open: a queue belongs to the memory of the process that opened it. */
	child = fork();
	if (child < 0)
		return failed("fork: %s", strerror(errno));
	if (child == 0) {
		close(there[1]);
		close(back[0]);
		_exit(other_side(o, there[0], back[1]) ? 1 : 0);
	}
	close(there[0]);
	close(back[1]);
	source = fresh_pages(OWN_BYTES);
	target = fresh_pages(ZIP_ROOM(OWN_BYTES));
	if (!source || !target)
		return failed("no memory");
	noise(source, OWN_BYTES, 3);
	if (qm_open(&q, o->device, QM_COMPRESS, QM_BUSY) < 0)
		return failed("cannot open a queue");
	err = get_known(&q, source, OWN_BYTES, target);
	if (!err)
		err = await(back[0]);
	if (!err) {
		/* What was last given back is what the other one gets first. */
		munmap(target, ZIP_ROOM(OWN_BYTES));
		your_turn(there[1]);
		err = await(back[0]);
	}
	if (!err) {
		err = is_refused(&q, source, OWN_BYTES, target);
		if (err == 0)
			err = failed("the device wrote to memory that was unmapped");
		else if (err > 0)
			err = 0;
		your_turn(there[1]);
	}
	settle();
	/* If this one has failed, this is what tells the other. */
	close(there[1]);
	close(back[0]);
	qm_close(&q);
	munmap(source, OWN_BYTES);
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status))
		return -1; /* it has printed why */
	return err ? -1 : passed("refused, and the other process's memory is as it was");
}

static int first_of_two(const struct options *o)
{
	uint8_t *source = fresh_pages(OWN_BYTES);
	uint8_t *target = map_at(ADDRESS, ZIP_ROOM(OWN_BYTES));
	struct qm_queue q;

	if (!source || !target)
		return failed("no memory");
	noise(source, OWN_BYTES, 5);
	if (qm_open(&q, o->device, QM_COMPRESS, QM_BUSY) < 0)
		return failed("cannot open a queue");
	/* The queue goes with the process. */
	return get_known(&q, source, OWN_BYTES, target);
}

static int second_of_two(const struct options *o)
{
	uint8_t *source = fresh_pages(OWN_BYTES);
	struct qm_queue q;
	int err;

	if (!source)
		return failed("no memory");
	noise(source, OWN_BYTES, 6);
	if (qm_open(&q, o->device, QM_COMPRESS, QM_BUSY) < 0)
		return failed("cannot open a queue");
	err = is_refused(&q, source, OWN_BYTES, ADDRESS);
	if (err == 0)
		err = failed("the device wrote where this process has nothing");
	settle();
	qm_close(&q);
	return err < 0 ? -1 : 0;
}

static int next_process(const struct options *o)
{
	int (*const sides[])(const struct options *o) = { first_of_two, second_of_two };
	int status;

	for (unsigned i = 0; i < 2; i++) {
		pid_t child = fork();

		if (child < 0)
			return failed("fork: %s", strerror(errno));
		if (child == 0)
			_exit(sides[i](o) ? 1 : 0);
		if (waitpid(child, &status, 0) != child || !WIFEXITED(status) ||
		    WEXITSTATUS(status))
			return -1; /* it has printed why */
	}
	return passed("refused");
}

/* The other process: opens a queue while the one of the first is being closed. */
static int heir(const struct options *o, int from)
{
	uint8_t *own = map_at(ADDRESS, ZIP_ROOM(OWN_BYTES));
	struct qm_queue q;
	int err = 0;

	if (!own)
		return failed("no memory");
	memset(own, 0x5a, ZIP_ROOM(OWN_BYTES));
	if (await(from))
		return -1; /* it has printed why */
	/* It is about to close its queue, which waits for the device. */
	usleep(2000);
	if (qm_open(&q, o->device, QM_COMPRESS, QM_BUSY) < 0)
		return failed("cannot open a queue");
	settle();
	for (size_t i = 0; !err && i < ZIP_ROOM(OWN_BYTES); i++)
		if (own[i] != 0x5a)
			err = failed("another process's device wrote to this one's memory");
	qm_close(&q);
	return err;
}

static int next_owner(const struct options *o)
{
	/* Present, and inherited: both can be read from. */
	uint8_t *source = fresh_pages(OWN_BYTES), *target;
	struct zip_request job;
	struct zip_sqe sqe;
	struct qm_queue q;
	int there[2], status;
	pid_t child;

	if (!source)
		return failed("no memory");
	noise(source, OWN_BYTES, 8);
	if (pipe(there) < 0)
		return failed("pipe: %s", strerror(errno));
	child = fork();
	if (child < 0)
		return failed("fork: %s", strerror(errno));
	if (child == 0) {
		close(there[1]);
		_exit(heir(o, there[0]) ? 1 : 0);
	}
	close(there[0]);
	target = map_at(ADDRESS, ZIP_ROOM(OWN_BYTES));
	if (!target)
		return failed("no memory");
	if (qm_open(&q, o->device, QM_COMPRESS, QM_BUSY) < 0)
		return failed("cannot open a queue");
	job = request(source, OWN_BYTES, target);
	zip_fill(&sqe, &q, &job);
	if (qm_send(&q, &sqe) < 0)
		return failed("the queue takes no more");
	/* Until the device is at a page that is not there. Its record may be late. */
	usleep(5000);
	your_turn(there[1]);
	qm_close(&q);
	close(there[1]);
	munmap(source, OWN_BYTES);
	munmap(target, ZIP_ROOM(OWN_BYTES));
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status))
		return -1; /* it has printed why */
	return passed("the other process's memory is as it was");
}

static int under_close(const struct options *o)
{
	enum { BYTES = 64 * PAGE, REQUESTS = 8 };
	uint8_t *source = fresh_pages(BYTES);

	if (!source)
		return failed("no memory");
	noise(source, BYTES, 7);
	for (unsigned round = 0; round < o->rounds; round++) {
		uint8_t *target = fresh_pages(REQUESTS * ZIP_ROOM(BYTES));
		struct qm_queue q;

		if (!target)
			return failed("no memory");
		if (qm_open(&q, o->device, QM_COMPRESS, QM_BUSY) < 0)
			return failed("round %u: cannot open a queue", round);
		for (unsigned i = 0; i < REQUESTS; i++) {
			struct zip_request job =
				request(source, BYTES, target + i * ZIP_ROOM(BYTES));
			struct zip_sqe sqe;

			zip_fill(&sqe, &q, &job);
			if (qm_put(&q, &sqe) < 0)
				return failed("the queue takes no more");
		}
		qm_ring(&q);
		for (volatile unsigned spin = 0; spin < round * 37 % 64 * 1000; spin++)
			;
		qm_close(&q);
		munmap(target, REQUESTS * ZIP_ROOM(BYTES));
	}
	munmap(source, BYTES);
	return passed("%u rounds", o->rounds);
}

static const struct test_case cases[] = {
	{ EXPLAINED("after-unmap", "a pointer that the device knows, after munmap"), after_unmap },
	{ EXPLAINED("under-unmap", "munmap while the device writes there"), under_unmap },
	{ EXPLAINED("other-process", "the memory has become that of another process with a queue"),
	  other_process },
	{ EXPLAINED("next-process", "the pointer of a process that has ended, in the next one"),
	  next_process },
	{ EXPLAINED("next-owner", "a queue closed under its job, while another process opens one"),
	  next_owner },
	{ EXPLAINED("under-close", "queues closed while their pages fault"), under_close },
	{ EXPLAINED("all", "one after the other"), NULL },
};

static const struct word *case_at(unsigned index)
{
	return index < sizeof(cases) / sizeof(cases[0]) ? &cases[index].word : NULL;
}

static const struct option_row rows[] = {
	NUMBER("rounds", rounds, 1, UINT_MAX, 64, "how often under-unmap and under-close do it"),
	TEXT("device", device, "PATH", QM_DEFAULT_DEVICE, "queue device"),
};

static const struct program program = {
	.name = "zipgone",
	.operand = "case",
	.operands = case_at,
	.rows = rows,
	.row_count = sizeof(rows) / sizeof(rows[0]),
	.closing = "Exit status: 0 ok, 1 failed, 2 wrong usage.\n",
};

int zipgone_main(int argc, char **argv)
{
	struct options o;
	const int wanted = options_parse(&program, argc, argv, &o);

	if (wanted < 0)
		return EXIT_USAGE;
	return run_cases(cases, sizeof(cases) / sizeof(cases[0]), (size_t)wanted, &o);
}
