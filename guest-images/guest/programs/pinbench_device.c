// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The devices that do the operations. The ZIP engine compresses a page; its transactions stall
 * where a page is absent. The test engine copies one; it translates addresses itself, keeps the
 * translations, and asks for absent pages (ATS and PRI; docs/ats-pri.md).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "pinbench_device.h"
#include "timing.h"
#include "zip.h"

/* Its rings have a page for the descriptors, and half of one for the completions. */
#define ENGINE_RING_LOG2 6u
#define PAGE_LOG2 12u

static uint64_t patience(void)
{
	return counter_frequency() * (ZIP_TIMEOUT_MS / 1000);
}

/* --- the ZIP engine --- */

static int zip_open(struct cell *cell, const char *node)
{
	return qm_open(&cell->zip, node, QM_COMPRESS, QM_BUSY);
}

static void zip_close(struct cell *cell)
{
	qm_close(&cell->zip);
}

static int zip_operate(struct cell *cell, unsigned region, unsigned slot, uint64_t *ticks)
{
	const struct zip_request request = {
		.algorithm = ZIP_ZLIB,
		.source = source_of(&cell->memory, region, slot),
		.source_bytes = OP_BYTES,
		.destination = destination_of(&cell->memory, region, slot),
		.room = PAGE,
		.tag = cell->sample_count,
	};
	const uint64_t limit = patience();
	struct zip_sqe sqe, done;
	unsigned spins = 0;
	uint64_t start;
	int err;

	zip_fill(&sqe, &cell->zip, &request);
	err = qm_put(&cell->zip, &sqe);
	if (err)
		return cell_failed(cell, "submission", err);
	start = counter();
	qm_ring(&cell->zip);
	while (!qm_ready(&cell->zip))
		if (++spins % 1024 == 0 && counter() - start > limit)
			return cell_failed(cell, "completion", -ETIMEDOUT);
	*ticks = counter() - start;
	err = qm_receive(&cell->zip, &done);
	if (err)
		return cell_failed(cell, "completion", err);
	if (zip_tag(&done, &cell->zip) != request.tag || !zip_good(&done) ||
	    done.consumed != OP_BYTES) {
		because(cell->why, sizeof(cell->why),
			"operation %u: status 0x%02x (%s), consumed %u, produced %u", request.tag,
			zip_status(&done), zip_status_name(zip_status(&done)), done.consumed,
			done.produced);
		return -EIO;
	}
	return (int)done.produced;
}

/* What the device wrote must still be there, whatever the kernel did with the pages. */
static int zip_check(struct cell *cell, uint32_t produced)
{
	const struct memory *m = &cell->memory;
	const uint8_t *expected = destination_of(m, 0, 0);

	for (unsigned region = 0; region < m->regions; region++) {
		for (unsigned slot = 0; slot < m->slots; slot++) {
			if (!memcmp(destination_of(m, region, slot), expected, produced))
				continue;
			because(cell->why, sizeof(cell->why),
				"the output of region %u, slot %u differs from the first", region,
				slot);
			return -EIO;
		}
	}
	return 0;
}

const struct device zip_device = { zip_open, zip_close, zip_operate, zip_check, 400 };

/* --- the test engine --- */

static int open_engine(struct svatest_queue *queue, const char *node)
{
	const struct svatest_config config = {
		.ring_log2 = ENGINE_RING_LOG2,
		.depth = 1,
		.access_log2 = PAGE_LOG2,
		.touch_rings = true,
	};

	return svatest_open(queue, node, &config);
}

static int engine_open(struct cell *cell, const char *node)
{
	char found[64];
	int err;

	(void)node;
	err = svatest_find(SVATEST_MODULE, found, sizeof(found));
	if (!err)
		err = open_engine(&cell->engine, found);
	/* The rings are the process's memory too, and not what is measured: reclaim leaves them alone. */
	if (!err && mlock(cell->engine.sq, cell->engine.ring_bytes) < 0)
		err = -errno;
	return err;
}

static void engine_close(struct cell *cell)
{
	svatest_close(&cell->engine);
}

static int engine_operate(struct cell *cell, unsigned region, unsigned slot, uint64_t *ticks)
{
	const struct svatest_descriptor descriptor = {
		.opcode = SVATEST_COPY,
		.tag = cell->sample_count,
		.source = (uintptr_t)source_of(&cell->memory, region, slot),
		.destination = (uintptr_t)destination_of(&cell->memory, region, slot),
		.length = OP_BYTES,
	};
	const uint64_t limit = patience();
	struct svatest_completion done;
	unsigned spins = 0;
	uint64_t start;
	int err;

	err = svatest_put(&cell->engine, &descriptor);
	if (err)
		return cell_failed(cell, "submission", err);
	start = counter();
	svatest_ring(&cell->engine);
	while (!svatest_ready(&cell->engine))
		if (++spins % 1024 == 0 && counter() - start > limit)
			return cell_failed(cell, "completion", -ETIMEDOUT);
	*ticks = counter() - start;
	err = svatest_take(&cell->engine, &done);
	if (err)
		return cell_failed(cell, "completion", err);
	if (done.tag != descriptor.tag || done.status != SVATEST_DONE || done.result != OP_BYTES) {
		because(cell->why, sizeof(cell->why),
			"operation %llu: status 0x%02x (%s), result %llu, detail 0x%llx",
			(unsigned long long)done.tag, done.status, svatest_status_name(done.status),
			(unsigned long long)done.result, (unsigned long long)done.detail);
		return -EIO;
	}
	return OP_BYTES;
}

/*
 * A copy of zeros cannot be told from no copy. So the device copies once more, now what the CPU
 * writes: a translation that outlived its page, on either side, shows.
 */
static int engine_check(struct cell *cell, uint32_t produced)
{
	const struct memory *m = &cell->memory;
	const bool file = m->range_count > 1;
	uint64_t ticks;

	for (unsigned region = 0; region < m->regions; region++) {
		for (unsigned slot = 0; slot < m->slots; slot++) {
			uint8_t *source = source_of(m, region, slot);
			uint32_t mark = 1 + region * m->slots + slot;
			int done;

			for (size_t at = 0; !file && at < PAGE; at += sizeof(mark))
				memcpy(source + at, &mark, sizeof(mark));
			done = engine_operate(cell, region, slot, &ticks);
			if (done < 0)
				return done;
			if (!memcmp(destination_of(m, region, slot), source, produced))
				continue;
			because(cell->why, sizeof(cell->why),
				"the copy of region %u, slot %u differs from its source", region,
				slot);
			return -EIO;
		}
	}
	return 0;
}

/* Its operations take half as long. */
const struct device engine_device = { engine_open, engine_close, engine_operate, engine_check,
				      800 };

const char *no_engine(bool prefills, char *why, size_t size)
{
	struct svatest_queue queue;
	const char *reason = NULL;
	char node[64];
	int err = svatest_find(SVATEST_MODULE, node, sizeof(node));

	if (!err)
		err = open_engine(&queue, node);
	if (err == -ENODEV)
		return because(why, size,
			       "no test engine in this machine (--accel test-engine,fault=pri)");
	if (err == -EOPNOTSUPP)
		return because(
			why, size,
			"this kernel's SMMU driver denies page requests; those of the images "
			"pri and pri-7.3 serve them");
	if (err)
		return because(why, size, "the test engine: %s", strerror(-err));
	if (!svatest_uses_page_requests(&queue))
		reason = because(why, size,
				 "the test engine stalls (--accel test-engine,fault=pri)");
	else if (prefills && !svatest_prefills(&queue))
		reason = because(why, size, "the test engine does not prefill (ats=prefill)");
	else if (!prefills && svatest_prefills(&queue))
		reason = because(why, size, "the test engine prefills (without ats=prefill)");
	svatest_close(&queue);
	return reason;
}
