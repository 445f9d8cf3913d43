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
#ifndef STALLBOX_PINBENCH_H
#define STALLBOX_PINBENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "qm.h"
#include "svatest_queue.h"

#define PAGE 4096u
#define REGION (2u << 20)
#define REGIONS_MAX 8u
#define SLOTS_MAX 128u
#define THP_ENABLED "/sys/kernel/mm/transparent_hugepage/enabled"
/* Bytes that one operation reads; it writes a page at most. */
#define OP_BYTES PAGE

/* A mapping. */
struct range {
	uint8_t *at;
	size_t bytes;
	bool file; /* read-only pages of a file */
};

/*
 * Memory with slots in it: sources in the lower half of each region, destinations in the upper.
 * Sources that are pages of a file are a mapping of their own.
 */
struct memory {
	struct range ranges[2]; /* the regions, aligned to REGION; then the file, if there is one */
	unsigned range_count;
	uint8_t *sources; /* of region 0 */
	uint8_t *destinations;
	size_t source_stride, destination_stride; /* from region to region */
	unsigned regions, slots;
};

static inline uint8_t *source_of(const struct memory *m, unsigned region, unsigned slot)
{
	return m->sources + region * m->source_stride + slot * PAGE;
}

static inline uint8_t *destination_of(const struct memory *m, unsigned region, unsigned slot)
{
	return m->destinations + region * m->destination_stride + slot * PAGE;
}

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

/* pinbench_device.c */
extern const struct device zip_device, engine_device;
/* NULL, or why there is no test engine that asks for pages and prefills, or does not. */
const char *no_engine(bool prefills, char *why, size_t size);

/* pinbench_prepare.c */
extern const struct preparation preparations[];
extern const unsigned preparation_count;
/*
 * Maps m->regions of 2 MiB with m->slots in each, not touched; the sources are those of the file
 * `fd`, if it is not -1. `flags` are further flags of mmap.
 */
int map_memory(struct memory *m, int fd, int flags);
/* One byte of each page: written, or read where it is a file's. */
void touch(const struct memory *m);
/* The bystander, touched; its used pages differ from each other unless `alike`. */
int make_bystander(struct cell *cell, int fd, bool alike);

/* pinbench_activity.c */
extern const struct activity activities[];
extern const unsigned activity_count;
/* "what: why" into cell->why, and err. */
int activity_failed(struct cell *cell, const char *what, int err);
/* madvise over the used pages of a region: 0 or errno. */
int advise(const struct memory *m, unsigned region, int advice);
/* Why the activity did not take place, unless each step moved or took pages of the bystander. */
const char *bystander_stayed(const struct cell *cell);

/* pinbench_reclaim.c */
extern const char *const swap_counters[], *const file_counters[], *const memcg_counters[];
const char *no_swap(char *why, size_t size);
int step_swap(struct cell *cell, unsigned region, struct step *step);
const char *no_files(char *why, size_t size);
int enter_file(struct cell *cell);
int step_file(struct cell *cell, unsigned region, struct step *step);
const char *no_groups(char *why, size_t size);
int enter_group(struct cell *cell);
int step_memcg(struct cell *cell, unsigned region, struct step *step);
void leave_group(struct cell *cell);

/* pinbench_loop.c */
void run_on(unsigned cpu);
/* Runs all passes and steps; 0 or a negative errno and cell->why. */
int operate(struct cell *cell);

/* pinbench_rules.c: each writes a line of JSON */
int pinbench_rules(const char *device, FILE *report);
int pinbench_release(const struct preparation *row, const char *device, FILE *report);
int pinbench_ratio(const char *device, unsigned rounds, FILE *report);

/* pinbench_kernel.c: what the kernel says of itself and is told. */
int put_text(const char *file, const char *text);
int put_number(const char *file, uint64_t value);
/* The number that the file begins with, or -1. */
int64_t get_number(const char *file);
/* The value after `name` in a file of "name value" lines, or -1. */
int64_t get_named(const char *file, const char *name);
void get_vmstat(const char *const *names, int64_t *values);
/* Pages of the memory's mapping in a field of /proc/self/smaps, such as "Locked:". */
uint64_t get_mapped(const struct memory *m, const char *field);
/* Frame numbers of `pages` pages from `at`; 0 where none is present. */
int get_frames(const void *at, size_t pages, uint64_t *frames);
void sleep_ms(unsigned ms);
/*
 * Puts the kernel's thread of this name on any CPU but 0: what it costs the operations' CPU is not
 * what is measured.
 */
void keep_from_cpu0(const char *name);
/* "text" into `why` and back, for functions that answer with a reason. */
const char *because(char *why, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
