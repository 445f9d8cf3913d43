// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * pinbench: what each way of preparing memory is worth while the kernel moves pages about.
 *
 * A cell of the matrix is one way of preparing (a row) under one activity of the kernel (a
 * column). Each cell is a process of its own, so that nothing of it is left behind in the next:
 *
 *   prepare   maps and prepares the memory that the device is to work on (pinbench_prepare.c)
 *   operate   gives page after page to the row's device (pinbench_loop.c, pinbench_device.c), while
 *   disturb   a second thread on another CPU makes the kernel act on it (pinbench_activity.c)
 *
 * The memory is a few regions of 2 MiB, the size of a huge page. In each, some slots are used: a
 * source page in the lower half and a destination page in the upper half. The device goes round
 * all slots of all regions; once round is a pass. A few passes without any activity come first,
 * and then, for each region in turn, one step of the activity against that region and some
 * passes while it goes on and after it. The activity acts on a second piece of memory as well,
 * the bystander, which only ever is touched by the CPU: what happens to the bystander proves that
 * the activity took place, also where the prepared memory is spared.
 */
#ifndef STALLBOX_PINBENCH_CELL_H
#define STALLBOX_PINBENCH_CELL_H

#include <sys/types.h>

#include "pinbench_memory.h"
#include "qm.h"
#include "svatest_queue.h"

/* Bytes that one operation reads; it writes a page at most. */
#define OP_BYTES PAGE

/* What a step did to pages, from their frame numbers before and after. */
struct moves {
	unsigned pages; /* that were present before */
	unsigned moved; /* in another frame now */
	unsigned gone;	/* not present now */
};

struct step {
	uint64_t start_ns, end_ns;
	int error; /* errno with which the kernel refused to act on the memory, or 0 */
	struct moves memory, bystander;
};

struct cost {
	uint64_t ns;
	uint64_t present_pages, locked_pages, pinned_pages;
};

struct cell;

/* What does the operations. */
struct device {
	/* Opens the cell's queue: 0 or a negative errno, with the reason on stderr. */
	int (*open)(struct cell *cell, const char *node);
	void (*close)(struct cell *cell);
	/*
	 * One operation; `ticks` are from just before the doorbell to when this CPU sees the
	 * completion. How many bytes it wrote, or a negative errno and cell->why.
	 */
	int (*operate)(struct cell *cell, unsigned region, unsigned slot, uint64_t *ticks);
	/* After all operations, each of which wrote `produced` bytes: 0 if memory is right. */
	int (*check)(struct cell *cell, uint32_t produced);
	/* A step that takes longer than so many passes does not end by itself. */
	unsigned passes_max;
};

/* A row. */
struct preparation {
	const char *name;
	const struct device *device;
	bool pins;
	/* NULL, or why this kernel cannot do it, written to `why`. Loads modules where needed. */
	const char *(*unavailable)(char *why, size_t size);
	/*
	 * Maps cell->memory and prepares it. A negative errno is the kernel's refusal, with
	 * cell->why saying of what.
	 */
	int (*prepare)(struct cell *cell);
};

/* A column. */
struct activity {
	const char *name;
	/* Counters of /proc/vmstat that tell of it, NULL-terminated. */
	const char *const *counters;
	/* Once in a guest: turns on what the activity needs. As for a preparation. */
	const char *(*unavailable)(char *why, size_t size);
	/* In a cell's process, before anything is mapped; may be NULL. Makes the bystander, if it is
	 * to be a special one. */
	int (*enter)(struct cell *cell);
	/* One step against `region`; NULL in the column without activity. */
	int (*step)(struct cell *cell, unsigned region, struct step *step);
	/* After the last pass: undoes a step's effects on the system; may be NULL. */
	void (*leave)(struct cell *cell);
	/* NULL if the activity took place, or what is missing. */
	const char *(*missing)(const struct cell *cell);
};

#define COUNTERS_MAX 12

struct cell {
	const struct preparation *row;
	const struct activity *column;
	unsigned passes; /* without activity, and again for each step */
	struct memory memory, bystander;
	struct qm_queue zip; /* whichever is the row's device's */
	struct svatest_queue engine;
	struct cost cost;
	int pin_fd; /* what holds the pins, or -1 */

	struct step steps[REGIONS_MAX];
	unsigned step_count;
	int64_t counted[COUNTERS_MAX]; /* growth of column->counters during the cell */
	int64_t faults;		       /* reports that reached the kernel; -1 uncounted */

	uint32_t *samples; /* latency of each operation, ns */
	unsigned sample_count, sample_room;
	uint32_t produced; /* bytes that each operation wrote */
	uint64_t start_ns, end_ns;

	/* The activity's own. */
	int file; /* whose pages the sources are, or -1 */
	pid_t child;
	uint64_t baseline;

	char why[160];
};

/* "what: why" into cell->why, and err. */
int cell_failed(struct cell *cell, const char *what, int err);
/* The bystander, touched; its used pages differ from each other unless `alike`. */
int make_bystander(struct cell *cell, int fd, bool alike);
/* Why the activity did not take place, unless each step moved or took pages of the bystander. */
const char *bystander_stayed(const struct cell *cell);

#endif
