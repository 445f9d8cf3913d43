// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * faultbench: what an IO page fault costs.
 *
 * One operation compresses N bytes of zeros, zlib, stateless. Its time runs from just before the
 * doorbell to the moment when this CPU sees the completion's phase change. Two kinds of memory:
 *
 *   untouched  source and destination are a fresh anonymous mapping for each operation. Every
 *              source page is absent (a read fault maps the zero page), and so is every
 *              destination page that the engine writes to.
 *   touched    the same two buffers for all operations, written by the CPU beforehand.
 *
 * Zeros in both, so that the presence of the pages is the only difference. Each output is
 * compared with a reference that was checked by decompressing it; before that each size makes one
 * round trip with bytes that are not zero.
 *
 * Then, in isolation and on pages whose last-level table exists:
 *
 *   cpu_fault_ns  p50 of the CPU's first write to an absent anonymous page
 *   iopf_ns       p50 of a 4 KiB operation whose one destination page is absent, less the p50 of
 *                 the same operation with that page present: the same kind of page, the same
 *                 kernel work (allocate, clear, map), but reached through the SMMU
 *   ratio         iopf_ns / cpu_fault_ns
 *
 * and, in each cell, cpu_ns: p50 of the time in which the CPU touches as many absent pages in the
 * same way (reads of the source, a write to the destination).
 *
 * The program runs as SCHED_IDLE: it waits in a loop, and with one CPU the kernel's page-fault
 * worker would otherwise have to wait for the scheduler's next tick. So the figures are those of
 * a CPU that has nothing better to do than handle the fault.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#include "faultcount.h"
#include "options.h"
#include "programs.h"
#include "report.h"
#include "timing.h"
#include "zip.h"

#define PAGE 4096u
#define CPU_FAULTS 1000u
#define CPU_ROUNDS 20u

struct options {
	unsigned ops;
	struct sizes sizes;
	bool count, result, quiet;
	const char *device;
};

struct summary {
	uint64_t min, p50, p99, max;
};

struct bench {
	const struct options *options;
	struct qm_queue compress, decompress;
	uint64_t *samples; /* room for max(ops, CPU_FAULTS) */
};

static int fail(const char *what, int err)
{
	fprintf(stderr, "faultbench: %s: %s\n", what, strerror(-err));
	return err;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Nearest-rank percentiles: each figure is one that was measured. */
static struct summary summarise(uint64_t *samples, unsigned count)
{
	qsort(samples, count, sizeof(*samples), compare);
	return (struct summary){
		.min = samples[0],
		.p50 = samples[(count + 1) / 2 - 1],
		.p99 = samples[(count * 99 + 99) / 100 - 1],
		.max = samples[count - 1],
	};
}

static void touch(uint8_t *at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += PAGE)
		*(volatile uint8_t *)(at + i) = 0;
}

/* Bytes that compress, but not to nothing: a counter's low bytes, stirred. */
static void pattern(uint8_t *at, size_t bytes)
{
	uint32_t x = 0x9e3779b9;

	for (size_t i = 0; i < bytes; i++) {
		if (i % 64 == 0)
			x = x * 1664525 + 1013904223;
		at[i] = (uint8_t)(x >> (i % 8 * 3));
	}
}

/* One operation, timed. The completion must say that all of the input was used. */
static int timed(struct qm_queue *q, const struct zip_request *request, struct zip_sqe *done,
		 uint64_t *ns)
{
	const uint64_t limit = counter_frequency() * (ZIP_TIMEOUT_MS / 1000);
	uint64_t start, end;
	struct zip_sqe sqe;
	unsigned spins = 0;
	int err;

	zip_fill(&sqe, q, request);
	err = qm_put(q, &sqe);
	if (err)
		return fail("submit", err);
	start = counter();
	qm_ring(q);
	while (!qm_ready(q))
		if (++spins % 1024 == 0 && counter() - start > limit)
			return fail("no completion", -ETIMEDOUT);
	end = counter();
	*ns = ticks_to_ns(end - start);
	err = qm_receive(q, done);
	if (err)
		return fail("completion", err);
	if (!zip_good(done) || done->consumed != request->source_bytes) {
		fprintf(stderr, "faultbench: status 0x%02x (%s), consumed %u of %zu, produced %u\n",
			zip_status(done), zip_status_name(zip_status(done)), done->consumed,
			request->source_bytes, done->produced);
		return -EIO;
	}
	return 0;
}

/* Compresses touched memory into touched memory, decompresses it again, compares. */
static int round_trip(struct bench *b, uint8_t *source, size_t bytes, uint8_t *packed, size_t room,
		      size_t *produced)
{
	uint8_t *again = fresh_pages(bytes);
	struct zip_request request = {
		.algorithm = ZIP_ZLIB,
		.source = source,
		.source_bytes = bytes,
		.destination = packed,
		.room = room,
	};
	struct zip_sqe done;
	uint64_t ns;
	int err;

	if (!again)
		return fail("memory", -ENOMEM);
	touch(again, bytes);
	err = timed(&b->compress, &request, &done, &ns);
	if (!err) {
		*produced = done.produced;
		request.source = packed;
		request.source_bytes = done.produced;
		request.destination = again;
		request.room = bytes;
		err = timed(&b->decompress, &request, &done, &ns);
	}
	if (!err && (done.produced != bytes || memcmp(again, source, bytes))) {
		fprintf(stderr, "faultbench: %zu bytes did not survive the round trip\n", bytes);
		err = -EIO;
	}
	munmap(again, bytes);
	return err;
}

struct reference {
	uint8_t *packed;
	size_t room, produced;
};

/* The checked output for `bytes` zeros, after a round trip with other bytes. */
static int make_reference(struct bench *b, size_t bytes, struct reference *reference)
{
	size_t room = ZIP_ROOM(bytes), ignored;
	uint8_t *source = fresh_pages(bytes);
	int err;

	reference->room = room;
	reference->packed = fresh_pages(room);
	if (!source || !reference->packed)
		return fail("memory", -ENOMEM);
	touch(reference->packed, room);
	pattern(source, bytes);
	err = round_trip(b, source, bytes, reference->packed, room, &ignored);
	if (!err) {
		memset(source, 0, bytes);
		err = round_trip(b, source, bytes, reference->packed, room, &reference->produced);
	}
	munmap(source, bytes);
	return err;
}

static int measure_cell(struct bench *b, size_t bytes, bool touched,
			const struct reference *reference, struct summary *summary)
{
	uint8_t *source = NULL, *packed = NULL;
	int err = 0;

	for (unsigned op = 0; op < b->options->ops && !err; op++) {
		struct zip_request request = { .algorithm = ZIP_ZLIB, .tag = op };
		struct zip_sqe done;

		if (!source) {
			source = fresh_pages(bytes);
			packed = fresh_pages(reference->room);
			if (!source || !packed)
				return fail("memory", -ENOMEM);
			if (touched) {
				touch(source, bytes);
				touch(packed, reference->room);
			}
		}
		request.source = source;
		request.source_bytes = bytes;
		request.destination = packed;
		request.room = reference->room;
		err = timed(&b->compress, &request, &done, &b->samples[op]);
		if (!err && (done.produced != reference->produced ||
			     memcmp(packed, reference->packed, reference->produced))) {
			fprintf(stderr,
				"faultbench: operation %u on %s memory gave other output "
				"than the reference\n",
				op, touched ? "touched" : "untouched");
			err = -EIO;
		}
		if (touched) {
			/* So that the next output cannot be this one. */
			memset(packed, 0, reference->produced);
		} else {
			munmap(source, bytes);
			munmap(packed, reference->room);
			source = NULL;
		}
	}
	if (source) {
		munmap(source, bytes);
		munmap(packed, reference->room);
	}
	if (!err)
		*summary = summarise(b->samples, b->options->ops);
	return err;
}

/* The CPU touches what an untouched operation makes the device touch. */
static int cpu_same_pages(struct bench *b, size_t bytes, size_t produced, uint64_t *p50)
{
	for (unsigned round = 0; round < CPU_ROUNDS; round++) {
		uint8_t *source = fresh_pages(bytes);
		uint8_t *packed = fresh_pages(produced);
		uint64_t start;

		if (!source || !packed)
			return fail("memory", -ENOMEM);
		start = counter();
		for (size_t i = 0; i < bytes; i += PAGE)
			(void)*(volatile uint8_t *)(source + i);
		for (size_t i = 0; i < produced; i += PAGE)
			*(volatile uint8_t *)(packed + i) = 1;
		b->samples[round] = ticks_to_ns(counter() - start);
		munmap(source, bytes);
		munmap(packed, produced);
	}
	*p50 = summarise(b->samples, CPU_ROUNDS).p50;
	return 0;
}

static int cpu_fault(struct bench *b, uint64_t *p50)
{
	uint8_t *pages = fresh_pages((size_t)CPU_FAULTS * PAGE);

	if (!pages)
		return fail("memory", -ENOMEM);
	for (unsigned i = 0; i < CPU_FAULTS; i++) {
		uint64_t start = counter();

		*(volatile uint8_t *)(pages + (size_t)i * PAGE) = 1;
		b->samples[i] = ticks_to_ns(counter() - start);
	}
	munmap(pages, (size_t)CPU_FAULTS * PAGE);
	/* One page in 512 also needs a table; the median is not among those. */
	*p50 = summarise(b->samples, CPU_FAULTS).p50;
	return 0;
}

/* p50 of a 4 KiB operation whose destination is one page, absent or present. */
static int one_page(struct bench *b, bool absent, uint64_t *p50)
{
	uint8_t *source = fresh_pages(PAGE);
	uint8_t *packed = fresh_pages(PAGE);
	int err = 0;

	if (!source || !packed)
		return fail("memory", -ENOMEM);
	touch(source, PAGE);
	touch(packed, PAGE);
	for (unsigned op = 0; op < b->options->ops && !err; op++) {
		struct zip_request request = {
			.algorithm = ZIP_ZLIB,
			.source = source,
			.source_bytes = PAGE,
			.destination = packed,
			.room = PAGE,
			.tag = op,
		};
		struct zip_sqe done;

		/* Takes the page and keeps its table, so one entry is all that is missing. */
		if (absent)
			madvise(packed, PAGE, MADV_DONTNEED);
		err = timed(&b->compress, &request, &done, &b->samples[op]);
	}
	munmap(source, PAGE);
	munmap(packed, PAGE);
	if (!err)
		*p50 = summarise(b->samples, b->options->ops).p50;
	return err;
}

static int64_t faults(const struct bench *b)
{
	return b->options->count ? faultcount_read() : 0;
}

static void print_count(FILE *f, const struct bench *b, int64_t count)
{
	if (b->options->count)
		fprintf(f, "%lld", (long long)count);
	else
		fprintf(f, "null");
}

static int run_size(struct bench *b, FILE *f, size_t bytes, bool first)
{
	struct reference reference;
	struct summary s;
	uint64_t cpu_ns;
	int err = make_reference(b, bytes, &reference);

	if (!err)
		err = cpu_same_pages(b, bytes, reference.produced, &cpu_ns);
	for (int touched = 0; touched < 2 && !err; touched++) {
		int64_t before = faults(b);
		int64_t after;

		err = measure_cell(b, bytes, touched, &reference, &s);
		after = faults(b);
		if (!err && (before < 0 || after < 0))
			err = fail("the kernel's fault count", -EIO);
		if (err)
			break;
		fprintf(f, "%s{\"memory\":\"%s\",\"bytes\":%zu,\"ops\":%u,\"iopf\":",
			first && !touched ? "" : ",", touched ? "touched" : "untouched", bytes,
			b->options->ops);
		print_count(f, b, after - before);
		fprintf(f,
			",\"latency_ns\":{\"min\":%llu,\"p50\":%llu,\"p99\":%llu,\"max\":%llu}"
			",\"cpu_ns\":%llu}",
			(unsigned long long)s.min, (unsigned long long)s.p50,
			(unsigned long long)s.p99, (unsigned long long)s.max,
			(unsigned long long)(touched ? 0 : cpu_ns));
	}
	munmap(reference.packed, reference.room);
	return err;
}

static int run(struct bench *b, FILE *f)
{
	uint64_t cpu_fault_ns, present_ns, absent_ns, iopf_ns;
	struct utsname kernel;
	int64_t total;
	int err = 0;

	fprintf(f, "{\"cells\":[");
	for (unsigned i = 0; i < b->options->sizes.count && !err; i++)
		err = run_size(b, f, b->options->sizes.at[i], i == 0);
	if (!err)
		err = cpu_fault(b, &cpu_fault_ns);
	if (!err)
		err = one_page(b, false, &present_ns);
	if (!err)
		err = one_page(b, true, &absent_ns);
	if (err)
		return err;
	iopf_ns = absent_ns > present_ns ? absent_ns - present_ns : 0;
	total = faults(b);
	if (total < 0)
		return fail("the kernel's fault count", -EIO);
	uname(&kernel);
	fprintf(f, "],\"cpu_fault_ns\":%llu,\"iopf_ns\":%llu,\"ratio\":%.2f,\"faults_guest\":",
		(unsigned long long)cpu_fault_ns, (unsigned long long)iopf_ns,
		cpu_fault_ns ? (double)iopf_ns / (double)cpu_fault_ns : 0.0);
	print_count(f, b, total);
	fprintf(f, ",\"kernel\":\"%s\"}", kernel.release);
	return 0;
}

static const struct option_row rows[] = {
	NUMBER("ops", ops, 1, 100000, 100, "operations in each cell"),
	{
		.name = "bytes",
		.argument = "LIST",
		.help = "up to 8 sizes with commas between them",
		.kind = OPTION_SIZES,
		.offset = FIELD_OF(struct sizes, sizes),
		.least = 1,
		.most = ZIP_SOURCE_MAX,
		.text = "4K,64K,1M",
	},
	FLAG("no-count", count, true, "no kprobe: iopf and faults_guest are null"),
	FLAG("result", result, false, "write the result to Stallbox's control channel too"),
	FLAG("quiet", quiet, false, "nothing on standard output"),
	TEXT("device", device, "PATH", QM_DEFAULT_DEVICE, "queue device"),
};

static const struct program program = {
	.name = "faultbench",
	.rows = rows,
	.row_count = sizeof(rows) / sizeof(rows[0]),
	.closing = "Prints one line of JSON. Exit status: 0 done, 1 failed, 2 wrong usage.\n",
};

int faultbench_main(int argc, char **argv)
{
	const struct sched_param idle = { 0 };
	struct options o;
	struct bench b = { .options = &o };
	struct report r;
	size_t samples;
	int err;

	if (options_parse(&program, argc, argv, &o) < 0)
		return EXIT_USAGE;
	samples = o.ops > CPU_FAULTS ? o.ops : CPU_FAULTS;
	b.samples = calloc(samples, sizeof(*b.samples));
	if (!b.samples || report_open(&r) < 0)
		return EXIT_FAILURE;
	/* Or the samples' own page faults would land between the measured ones. */
	memset(b.samples, 0xff, samples * sizeof(*b.samples));
	if (sched_setscheduler(0, SCHED_IDLE, &idle) < 0)
		perror("faultbench: SCHED_IDLE");

	/* Counting comes first: no queue, no fault that is not counted. */
	if (o.count && faultcount_start() < 0)
		return EXIT_FAILURE;
	err = qm_open(&b.compress, o.device, QM_COMPRESS, QM_BUSY);
	if (!err) {
		err = qm_open(&b.decompress, o.device, QM_DECOMPRESS, QM_BUSY);
		if (!err) {
			err = run(&b, r.stream);
			qm_close(&b.decompress);
		}
		qm_close(&b.compress);
	}
	if (o.count)
		faultcount_stop();
	if (err)
		return EXIT_FAILURE;
	return report_send(&r, !o.quiet, o.result) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
