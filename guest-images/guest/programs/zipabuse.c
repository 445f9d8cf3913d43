// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * zipabuse: what a hostile or unlucky process can do to the accelerator, one case at a time.
 *
 * Each case prints one line, "CASE: ok ..." or "CASE: FAILED ...", and says the same with its
 * exit status. A request that does not complete is always a failure: an access that cannot be
 * resolved must end in an error completion, never in silence.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "options.h"
#include "programs.h"
#include "timing.h"
#include "zipabuse.h"

struct zip_request zlib_request(const void *source, size_t bytes, void *destination, size_t room)
{
	return (struct zip_request){
		.algorithm = ZIP_ZLIB,
		.source = source,
		.source_bytes = bytes,
		.destination = destination,
		.room = room,
		.tag = 0xa5,
	};
}

int still_works(const struct options *o)
{
	enum { BYTES = 16384 };
	struct qm_queue compress, decompress;
	uint8_t *plain = fresh_pages(BYTES);
	uint8_t *packed = fresh_pages(ZIP_ROOM(BYTES));
	uint8_t *again = fresh_pages(BYTES);
	struct zip_request request;
	struct zip_sqe done = { 0 };
	int err;

	if (!plain || !packed || !again)
		return failed("no memory");
	case_pattern(plain, BYTES, 7);
	if (qm_open(&compress, o->device, QM_COMPRESS, QM_BUSY) < 0)
		return failed("no new compress queue afterwards");
	if (qm_open(&decompress, o->device, QM_DECOMPRESS, QM_BUSY) < 0) {
		qm_close(&compress);
		return failed("no new decompress queue afterwards");
	}
	request = zlib_request(plain, BYTES, packed, ZIP_ROOM(BYTES));
	err = zip_run(&compress, &request, &done);
	if (!err && zip_good(&done)) {
		request = zlib_request(packed, done.produced, again, BYTES);
		err = zip_run(&decompress, &request, &done);
	}
	qm_close(&decompress);
	qm_close(&compress);
	if (err || !zip_good(&done))
		err = failed("a good request afterwards: %s, status 0x%02x",
			     err ? strerror(-err) : "completed", zip_status(&done));
	else if (done.produced != BYTES || memcmp(plain, again, BYTES))
		err = failed("a good request afterwards gave wrong data");
	munmap(plain, BYTES);
	munmap(packed, ZIP_ROOM(BYTES));
	munmap(again, BYTES);
	return err ? -1 : 0;
}

/* A request that must complete, and not well. Its status goes to `status`. */
static int must_fail(struct qm_queue *q, const char *what, const struct zip_request *request,
		     unsigned *status)
{
	struct zip_sqe done;
	int err = zip_run(q, request, &done);

	if (err)
		return failed("%s: %s", what,
			      err == -ETIMEDOUT ? "never completed" : strerror(-err));
	*status = zip_status(&done);
	if (zip_good(&done))
		return failed("%s: completed with status 0x%02x (%s)", what, *status,
			      zip_status_name(*status));
	return 0;
}

static int unmapped(const struct options *o)
{
	enum { BYTES = 3 * PAGE };
	uint8_t *good = fresh_pages(BYTES);
	uint8_t *gone = fresh_pages(BYTES);
	uint8_t *none = mmap(NULL, BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *half = fresh_pages(2 * PAGE);
	unsigned status = 0;
	struct qm_queue q;
	int err = 0;

	if (!good || !gone || !half || none == MAP_FAILED)
		return failed("no memory");
	case_pattern(good, BYTES, 1);
	/* Before the holes are made, or the queue's own mappings could fill them. */
	if (qm_open(&q, o->device, QM_COMPRESS, QM_BUSY) < 0)
		return failed("cannot open a queue");
	munmap(gone, BYTES);
	munmap(half + PAGE, PAGE);

	struct {
		const char *what;
		const void *source;
		void *destination;
	} cases[] = {
		{ "source unmapped", gone, good },
		{ "destination unmapped", good, gone },
		{ "source null", NULL, good },
		{ "destination null", good, NULL },
		{ "source without access rights", none, good },
		{ "source ends in a hole", half, good },
		{ "source in the kernel's half", (void *)0xffff800080000000ull, good },
		{ "destination in the kernel's half", good, (void *)0xffff800080000000ull },
		{ "source beyond 48 bits", (void *)0x0010000000000000ull, good },
	};
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]) && !err; i++) {
		struct zip_request request =
			zlib_request(cases[i].source, BYTES, cases[i].destination, BYTES);

		err = must_fail(&q, cases[i].what, &request, &status);
	}
	qm_close(&q);
	if (err || still_works(o))
		return -1;
	return passed("%zu addresses, last status 0x%02x", sizeof(cases) / sizeof(cases[0]),
		      status);
}

static int readonly_dst(const struct options *o)
{
	enum { BYTES = 2 * PAGE };
	uint8_t *source = fresh_pages(BYTES);
	uint8_t *target = fresh_pages(BYTES);
	uint8_t *absent = fresh_pages(BYTES);
	unsigned status = 0;
	struct qm_queue q;
	int err;

	if (!source || !target || !absent)
		return failed("no memory");
	case_pattern(source, BYTES, 2);
	memset(target, 0x77, BYTES);
	/* Present and dirty, so that only the permission is missing; then one that is absent too. */
	if (mprotect(target, BYTES, PROT_READ) || mprotect(absent, BYTES, PROT_READ))
		return failed("mprotect: %s", strerror(errno));
	if (qm_open(&q, o->device, QM_COMPRESS, QM_BUSY) < 0)
		return failed("cannot open a queue");
	struct zip_request request = zlib_request(source, BYTES, target, BYTES);

	err = must_fail(&q, "present page", &request, &status);
	if (!err) {
		request.destination = absent;
		err = must_fail(&q, "absent page", &request, &status);
	}
	qm_close(&q);
	if (err)
		return -1;
	for (unsigned i = 0; i < BYTES; i++)
		if (target[i] != 0x77 || absent[i] != 0)
			return failed("byte %u of read-only memory was written", i);
	if (still_works(o))
		return -1;
	return passed("status 0x%02x, memory unchanged", status);
}

/* The child: everything absent, everything in flight; then it waits for its death. */
static void victim(const struct options *o, int ready)
{
	enum { REQUESTS = 8, BYTES = 1 << 20 };
	struct qm_queue q;
	char byte = 'r';

	if (qm_open(&q, o->device, QM_COMPRESS, QM_BUSY) < 0)
		_exit(1);
	for (unsigned i = 0; i < REQUESTS; i++) {
		struct zip_request request = zlib_request(
			fresh_pages(BYTES), BYTES, fresh_pages(ZIP_ROOM(BYTES)), ZIP_ROOM(BYTES));
		struct zip_sqe sqe;

		if (!request.source || !request.destination)
			_exit(1);
		zip_fill(&sqe, &q, &request);
		if (qm_put(&q, &sqe) < 0)
			_exit(1);
	}
	qm_ring(&q);
	if (write(ready, &byte, 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static int kill_under_dma(const struct options *o)
{
	uint64_t longest = 0;

	for (unsigned round = 0; round < o->rounds; round++) {
		/* From at once to well into the work, at uneven distances. */
		struct timespec delay = { .tv_nsec = (long)(round * 37 % 64) * 31000 };
		uint64_t start, took;
		int ready[2], status;
		pid_t child;
		char byte;

		if (pipe(ready) < 0)
			return failed("pipe: %s", strerror(errno));
		child = fork();
		if (child < 0)
			return failed("fork: %s", strerror(errno));
		if (child == 0) {
			close(ready[0]);
			victim(o, ready[1]);
		}
		close(ready[1]);
		if (read(ready[0], &byte, 1) != 1) {
			waitpid(child, NULL, 0);
			close(ready[0]);
			return failed("round %u: the child could not start its work", round);
		}
		close(ready[0]);
		nanosleep(&delay, NULL);
		start = now_ns();
		kill(child, SIGKILL);
		if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status) ||
		    WTERMSIG(status) != SIGKILL)
			return failed("round %u: child's wait status 0x%x", round, status);
		took = now_ns() - start;
		if (took > longest)
			longest = took;
	}
	if (still_works(o))
		return -1;
	return passed("%u processes, longest exit %llu us", o->rounds,
		      (unsigned long long)(longest / 1000));
}

/* Below any mapping of its own, so that both processes can have it. */
#define SHARED_ADDRESS ((void *)0x600000000000ull)
#define PRIVATE_ADDRESS ((void *)0x610000000000ull)
#define ISOLATION_BYTES (4 * PAGE)

static uint8_t *map_at(void *address)
{
	void *at = mmap(address, ISOLATION_BYTES, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	return at == address ? at : NULL;
}

/* Compresses what this process has at the shared address; the result must be its own data. */
static int own_data_only(const struct options *o, struct qm_queue *q, uint32_t seed)
{
	uint8_t *packed = fresh_pages(ZIP_ROOM(ISOLATION_BYTES));
	uint8_t *again = fresh_pages(ISOLATION_BYTES);
	uint8_t *expected = fresh_pages(ISOLATION_BYTES);
	struct qm_queue back;
	struct zip_request request;
	struct zip_sqe done;
	int err;

	if (!packed || !again || !expected)
		return failed("no memory");
	request = zlib_request(SHARED_ADDRESS, ISOLATION_BYTES, packed, ZIP_ROOM(ISOLATION_BYTES));
	err = zip_run(q, &request, &done);
	if (err || !zip_good(&done))
		return failed("own data: %s, status 0x%02x", err ? strerror(-err) : "completed",
			      err ? 0 : zip_status(&done));
	if (qm_open(&back, o->device, QM_DECOMPRESS, QM_BUSY) < 0)
		return failed("cannot open a decompress queue");
	request = zlib_request(packed, done.produced, again, ISOLATION_BYTES);
	err = zip_run(&back, &request, &done);
	qm_close(&back);
	if (err || !zip_good(&done) || done.produced != ISOLATION_BYTES)
		return failed("own data does not decompress");
	case_pattern(expected, ISOLATION_BYTES, seed);
	if (memcmp(again, expected, ISOLATION_BYTES))
		return failed("the device read other memory than this process's own");
	munmap(packed, ZIP_ROOM(ISOLATION_BYTES));
	munmap(again, ISOLATION_BYTES);
	munmap(expected, ISOLATION_BYTES);
	return 0;
}

/* Two processes in step: each end writes a byte when it is through a stage. */
static int in_step(int to, int from)
{
	char byte = 's';

	if (write(to, &byte, 1) != 1 || read(from, &byte, 1) != 1)
		return failed("the other process is gone");
	return 0;
}

static int isolation_side(const struct options *o, bool owner, int to, int from)
{
	uint32_t seed = owner ? 11 : 22;
	uint8_t *shared = map_at(SHARED_ADDRESS);
	uint8_t *private = owner ? map_at(PRIVATE_ADDRESS) : NULL;
	uint8_t *out = fresh_pages(ISOLATION_BYTES);
	struct qm_queue q;
	unsigned status;
	int err;

	if (!shared || !out || (owner && !private))
		return failed("no memory at the chosen address");
	case_pattern(shared, ISOLATION_BYTES, seed);
	if (owner)
		case_pattern(private, ISOLATION_BYTES, 33);
	if (qm_open(&q, o->device, QM_COMPRESS, QM_BUSY) < 0)
		return failed("cannot open a queue");

	/* Both queues are open now; the owner's translations get into every cache first. */
	err = in_step(to, from);
	if (!err && owner)
		err = own_data_only(o, &q, seed);
	if (!err && owner) {
		struct zip_request request =
			zlib_request(PRIVATE_ADDRESS, ISOLATION_BYTES, out, ISOLATION_BYTES);
		struct zip_sqe done;

		err = zip_run(&q, &request, &done);
		if (err || !zip_good(&done))
			err = failed("owner's own private data");
	}
	if (!err)
		err = in_step(to, from);
	if (!err && !owner) {
		struct zip_request request =
			zlib_request(PRIVATE_ADDRESS, ISOLATION_BYTES, out, ISOLATION_BYTES);

		err = must_fail(&q, "another process's pointer as source", &request, &status);
		for (unsigned i = 0; i < ISOLATION_BYTES && !err; i++)
			if (out[i])
				err = failed("byte %u of the output was written", i);
		if (!err) {
			request = zlib_request(shared, ISOLATION_BYTES, PRIVATE_ADDRESS,
					       ISOLATION_BYTES);
			err = must_fail(&q, "another process's pointer as destination", &request,
					&status);
		}
	}
	/* Then both at once, from the same pointer. */
	if (!err)
		err = in_step(to, from);
	for (unsigned i = 0; i < 8 && !err; i++)
		err = own_data_only(o, &q, seed);
	if (!err)
		err = in_step(to, from);
	if (!err && owner) {
		uint8_t *expected = fresh_pages(ISOLATION_BYTES);

		case_pattern(expected, ISOLATION_BYTES, 33);
		if (memcmp(private, expected, ISOLATION_BYTES))
			err = failed("the owner's memory was written by the other process");
	}
	qm_close(&q);
	return err;
}

static int isolation(const struct options *o)
{
	int there[2], back[2], status, err;
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
		_exit(isolation_side(o, false, back[1], there[0]) ? 1 : 0);
	}
	close(there[0]);
	close(back[1]);
	err = isolation_side(o, true, there[1], back[0]);
	/* On failure this is what tells the child. */
	close(there[1]);
	close(back[0]);
	munmap(SHARED_ADDRESS, ISOLATION_BYTES);
	munmap(PRIVATE_ADDRESS, ISOLATION_BYTES);
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status))
		return -1; /* it has printed why */
	if (err || still_works(o))
		return -1;
	return passed("same pointer, two processes, each with its own data");
}

struct flight {
	uint8_t *source, *packed, *again;
	uint32_t produced;
	bool done;
};

/*
 * Even requests read fresh anonymous memory, zeros; odd ones a mapping of a file that this
 * process wrote but never mapped, so the data is there and the translation is not.
 */
static uint8_t *storm_source(unsigned i, size_t bytes)
{
	uint8_t *at;
	int fd;

	if (i % 2 == 0)
		return fresh_pages(bytes);
	fd = memfd_create("storm", MFD_CLOEXEC);
	at = malloc(bytes);
	if (fd < 0 || !at)
		return NULL;
	case_pattern(at, bytes, i);
	if (write(fd, at, bytes) != (ssize_t)bytes) {
		free(at);
		close(fd);
		return NULL;
	}
	free(at);
	at = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	return at == MAP_FAILED ? NULL : at;
}

static int collect(struct qm_queue *queues, const struct options *o, struct flight *flights,
		   bool packing)
{
	unsigned total = o->queues * o->depth;

	for (unsigned left = total; left > 0; left--) {
		/* Queue by queue; the others go on working meanwhile. */
		unsigned n = (total - left) % o->queues;
		struct zip_sqe done;
		struct flight *flight;
		uint32_t tag;
		int err = qm_wait(&queues[n], &done, 4 * ZIP_TIMEOUT_MS);

		if (err)
			return failed("queue %u, %u to go: %s", n, left, strerror(-err));
		tag = zip_tag(&done, &queues[n]);
		if (tag >= total || tag % o->queues != n || flights[tag].done)
			return failed("queue %u: tag %u is not one in flight", n, tag);
		if (!zip_good(&done))
			return failed("request %u: status 0x%02x", tag, zip_status(&done));
		flight = &flights[tag];
		flight->done = true;
		if (packing)
			flight->produced = done.produced;
		else if (done.produced != o->bytes)
			return failed("request %u: %u bytes came back", tag, done.produced);
	}
	return 0;
}

static int storm_pass(const struct options *o, struct flight *flights, bool packing)
{
	struct qm_queue *queues = calloc(o->queues, sizeof(*queues));
	unsigned total = o->queues * o->depth, opened;
	int err = 0;

	if (!queues)
		return failed("no memory");
	for (opened = 0; opened < o->queues; opened++)
		if (qm_open(&queues[opened], o->device, packing ? QM_COMPRESS : QM_DECOMPRESS,
			    QM_BUSY) < 0) {
			err = failed("cannot open queue %u", opened);
			break;
		}
	for (unsigned i = 0; i < total && !err; i++) {
		struct flight *f = &flights[i];
		struct zip_request request =
			packing ? zlib_request(f->source, o->bytes, f->packed, ZIP_ROOM(o->bytes)) :
				  zlib_request(f->packed, f->produced, f->again, o->bytes);
		struct zip_sqe sqe;

		f->done = false;
		request.tag = i;
		zip_fill(&sqe, &queues[i % o->queues], &request);
		if (qm_put(&queues[i % o->queues], &sqe) < 0)
			err = failed("request %u does not fit its queue", i);
	}
	/* All doorbells together, when everything is in place. */
	for (unsigned n = 0; n < opened && !err; n++)
		qm_ring(&queues[n]);
	if (!err)
		err = collect(queues, o, flights, packing);
	while (opened)
		qm_close(&queues[--opened]);
	free(queues);
	return err;
}

static int storm(const struct options *o)
{
	unsigned total = o->queues * o->depth;
	struct flight *flights = calloc(total, sizeof(*flights));
	int err = 0;

	if (!flights)
		return failed("no memory");
	for (unsigned i = 0; i < total; i++) {
		flights[i].source = storm_source(i, o->bytes);
		flights[i].packed = fresh_pages(ZIP_ROOM(o->bytes));
		flights[i].again = fresh_pages(o->bytes);
		if (!flights[i].source || !flights[i].packed || !flights[i].again)
			return failed("no memory for request %u", i);
	}
	err = storm_pass(o, flights, true);
	if (!err)
		err = storm_pass(o, flights, false);
	for (unsigned i = 0; i < total; i++) {
		if (!err && memcmp(flights[i].source, flights[i].again, o->bytes))
			err = failed("request %u came back wrong", i);
		munmap(flights[i].source, o->bytes);
		munmap(flights[i].packed, ZIP_ROOM(o->bytes));
		munmap(flights[i].again, o->bytes);
	}
	free(flights);
	if (err || still_works(o))
		return -1;
	return passed("%u requests of %zu bytes on %u queues, both ways", total, o->bytes,
		      o->queues);
}

static const struct test_case cases[] = {
	{ EXPLAINED("unmapped", "source or destination where nothing is mapped"), unmapped },
	{ EXPLAINED("readonly-dst", "destination in memory the process may only read"),
	  readonly_dst },
	{ EXPLAINED("kill-under-dma",
		    "processes killed while the device works on their absent pages"),
	  kill_under_dma },
	{ EXPLAINED("isolation", "two processes, the same pointer, different memory"), isolation },
	{ EXPLAINED("storm", "many requests at once, every page absent"), storm },
	{ EXPLAINED("bad-descriptors", "requests that make no sense"), bad_descriptors },
	{ EXPLAINED("all", "one after the other"), NULL },
};

/* 64 queues is what the driver gives the device by default; 1023 requests fit one ring. */
#define QUEUES_MAX 64
#define DEPTH_MAX 1000

static const struct word *case_at(unsigned index)
{
	return index < sizeof(cases) / sizeof(cases[0]) ? &cases[index].word : NULL;
}

static const struct option_row rows[] = {
	NUMBER("rounds", rounds, 1, UINT_MAX, 20, "processes killed by kill-under-dma"),
	NUMBER("queues", queues, 1, QUEUES_MAX, 4, "queues of storm"),
	NUMBER("depth", depth, 1, DEPTH_MAX, 32, "requests in flight on each queue of storm"),
	BYTES("bytes", bytes, 1, ZIP_SOURCE_MAX, 64 << 10, "bytes in each request of storm"),
	TEXT("device", device, "PATH", QM_DEFAULT_DEVICE, "queue device"),
};

static const struct program program = {
	.name = "zipabuse",
	.operand = "case",
	.operands = case_at,
	.rows = rows,
	.row_count = sizeof(rows) / sizeof(rows[0]),
	.closing = "Exit status: 0 ok, 1 failed, 2 wrong usage.\n",
};

int zipabuse_main(int argc, char **argv)
{
	struct options o;
	const int wanted = options_parse(&program, argc, argv, &o);

	if (wanted < 0)
		return EXIT_USAGE;
	return run_cases(cases, sizeof(cases) / sizeof(cases[0]), (size_t)wanted, &o);
}
