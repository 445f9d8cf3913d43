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

#include "pinbench_loop.h"
#include "timing.h"

struct disturber {
	struct cell *cell;
	pthread_t thread;
	sem_t wanted;
	atomic_uint done; /* steps that have ended */
	bool leave;
	int error;
};

/* The frames of one region's used pages. */
struct snapshot {
	uint64_t frames[2 * SLOTS_MAX];
};

static int take(const struct memory *m, unsigned region, struct snapshot *s)
{
	int err = get_frames(source_of(m, region, 0), m->slots, s->frames);

	return err ? err : get_frames(destination_of(m, region, 0), m->slots, s->frames + m->slots);
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
		return cell_failed(cell, "/proc/self/pagemap", err);
	step->start_ns = now_ns();
	err = cell->column->step(cell, region, step);
	step->end_ns = now_ns();
	if (err)
		return err;
	err = take(&cell->memory, region, &after[0]);
	if (!err)
		err = take(&cell->bystander, region, &after[1]);
	if (err)
		return cell_failed(cell, "/proc/self/pagemap", err);
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
	return err ? cell_failed(cell, "a second thread", -err) : 0;
}

static void stop(struct disturber *d)
{
	d->leave = true;
	sem_post(&d->wanted);
	pthread_join(d->thread, NULL);
}

static int operation(struct cell *cell, unsigned region, unsigned slot)
{
	uint64_t ticks, ns;
	int done = cell->row->device->operate(cell, region, slot, &ticks);

	if (done < 0)
		return done;
	if (cell->produced && (uint32_t)done != cell->produced) {
		because(cell->why, sizeof(cell->why), "operation %u wrote %d bytes instead of %u",
			cell->sample_count, done, cell->produced);
		return -EIO;
	}
	cell->produced = (uint32_t)done;
	if (cell->sample_count == cell->sample_room) {
		because(cell->why, sizeof(cell->why), "more than %u operations", cell->sample_room);
		return -ENOSPC;
	}
	ns = ticks_to_ns(ticks);
	cell->samples[cell->sample_count++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
	return 0;
}

/* All slots of all regions once, region after region within a slot: neighbours in time are far
 * apart in memory. */
static int pass(struct cell *cell)
{
	const struct memory *m = &cell->memory;

	for (unsigned slot = 0; slot < m->slots; slot++) {
		for (unsigned region = 0; region < m->regions; region++) {
			int err = operation(cell, region, slot);

			if (err)
				return err;
		}
	}
	return 0;
}

/* The passes of one step, and at least one whole pass after its end. */
static int passes_with_step(struct cell *cell, struct disturber *d, unsigned region)
{
	unsigned passes = 0, after = 0;

	sem_post(&d->wanted);
	while (passes < cell->passes || after == 0) {
		bool ended = atomic_load(&d->done) == region + 1;
		int err;

		if (ended && d->error)
			return d->error;
		err = pass(cell);
		if (err)
			return err;
		after += ended;
		if (++passes == cell->row->device->passes_max)
			return cell_failed(cell, "a step of the activity", -ETIMEDOUT);
	}
	return 0;
}

int operate(struct cell *cell)
{
	const bool disturbed = cell->column->step != NULL;
	static struct disturber disturber;
	int err = 0;

	run_on(0);
	if (disturbed)
		err = start(&disturber, cell);
	if (err)
		return err;
	cell->start_ns = now_ns();
	for (unsigned i = 0; i < cell->passes && !err; i++)
		err = pass(cell);
	for (unsigned region = 0; disturbed && region < cell->memory.regions && !err; region++) {
		err = passes_with_step(cell, &disturber, region);
		cell->step_count = region + 1;
	}
	cell->end_ns = now_ns();
	if (disturbed)
		stop(&disturber);
	return err;
}
