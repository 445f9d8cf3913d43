// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * svatest: drives the SVA test engine over memory in a chosen state, checks what it did, and
 * reports what it cost.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "faultcount.h"
#include "options.h"
#include "programs.h"
#include "report.h"
#include "svatest_memory.h"
#include "svatest_queue.h"
#include "timing.h"

#define QUEUES_MAX 64u
#define RING_LOG2_MAX 12u
#define BYTES_MAX (64u << 20)
/* All data of a run; a guest has 512 MiB unless told otherwise. */
#define TOTAL_MAX (256u << 20)
/* The guest's time without a completion after which one never comes. */
#define PATIENCE_NS 60000000000ull

enum operation { NOP, COPY, FILL, COMPARE, CRC, ADD, CHASE, GATHER, SCATTER, OPERATIONS };
static const struct word operations[] = {
	[NOP] = { .name = "nop" },	   [COPY] = { .name = "copy" },
	[FILL] = { .name = "fill" },	   [COMPARE] = { .name = "compare" },
	[CRC] = { .name = "crc" },	   [ADD] = { .name = "add" },
	[CHASE] = { .name = "chase" },	   [GATHER] = { .name = "gather" },
	[SCATTER] = { .name = "scatter" }, [OPERATIONS] = {},
};

struct options {
	enum operation operation;
	enum memory memory;
	size_t bytes, access, stride, element;
	unsigned ops, queues, depth, rate, interval;
	enum { BUSY, EPOLL } poll;
	bool count, result;
	const char *module;
};

/* One operation: its memory, and what must come of it. */
struct job {
	uint8_t *source, *destination;
	uint8_t *content; /* a copy of the source */
	struct svatest_descriptor d;
	struct svatest_completion done;
	uint64_t expected_result, expected_detail;
	uint8_t expected_status;
	bool completed;
};

static size_t elements(const struct options *o)
{
	return o->bytes / o->stride;
}

/* A list through all elements of a source, in an order that no prefetcher guesses. */
static int make_list(const struct options *o, struct job *job)
{
	size_t count = elements(o);
	uint32_t *order = malloc(count * sizeof(*order));
	int fd, err;

	err = order ? reserve_source(o->memory, o->bytes, &job->source, &fd) : no_memory();
	if (err)
		goto out;
	for (size_t i = 0; i < count; i++) {
		size_t other = noise() % (i + 1);

		order[i] = order[other];
		order[other] = (uint32_t)i;
	}
	for (size_t i = 0; i < count; i++) {
		uint8_t *node = job->content + order[i] * o->stride;
		uint64_t next =
			i + 1 < count ? (uintptr_t)job->source + order[i + 1] * o->stride : 0;

		memcpy(node + 8, &next, 8);
		for (size_t word = 0; word < o->element; word += 8) {
			uint64_t value;

			memcpy(&value, node + word, 8);
			job->expected_detail += value;
		}
	}
	job->d.source = (uintptr_t)job->source + order[0] * o->stride;
	err = deposit(job->source, fd, job->content, o->bytes);
out:
	free(order);
	return err;
}

/*
 * Takes away the page that an operation's first access to its destination, or to its source where
 * there is no destination, is in. Only when all else is mapped, or that would get the address.
 */
static int unmap(struct job *job)
{
	struct svatest_descriptor *d = &job->d;
	uint64_t victim = job->destination ? d->destination : d->source;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (!victim)
		return 0;
	if (munmap((void *)(uintptr_t)(victim & ~(page - 1)), page) < 0) {
		perror("svatest: munmap");
		return -errno;
	}
	job->expected_status = SVATEST_ABORTED;
	job->expected_result = 0;
	job->expected_detail = victim;
	return 0;
}

/* Memory, descriptor and expectation of the index-th operation. */
static int prepare(const struct options *o, struct job *job, unsigned index, uint8_t *shared)
{
	struct svatest_descriptor *d = &job->d;
	size_t bytes = o->bytes, count = elements(o), packed = count * o->element;
	bool reads = o->operation == COPY || o->operation == COMPARE || o->operation == CRC ||
		     o->operation == GATHER || o->operation == SCATTER || o->operation == CHASE;
	int err = 0;

	d->tag = index;
	d->flags = o->poll == EPOLL ? SVATEST_INTERRUPT : 0;
	if (reads) {
		job->content = malloc(bytes);
		if (!job->content)
			return no_memory();
		fill_noise(job->content, bytes);
	}
	switch (o->operation) {
	case NOP:
		d->opcode = SVATEST_NOP;
		break;
	case COPY:
		d->opcode = SVATEST_COPY;
		err = make_source(o->memory, bytes, job->content, &job->source);
		if (!err)
			err = make_destination(o->memory, bytes, &job->destination);
		d->length = job->expected_result = bytes;
		break;
	case FILL:
		d->opcode = SVATEST_FILL;
		err = make_destination(o->memory, bytes, &job->destination);
		d->operand = noise();
		d->length = job->expected_result = bytes;
		break;
	case COMPARE:
		d->opcode = SVATEST_COMPARE;
		err = make_source(o->memory, bytes, job->content, &job->source);
		d->length = job->expected_result = bytes;
		/* Every second pair differs in one byte. */
		if (index % 2) {
			size_t at = bytes - 1 - noise() % (bytes / 2 + 1);

			job->content[at] ^= 0x10;
			job->expected_result = at;
			job->expected_status = SVATEST_MISMATCH;
		}
		if (!err)
			err = make_source(o->memory, bytes, job->content, &job->destination);
		break;
	case CRC:
		d->opcode = SVATEST_CRC;
		err = make_source(o->memory, bytes, job->content, &job->source);
		d->length = bytes;
		job->expected_result = crc32(job->content, bytes);
		break;
	case ADD:
		d->opcode = SVATEST_ADD;
		job->destination = shared;
		d->length = 8;
		d->count = (uint32_t)count;
		d->operand = 3;
		d->destination_stride = o->stride;
		break;
	case CHASE:
		d->opcode = SVATEST_CHASE;
		err = make_list(o, job);
		d->length = o->element;
		d->operand = 8;
		d->count = (uint32_t)count + 1;
		job->expected_result = count;
		break;
	case GATHER:
		d->opcode = SVATEST_STRIDED;
		err = make_source(o->memory, bytes, job->content, &job->source);
		if (!err)
			err = make_destination(o->memory, packed, &job->destination);
		d->source_stride = o->stride;
		d->destination_stride = o->element;
		break;
	case SCATTER:
		d->opcode = SVATEST_STRIDED;
		err = make_source(o->memory, packed, job->content, &job->source);
		if (!err)
			err = make_destination(o->memory, bytes, &job->destination);
		d->source_stride = o->element;
		d->destination_stride = o->stride;
		break;
	case OPERATIONS:
		break;
	}
	if (d->opcode == SVATEST_STRIDED) {
		d->length = o->element;
		d->count = (uint32_t)count;
		job->expected_result = packed;
	}
	if (!d->source)
		d->source = (uintptr_t)job->source;
	d->destination = (uintptr_t)job->destination;
	return err;
}

static int wrong(const struct job *job, const char *what, uint64_t found, uint64_t expected)
{
	fprintf(stderr, "svatest: operation %llu: %s 0x%llx instead of 0x%llx\n",
		(unsigned long long)job->d.tag, what, (unsigned long long)found,
		(unsigned long long)expected);
	return -EIO;
}

static int wrong_data(const struct job *job, size_t offset)
{
	fprintf(stderr, "svatest: operation %llu: wrong data at offset %zu of its destination\n",
		(unsigned long long)job->d.tag, offset);
	return -EIO;
}

static int compare(const struct job *job, size_t at, const uint8_t *expected, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (job->destination[at + i] != expected[i])
			return wrong_data(job, at + i);
	return 0;
}

/* Whether an operation did what it should, in its completion and in memory. */
static int verify(const struct options *o, const struct job *job)
{
	const struct svatest_completion *c = &job->done;
	int err = 0;

	if (c->status != job->expected_status) {
		fprintf(stderr, "svatest: operation %llu: status 0x%02x (%s), detail 0x%llx\n",
			(unsigned long long)job->d.tag, c->status, svatest_status_name(c->status),
			(unsigned long long)c->detail);
		return -EIO;
	}
	if (o->operation == ADD && o->memory != UNMAPPED)
		/* What the last counter was when this one came by: some number of others. */
		return c->result % job->d.operand ? wrong(job, "result", c->result, 0) : 0;
	if (c->result != job->expected_result)
		return wrong(job, "result", c->result, job->expected_result);
	if (c->detail != job->expected_detail)
		return wrong(job, "detail", c->detail, job->expected_detail);
	if (c->status == SVATEST_ABORTED)
		return 0;
	switch (o->operation) {
	case COPY:
		return compare(job, 0, job->content, o->bytes);
	case FILL:
		for (size_t at = 0; !err && at < o->bytes; at += 8)
			err = compare(job, at, (const uint8_t *)&job->d.operand,
				      o->bytes - at < 8 ? o->bytes - at : 8);
		return err;
	case GATHER:
	case SCATTER:
		for (size_t i = 0; !err && i < elements(o); i++)
			err = compare(job, i * job->d.destination_stride,
				      job->content + i * job->d.source_stride, o->element);
		return err;
	default:
		return 0;
	}
}

/* All additions of all operations must be in the counters: the device adds atomically. */
static int verify_sum(const struct options *o, const struct job *jobs, const uint8_t *shared)
{
	uint64_t expected = (uint64_t)o->ops * jobs[0].d.operand, found;

	for (size_t i = 0; i < elements(o); i++) {
		memcpy(&found, shared + i * o->stride, 8);
		if (found != expected)
			return wrong(&jobs[0], "a counter is", found, expected);
	}
	return 0;
}

static int collect(const struct options *o, struct svatest_queue *q, struct job *jobs)
{
	struct svatest_completion c;

	if (svatest_take(q, &c) < 0)
		return 0;
	if (c.tag >= o->ops || jobs[c.tag].completed) {
		fprintf(stderr, "svatest: a completion of nothing, tag 0x%llx\n",
			(unsigned long long)c.tag);
		return -EPROTO;
	}
	jobs[c.tag].completed = true;
	jobs[c.tag].done = c;
	return 1;
}

static int idle(const struct options *o, struct svatest_queue *queues, uint64_t since)
{
	struct pollfd fds[QUEUES_MAX];

	for (unsigned i = 0; i < o->queues; i++) {
		int failure = svatest_failure(&queues[i]);

		if (failure >= 0) {
			fprintf(stderr, "svatest: queue %u has failed: %d (%s)\n", queues[i].number,
				failure, svatest_failure_name(failure));
			return -EIO;
		}
	}
	if (now_ns() - since > PATIENCE_NS) {
		fprintf(stderr, "svatest: no completion for %llu s\n", PATIENCE_NS / 1000000000);
		return -ETIMEDOUT;
	}
	if (o->poll != EPOLL) {
		/* With one CPU the kernel's page-fault worker needs this one. */
		sched_yield();
		return 0;
	}
	for (unsigned i = 0; i < o->queues; i++)
		fds[i] = (struct pollfd){ .fd = queues[i].fd, .events = POLLIN };
	/* A short sleep bounds the damage of a lost interrupt. */
	return poll(fds, o->queues, 100) < 0 && errno != EINTR ? -errno : 0;
}

/* Submits everything, in turn to each queue, as their rings have room; waits for all of it. */
static int run(const struct options *o, struct svatest_queue *queues, struct job *jobs)
{
	unsigned submitted = 0, completed = 0, spins = 0;
	uint64_t since = now_ns();

	while (completed < o->ops) {
		unsigned before = completed;

		while (submitted < o->ops &&
		       !svatest_put(&queues[submitted % o->queues], &jobs[submitted].d))
			submitted++;
		for (unsigned i = 0; i < o->queues; i++) {
			int done;

			svatest_ring(&queues[i]);
			do {
				done = collect(o, &queues[i], jobs);
				if (done < 0)
					return done;
				completed += (unsigned)done;
			} while (done);
		}
		if (completed != before) {
			since = now_ns();
			continue;
		}
		if (o->poll == EPOLL || ++spins % 64 == 0) {
			int err = idle(o, queues, since);

			if (err)
				return err;
		}
	}
	return 0;
}

static int by_size(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? -1 : left > right;
}

static void put_count(FILE *stream, const char *name, int64_t value)
{
	if (value < 0)
		fprintf(stream, "\"%s\":null,", name);
	else
		fprintf(stream, "\"%s\":%lld,", name, (long long)value);
}

struct totals {
	struct svatest_counters counters;
	bool page_requests;
	int64_t faults; /* of the guest's kernel; -1: not counted */
	uint64_t ns;
};

static int tell(const struct options *o, const struct job *jobs, const struct totals *t, bool ok)
{
	uint32_t *latencies = calloc(o->ops, sizeof(*latencies));
	const struct svatest_counters *c = &t->counters;
	/* Each page request that reaches the kernel is a fault there; what is left are stalls. */
	int64_t stalls = t->faults < 0 ? -1 : t->faults - (int64_t)c->page_requests;
	struct report r;
	int err;

	if (!latencies || report_open(&r) < 0)
		return no_memory();
	for (unsigned i = 0; i < o->ops; i++)
		latencies[i] = jobs[i].done.latency_ns;
	qsort(latencies, o->ops, sizeof(*latencies), by_size);
	fprintf(r.stream,
		"{\"program\":\"svatest\",\"ok\":%s,\"op\":\"%s\",\"fault\":\"%s\","
		"\"memory\":\"%s\",\"bytes\":%zu,\"ops\":%u,\"queues\":%u,\"depth\":%u,",
		ok ? "true" : "false", operations[o->operation].name,
		t->page_requests ? "pri" : "stall", memories[o->memory].name, o->bytes, o->ops,
		o->queues, o->depth);
	put_count(r.stream, "stalls", stalls < 0 && t->faults >= 0 ? 0 : stalls);
	put_count(r.stream, "page_requests", (int64_t)c->page_requests);
	fprintf(r.stream,
		"\"latency_ns\":{\"min\":%u,\"p50\":%u,\"p99\":%u,\"max\":%u},"
		"\"accesses\":%llu,\"access_ns\":{\"min\":%llu,\"mean\":%llu,\"max\":%llu},"
		"\"prefill\":{\"requested\":%llu,\"present\":%llu},"
		"\"bytes_read\":%llu,\"bytes_written\":%llu,\"ns\":%llu}",
		latencies[0], latencies[(o->ops - 1) / 2], latencies[(o->ops - 1) * 99ull / 100],
		latencies[o->ops - 1], (unsigned long long)c->accesses,
		(unsigned long long)c->access_min_ns,
		(unsigned long long)(c->accesses ? c->access_sum_ns / c->accesses : 0),
		(unsigned long long)c->access_max_ns, (unsigned long long)c->prefill_requested,
		(unsigned long long)c->prefill_present, (unsigned long long)c->bytes_read,
		(unsigned long long)c->bytes_written, (unsigned long long)t->ns);
	err = report_send(&r, 1, o->result);
	free(latencies);
	return err;
}

static void add_counters(struct totals *t, const struct svatest_queue *q)
{
	struct svatest_counters c, *sum = &t->counters;

	svatest_counters(q, &c);
	sum->accesses += c.accesses;
	/* They are counted by address space, of which there is one. */
	if (c.page_requests > sum->page_requests)
		sum->page_requests = c.page_requests;
	sum->prefill_requested += c.prefill_requested;
	sum->prefill_present += c.prefill_present;
	sum->bytes_read += c.bytes_read;
	sum->bytes_written += c.bytes_written;
	sum->access_sum_ns += c.access_sum_ns;
	if (c.accesses && (!sum->access_min_ns || c.access_min_ns < sum->access_min_ns))
		sum->access_min_ns = c.access_min_ns;
	if (c.access_max_ns > sum->access_max_ns)
		sum->access_max_ns = c.access_max_ns;
}

static unsigned log2_of(size_t value)
{
	unsigned log2 = 0;

	while (((size_t)2 << log2) <= value)
		log2++;
	return log2;
}

static int measure(const struct options *o)
{
	unsigned share = (o->ops + o->queues - 1) / o->queues, ring = log2_of(share) + 1;
	struct svatest_config config = {
		.ring_log2 = ring > RING_LOG2_MAX ? RING_LOG2_MAX : ring,
		.depth = o->depth,
		.access_log2 = log2_of(o->access),
		.interval_ns = o->interval,
		.rate = o->rate,
		.touch_rings = o->memory == TOUCHED,
	};
	struct svatest_queue queues[QUEUES_MAX];
	struct totals totals = { .faults = -1 };
	struct job *jobs = calloc(o->ops, sizeof(*jobs));
	unsigned open = 0;
	uint8_t *shared = NULL;
	char path[64];
	bool ok;
	int err;

	if (!jobs)
		return no_memory();
	err = svatest_find(o->module, path, sizeof(path));
	if (!err && o->operation == ADD)
		err = make_destination(o->memory, o->bytes, &shared);
	for (unsigned i = 0; !err && i < o->ops; i++)
		err = prepare(o, &jobs[i], i, shared);
	while (!err && open < o->queues) {
		err = svatest_open(&queues[open], path, &config);
		open += !err;
	}
	for (unsigned i = 0; !err && o->memory == UNMAPPED && i < o->ops; i++)
		err = unmap(&jobs[i]);
	if (!err && o->count)
		err = faultcount_start();
	if (err)
		goto out;

	totals.ns = now_ns();
	err = run(o, queues, jobs);
	totals.ns = now_ns() - totals.ns;
	if (o->count) {
		totals.faults = faultcount_read();
		faultcount_stop();
		if (totals.faults < 0 && !err) {
			fprintf(stderr, "svatest: the kernel's count of faults cannot be read\n");
			err = -EIO;
		}
	}
	totals.page_requests = svatest_uses_page_requests(&queues[0]);
	for (unsigned i = 0; i < open; i++)
		add_counters(&totals, &queues[i]);
	for (unsigned i = 0; !err && i < o->ops; i++)
		err = verify(o, &jobs[i]);
	if (!err && o->operation == ADD && o->memory != UNMAPPED)
		err = verify_sum(o, jobs, shared);
	ok = !err;
	if (tell(o, jobs, &totals, ok) < 0)
		err = -EIO;
out:
	while (open)
		svatest_close(&queues[--open]);
	return err;
}

static const struct word *operation_at(unsigned index)
{
	return operations[index].name ? &operations[index] : NULL;
}

static const struct word polls[] = {
	{ .name = "busy", .value = BUSY },
	{ .name = "epoll", .value = EPOLL },
	{},
};

static const struct option_row rows[] = {
	BYTES("bytes", bytes, 1, BYTES_MAX, 64 << 10, "memory of one operation"),
	NUMBER("ops", ops, 1, UINT_MAX, 1,
	       "operations, each on memory of its own; add: all on the same"),
	WORD("memory", memory, memories, TOUCHED, "what the device finds"),
	NUMBER("queues", queues, 1, QUEUES_MAX, 1, "queues, used in turn"),
	NUMBER("depth", depth, 1, 64, 4, "operations of a queue at once"),
	BYTES("access", access, 64, 16384, 4096, "bytes of one access, a power of two"),
	BYTES("stride", stride, 8, BYTES_MAX, 4096,
	      "chase, gather, scatter, add: distance of elements"),
	BYTES("element", element, 16, 4096, 64, "chase, gather, scatter: bytes of an element"),
	NUMBER("rate", rate, 0, UINT_MAX, 0, "10^6 bytes a second for each queue; 0: no limit"),
	NUMBER("interval", interval, 0, UINT_MAX, 0,
	       "ns, the least time between the starts of two operations of a queue"),
	WORD("poll", poll, polls, BUSY,
	     "how to wait; with epoll, nobody touches the completion\n"
	     "ring before the device does"),
	FLAG("no-count", count, true, "do not count IO page faults in the kernel (a kprobe)"),
	FLAG("result", result, false, "the report on Stallbox's control channel, too"),
	TEXT("module", module, "PATH", SVATEST_MODULE, "the driver"),
};

static const struct program program = {
	.name = "svatest",
	.operand = "operation",
	.operands = operation_at,
	.rows = rows,
	.row_count = sizeof(rows) / sizeof(rows[0]),
	.closing =
		"One line of JSON on standard output. Exit status: 0 all right, 1 failed (the reason on\n"
		"standard error), 2 wrong usage.\n",
};

static int check(const struct options *o)
{
	bool strided = o->operation >= ADD;
	size_t least = o->operation == ADD ? 8 : o->element;

	if ((uint64_t)o->ops * o->bytes * 2 > TOTAL_MAX)
		return options_refuse(&program, "ops", "all data at most 256M");
	if (o->access & (o->access - 1))
		return options_refuse(&program, "access", "a power of two");
	if (!strided)
		return 0;
	if (o->element % 8)
		return options_refuse(&program, "element", "a multiple of 8");
	if (o->stride < least || o->stride % 8)
		return options_refuse(&program, "stride",
				      "a multiple of 8, and not below --element");
	if (o->bytes < o->stride)
		return options_refuse(&program, "bytes", "at least one stride");
	return 0;
}

int svatest_main(int argc, char **argv)
{
	struct options o;
	const int operation = options_parse(&program, argc, argv, &o);

	if (operation < 0)
		return EXIT_USAGE;
	o.operation = (enum operation)operation;
	if (check(&o) < 0)
		return EXIT_USAGE;
	return measure(&o) ? EXIT_FAILURE : EXIT_SUCCESS;
}
