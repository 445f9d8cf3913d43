// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The device's operations, and the thread that disturbs them. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "pinbench.h"
#include "timing.h"
#include "zip.h"

/* A step that takes longer than so many passes does not end by itself. */
#define STEP_PASSES_MAX 400u

struct disturber {
	struct cell *cell;
	pthread_t thread;
	sem_t wanted;
	atomic_uint done; /* steps that have ended */
	bool leave;
	int error;
};

static int fail(struct cell *cell, const char *what, int err)
{
	because(cell->why, sizeof(cell->why), "%s: %s", what, strerror(-err));
	return err;
}

void run_on(unsigned cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	/* With one CPU there is no other to choose, and both take turns. */
	sched_setaffinity(0, sizeof(set), &set);
}

/* The frames of one region's used pages. */
struct snapshot {
	uint64_t frames[2 * SLOTS_MAX];
};

static int take(const struct memory *m, unsigned region, struct snapshot *s)
{
	int err = get_frames(source_of(m, region, 0), m->slots, s->frames);

	return err ? err
		   : get_frames(destination_of(m, region, 0), m->slots, s->frames + m->slots);
}

static struct moves compare(const struct memory *m, const struct snapshot *before,
			    const struct snapshot *after)
{
	struct moves moves = { 0 };

	for (unsigned i = 0; i < 2 * m->slots; i++) {
		if (!before->frames[i])
			continue;
		moves.pages++;
		if (!after->frames[i])
			moves.gone++;
		else if (after->frames[i] != before->frames[i])
			moves.moved++;
	}
	return moves;
}

static int disturb(struct cell *cell, unsigned region)
{
	struct step *step = &cell->steps[region];
	static struct snapshot before[2], after[2];
	int err = take(&cell->memory, region, &before[0]);

	if (!err)
		err = take(&cell->bystander, region, &before[1]);
	if (err)
		return fail(cell, "/proc/self/pagemap", err);
	step->start_ns = now_ns();
	err = cell->column->step(cell, region, step);
	step->end_ns = now_ns();
	if (err)
		return err;
	err = take(&cell->memory, region, &after[0]);
	if (!err)
		err = take(&cell->bystander, region, &after[1]);
	if (err)
		return fail(cell, "/proc/self/pagemap", err);
	step->memory = compare(&cell->memory, &before[0], &after[0]);
	/* A refusal that concerned a part, such as an absent page, is none. */
	if (step->memory.moved || step->memory.gone)
		step->error = 0;
	step->bystander = compare(&cell->bystander, &before[1], &after[1]);
	return 0;
}

static void *disturber_main(void *argument)
{
	struct disturber *d = argument;

	/* The operations' own thread is SCHED_IDLE; this one is as any other. */
	sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){ 0 });
	run_on(1);
	for (unsigned region = 0;; region++) {
		while (sem_wait(&d->wanted) < 0)
			;
		if (d->leave)
			return NULL;
		d->error = disturb(d->cell, region);
		atomic_store(&d->done, region + 1);
	}
}

static int start(struct disturber *d, struct cell *cell)
{
	int err;

	d->cell = cell;
	sem_init(&d->wanted, 0, 0);
	atomic_init(&d->done, 0);
	err = pthread_create(&d->thread, NULL, disturber_main, d);
	return err ? fail(cell, "a second thread", -err) : 0;
}

static void stop(struct disturber *d)
{
	d->leave = true;
	sem_post(&d->wanted);
	pthread_join(d->thread, NULL);
}

/* One operation: from just before the doorbell to when this CPU sees the completion. */
static int operation(struct cell *cell, unsigned region, unsigned slot, uint32_t produced)
{
	const struct zip_request request = {
		.algorithm = ZIP_ZLIB,
		.source = source_of(&cell->memory, region, slot),
		.source_bytes = OP_BYTES,
		.destination = destination_of(&cell->memory, region, slot),
		.room = PAGE,
		.tag = cell->sample_count,
	};
	const uint64_t limit = counter_frequency() * (ZIP_TIMEOUT_MS / 1000);
	struct zip_sqe sqe, done;
	uint64_t start, end, ns;
	unsigned spins = 0;
	int err;

	zip_fill(&sqe, &cell->queue, &request);
	err = qm_put(&cell->queue, &sqe);
	if (err)
		return fail(cell, "submission", err);
	start = counter();
	qm_ring(&cell->queue);
	while (!qm_ready(&cell->queue))
		if (++spins % 1024 == 0 && counter() - start > limit)
			return fail(cell, "completion", -ETIMEDOUT);
	end = counter();
	err = qm_receive(&cell->queue, &done);
	if (err)
		return fail(cell, "completion", err);
	if (zip_tag(&done, &cell->queue) != request.tag || !zip_good(&done) ||
	    done.consumed != OP_BYTES || (produced && done.produced != produced)) {
		because(cell->why, sizeof(cell->why),
			"operation %u: status 0x%02x (%s), consumed %u, produced %u", request.tag,
			zip_status(&done), zip_status_name(zip_status(&done)), done.consumed,
			done.produced);
		return -EIO;
	}
	if (cell->sample_count == cell->sample_room) {
		because(cell->why, sizeof(cell->why), "more than %u operations", cell->sample_room);
		return -ENOSPC;
	}
	ns = ticks_to_ns(end - start);
	cell->samples[cell->sample_count++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
	return (int)done.produced;
}

/* All slots of all regions once, region after region within a slot: neighbours in time are far
 * apart in memory. */
static int pass(struct cell *cell, uint32_t *produced)
{
	const struct memory *m = &cell->memory;

	for (unsigned slot = 0; slot < m->slots; slot++) {
		for (unsigned region = 0; region < m->regions; region++) {
			int done = operation(cell, region, slot, *produced);

			if (done < 0)
				return done;
			*produced = (uint32_t)done;
		}
	}
	return 0;
}

/* The passes of one step, and at least one whole pass after its end. */
static int passes_with_step(struct cell *cell, struct disturber *d, unsigned region,
			    uint32_t *produced)
{
	unsigned passes = 0, after = 0;

	sem_post(&d->wanted);
	while (passes < cell->passes || after == 0) {
		bool ended = atomic_load(&d->done) == region + 1;
		int err;

		if (ended && d->error)
			return d->error;
		err = pass(cell, produced);
		if (err)
			return err;
		after += ended;
		if (++passes == STEP_PASSES_MAX)
			return fail(cell, "a step of the activity", -ETIMEDOUT);
	}
	return 0;
}

/* What the device wrote must still be there, whatever the kernel did with the pages. */
static int check_outputs(struct cell *cell, uint32_t produced)
{
	const struct memory *m = &cell->memory;
	const uint8_t *expected = destination_of(m, 0, 0);

	for (unsigned region = 0; region < m->regions; region++) {
		for (unsigned slot = 0; slot < m->slots; slot++) {
			if (!memcmp(destination_of(m, region, slot), expected, produced))
				continue;
			because(cell->why, sizeof(cell->why),
				"the output of region %u, slot %u differs from the first", region, slot);
			return -EIO;
		}
	}
	return 0;
}

int operate(struct cell *cell)
{
	const bool disturbed = cell->column->step != NULL;
	static struct disturber disturber;
	uint32_t produced = 0;
	int err = 0;

	run_on(0);
	if (disturbed)
		err = start(&disturber, cell);
	if (err)
		return err;
	cell->start_ns = now_ns();
	for (unsigned i = 0; i < cell->passes && !err; i++)
		err = pass(cell, &produced);
	for (unsigned region = 0; disturbed && region < cell->memory.regions && !err; region++) {
		err = passes_with_step(cell, &disturber, region, &produced);
		cell->step_count = region + 1;
	}
	cell->end_ns = now_ns();
	if (disturbed)
		stop(&disturber);
	return err ? err : check_outputs(cell, produced);
}
