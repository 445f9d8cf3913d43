// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The columns: what the kernel does with the memory meanwhile. Those that go through files, swap
 * and groups of processes are in pinbench_reclaim.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pinbench_activity.h"
#include "pinbench_reclaim.h"
#include "timing.h"

#define KSM "/sys/kernel/mm/ksm/"
#define KHUGEPAGED "/sys/kernel/mm/transparent_hugepage/khugepaged/"
#define NUMA_BALANCING "/proc/sys/kernel/numa_balancing"
#define NUMA_DEBUG "/sys/kernel/debug/sched/numa_balancing/"
#define COMPACT "/proc/sys/vm/compact_memory"
#define CMA "/sys/kernel/debug/cma/"

/* Virtual time that a daemon of the kernel may take for a step. */
#define DAEMON_MS_MAX 400u
/* The same for a scan that comes with a tick. */
#define NUMA_MS_MAX 40u

/* The whole of a region, for what is about huge pages. */
static int advise_region(const struct memory *m, unsigned region, int advice)
{
	return madvise(m->ranges[0].at + (size_t)region * REGION, REGION, advice) < 0 ? errno : 0;
}

/* Only some steps find something to do. */
static const char *bystander_always_stayed(const struct cell *cell)
{
	for (unsigned i = 0; i < cell->step_count; i++)
		if (cell->steps[i].bystander.moved || cell->steps[i].bystander.gone)
			return NULL;
	return "the activity did not take place: the bystander stayed where it was";
}

/* Frames of a region's used pages of the bystander, to wait until they change. */
static bool bystander_moved(const struct memory *m, unsigned region, uint64_t *before)
{
	uint64_t now[SLOTS_MAX];
	unsigned moved = 0;

	if (get_frames(destination_of(m, region, 0), m->slots, now))
		return false;
	for (unsigned i = 0; i < m->slots; i++)
		moved += now[i] != before[i];
	/* Some may be those that others are merged with, or be passed over. */
	return 2 * moved >= m->slots;
}

static int64_t counted(const struct cell *cell, const char *name)
{
	for (unsigned i = 0; cell->column->counters[i]; i++)
		if (!strcmp(cell->column->counters[i], name))
			return cell->counted[i];
	return -1;
}

/* --- none --- */

static const char *nothing_missing(const struct cell *cell)
{
	(void)cell;
	return NULL;
}

/* --- migrate: move_pages to the other node --- */

#define MPOL_MF_MOVE (1 << 1)

static const char *no_second_node(char *why, size_t size)
{
	if (access("/sys/devices/system/node/node1", F_OK) < 0)
		return because(why, size, "one NUMA node only");
	return NULL;
}

static int move_region(const struct memory *m, unsigned region, int node)
{
	void *pages[2 * SLOTS_MAX];
	int nodes[2 * SLOTS_MAX], status[2 * SLOTS_MAX];
	int err = 0;
	long left;

	for (unsigned slot = 0; slot < m->slots; slot++) {
		pages[slot] = source_of(m, region, slot);
		pages[m->slots + slot] = destination_of(m, region, slot);
	}
	for (unsigned i = 0; i < 2 * m->slots; i++)
		nodes[i] = node;
	left = syscall(SYS_move_pages, 0, 2ul * m->slots, pages, nodes, status, MPOL_MF_MOVE);
	if (left < 0)
		return errno;
	/* So many pages could not be moved, and have no status of their own (move_pages(2)). */
	if (left > 0)
		return EBUSY;
	for (unsigned i = 0; i < 2 * m->slots; i++)
		/* An absent page and the zero page have nothing to move. */
		if (status[i] < 0 && status[i] != -ENOENT && status[i] != -EFAULT)
			err = -status[i];
	return err;
}

static int step_migrate(struct cell *cell, unsigned region, struct step *step)
{
	int err = move_region(&cell->bystander, region, 1);

	if (err)
		return cell_failed(cell, "move_pages", -err);
	step->error = move_region(&cell->memory, region, 1);
	return 0;
}

/* --- numa_balancing: hinting faults, and pages that follow the CPU --- */

static const char *no_numa_balancing(char *why, size_t size)
{
	/* The first scan of a process would otherwise wait for a second of its CPU time. */
	static const struct {
		const char *file;
		unsigned value;
	} settings[] = {
		{ NUMA_DEBUG "scan_delay_ms", 1 },
		{ NUMA_DEBUG "scan_period_min_ms", 1 },
		{ NUMA_DEBUG "scan_period_max_ms", 1 },
		/* The larger, the longer the period is at least; task_scan_min. */
		{ NUMA_DEBUG "scan_size_mb", 16 },
	};
	const char *reason = no_second_node(why, size);

	if (reason)
		return reason;
	if (access(NUMA_BALANCING, W_OK) < 0)
		return because(why, size, "no " NUMA_BALANCING " (CONFIG_NUMA_BALANCING)");
	for (unsigned i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		int err = put_number(settings[i].file, settings[i].value);

		if (err)
			return because(why, size, "%s: %s (CONFIG_SCHED_DEBUG)", settings[i].file,
				       strerror(-err));
	}
	return NULL;
}

/* Each is to be on the wrong node: the bystander is used on CPU 1, the memory by a device whose
 * faults are handled on CPU 0. */
static int enter_numa(struct cell *cell)
{
	int err;

	run_on(0);
	err = make_bystander(cell, -1, false);
	run_on(1);
	return err;
}

static int step_numa(struct cell *cell, unsigned region, struct step *step)
{
	const struct memory *m = &cell->bystander;
	uint64_t before[SLOTS_MAX], end;
	int err = get_frames(destination_of(m, region, 0), m->slots, before);

	(void)step;
	if (!err)
		err = put_number(NUMA_BALANCING, 1);
	if (err)
		return cell_failed(cell, NUMA_BALANCING, err);
	/*
	 * Two faults of a page are needed before it moves (kernel/sched/fair.c:
	 * should_numa_migrate_memory), so two scans with accesses after each; and a scan comes
	 * with a tick that finds this thread at work.
	 */
	end = now_ns() + NUMA_MS_MAX * 1000000ull;
	do {
		for (unsigned i = 0; i < 64; i++) {
			for (unsigned slot = 0; slot < m->slots; slot++) {
				(void)*(volatile uint8_t *)source_of(m, region, slot);
				(void)*(volatile uint8_t *)destination_of(m, region, slot);
			}
		}
	} while (!bystander_moved(m, region, before) && now_ns() < end);
	put_number(NUMA_BALANCING, 0);
	return 0;
}

static void leave_numa(struct cell *cell)
{
	(void)cell;
	put_number(NUMA_BALANCING, 0);
}

/* Free pages wait on lists of each CPU, thousands of them, before anybody else can have them. */
static void shorten_cpu_lists(void)
{
	put_number("/proc/sys/vm/percpu_pagelist_high_fraction", 1000000);
}

/* --- compaction --- */

/*
 * Compaction moves pages from low addresses into holes at high ones, and takes no block of 2 MiB
 * that is all free for a hole (mm/compaction.c: suitable_migration_target). So there have to be
 * holes: ballast, of which the lower half of the frames is given back for the memory to come to
 * lie there, and of whose upper half every second page goes, a part with each step.
 */
#define BALLAST_PAGES 8192u
/* Some pages move in any run, for other reasons. */
#define COMPACTED_MIN 64

struct ballast {
	uint8_t *base;
	unsigned upper[BALLAST_PAGES / 2]; /* page numbers within it */
	unsigned upper_count;
};

static struct ballast ballast;

static int compare_frames(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static const char *no_compaction(char *why, size_t size)
{
	if (access(COMPACT, W_OK) < 0)
		return because(why, size, "no " COMPACT " (CONFIG_COMPACTION)");
	/* Free pages on the lists of a CPU are no holes. */
	shorten_cpu_lists();
	return NULL;
}

/* Where the bystander lies is not known, and it may be a step too high; but many pages move. */
static const char *nothing_compacted(const struct cell *cell)
{
	if (counted(cell, "pgmigrate_success") < COMPACTED_MIN)
		return "the activity did not take place: compaction moved next to nothing";
	return NULL;
}

static int enter_compaction(struct cell *cell)
{
	static uint64_t frames[BALLAST_PAGES], sorted[BALLAST_PAGES];
	uint64_t median;
	int err;

	ballast.base = mmap(NULL, BALLAST_PAGES * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (ballast.base == MAP_FAILED)
		return cell_failed(cell, "ballast", -errno);
	err = get_frames(ballast.base, BALLAST_PAGES, frames);
	if (err)
		return cell_failed(cell, "/proc/self/pagemap", err);
	memcpy(sorted, frames, sizeof(sorted));
	qsort(sorted, BALLAST_PAGES, sizeof(*sorted), compare_frames);
	median = sorted[BALLAST_PAGES / 2];
	for (unsigned i = 0; i < BALLAST_PAGES; i++) {
		if (frames[i] < median)
			madvise(ballast.base + (size_t)i * PAGE, PAGE, MADV_DONTNEED);
		else if (ballast.upper_count < BALLAST_PAGES / 2)
			ballast.upper[ballast.upper_count++] = i;
	}
	return 0;
}

static int step_compaction(struct cell *cell, unsigned region, struct step *step)
{
	const unsigned part = ballast.upper_count / cell->memory.regions;
	int err;

	(void)step;
	for (unsigned i = region * part; i < (region + 1) * part; i += 2)
		madvise(ballast.base + (size_t)ballast.upper[i] * PAGE, PAGE, MADV_DONTNEED);
	err = put_text(COMPACT, "1");
	return err ? cell_failed(cell, COMPACT, err) : 0;
}

/* --- collapse: MADV_COLLAPSE --- */

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static int step_collapse(struct cell *cell, unsigned region, struct step *step)
{
	int err = advise_region(&cell->bystander, region, MADV_COLLAPSE);

	if (err)
		return cell_failed(cell, "MADV_COLLAPSE", -err);
	step->error = advise_region(&cell->memory, region, MADV_COLLAPSE);
	return 0;
}

/* --- khugepaged --- */

static const char *no_khugepaged(char *why, size_t size)
{
	const char *reason = no_huge_pages(why, size);

	if (reason)
		return reason;
	if (put_number(KHUGEPAGED "scan_sleep_millisecs", 1) ||
	    put_number(KHUGEPAGED "alloc_sleep_millisecs", 1) ||
	    put_number(KHUGEPAGED "pages_to_scan", 65536))
		return because(why, size, "no " KHUGEPAGED);
	keep_from_cpu0("khugepaged");
	return NULL;
}

static int step_khugepaged(struct cell *cell, unsigned region, struct step *step)
{
	const struct memory *m = &cell->bystander;
	uint64_t before[SLOTS_MAX];
	int64_t scans;
	int err = get_frames(destination_of(m, region, 0), m->slots, before);

	if (!err)
		err = -advise_region(m, region, MADV_HUGEPAGE);
	if (err)
		return cell_failed(cell, "MADV_HUGEPAGE", err);
	step->error = advise_region(&cell->memory, region, MADV_HUGEPAGE);
	scans = get_number(KHUGEPAGED "full_scans");
	/* One scan may be under way already. */
	for (unsigned ms = 0; ms < DAEMON_MS_MAX; ms++) {
		if (bystander_moved(m, region, before) &&
		    get_number(KHUGEPAGED "full_scans") >= scans + 2)
			break;
		sleep_ms(1);
	}
	return 0;
}

/* --- ksm: merging of equal pages --- */

static const char *no_ksm(char *why, size_t size)
{
	if (put_number(KSM "sleep_millisecs", 1) || put_number(KSM "pages_to_scan", 100000))
		return because(why, size, "no " KSM " (CONFIG_KSM)");
	keep_from_cpu0("ksmd");
	return NULL;
}

static int enter_ksm(struct cell *cell)
{
	return make_bystander(cell, -1, true);
}

static int step_ksm(struct cell *cell, unsigned region, struct step *step)
{
	const struct memory *m = &cell->bystander;
	uint64_t before[SLOTS_MAX];
	int64_t scans;
	int err = get_frames(destination_of(m, region, 0), m->slots, before);

	if (!err)
		err = -advise(m, region, MADV_MERGEABLE);
	if (err)
		return cell_failed(cell, "MADV_MERGEABLE", err);
	step->error = advise(&cell->memory, region, MADV_MERGEABLE);
	scans = get_number(KSM "full_scans");
	err = put_number(KSM "run", 1);
	if (err)
		return cell_failed(cell, KSM "run", err);
	/* The first scan remembers checksums, the second merges what has kept them. */
	for (unsigned ms = 0; ms < DAEMON_MS_MAX; ms++) {
		if (bystander_moved(m, region, before) && get_number(KSM "full_scans") >= scans + 3)
			break;
		sleep_ms(1);
	}
	put_number(KSM "run", 0);
	return 0;
}

static void leave_ksm(struct cell *cell)
{
	(void)cell;
	put_number(KSM "run", 0);
}

/* --- cma: allocations from the contiguous memory allocator's area --- */

#define CMA_FILLER (8u << 20)
#define CMA_PIECES 4u
#define CMA_PIECE_MIN 1024u /* pages */

static char cma_area[96];

static const char *no_cma(char *why, size_t size)
{
	static const char *const names[] = { "cma-reserved", "reserved" };

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(cma_area, sizeof(cma_area), CMA "%s/", names[i]);
		if (access(cma_area, F_OK) == 0) {
			shorten_cpu_lists();
			return NULL;
		}
	}
	return because(why, size,
		       "no area in " CMA " (CONFIG_CMA_DEBUGFS, cma= on the command line)");
}

static int put_cma(const char *file, uint64_t pages)
{
	char path[128];

	snprintf(path, sizeof(path), "%s%s", cma_area, file);
	return put_number(path, pages);
}

static int64_t cma_pages(const char *file)
{
	char path[128];

	snprintf(path, sizeof(path), "%s%s", cma_area, file);
	return get_number(path);
}

static int enter_cma(struct cell *cell)
{
	/* What is on the lists of this CPU need not be of the area, and would be taken first. */
	void *filler = mmap(NULL, CMA_FILLER, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (filler == MAP_FAILED)
		return cell_failed(cell, "filler", -errno);
	cell->baseline = (uint64_t)cma_pages("used");
	return 0;
}

/*
 * The area's next part, in a few pieces: what lives there has to go, and may go to where the next
 * piece will be. All of the area but a little is allocated in the end; it would be all if others had
 * no piece of it.
 */
static int step_cma(struct cell *cell, unsigned region, struct step *step)
{
	const uint64_t free = (uint64_t)cma_pages("count") - cell->baseline;
	int err = 0;

	(void)region;
	(void)step;
	for (unsigned i = 0; i < CMA_PIECES && !err; i++) {
		uint64_t pages = free / cell->memory.regions / CMA_PIECES;

		err = put_cma("alloc", pages);
		while (err && pages > CMA_PIECE_MIN) {
			pages = pages * 7 / 8;
			err = put_cma("alloc", pages);
		}
	}
	return err ? cell_failed(cell, "an allocation from the CMA area", err) : 0;
}

/* Where the bystander lies is not known, but what had to go was moved. */
static const char *nothing_allocated(const struct cell *cell)
{
	if (counted(cell, "cma_alloc_success") < (int64_t)cell->step_count)
		return "the activity did not take place: the CMA area gave no pages";
	if (counted(cell, "pgmigrate_success") <= 0)
		return "the activity did not take place: nothing had to leave the CMA area";
	return NULL;
}

static void leave_cma(struct cell *cell)
{
	const int64_t used = cma_pages("used");

	if (used > (int64_t)cell->baseline)
		put_cma("free", (uint64_t)used - cell->baseline);
}

/* --- fork with copy-on-write --- */

static void end_child(struct cell *cell)
{
	if (cell->child <= 0)
		return;
	kill(cell->child, SIGKILL);
	waitpid(cell->child, NULL, 0);
	cell->child = -1;
}

/* The child lives on while the device writes, or the pages would be the parent's alone again. */
static int step_fork(struct cell *cell, unsigned region, struct step *step)
{
	const struct memory *m = &cell->bystander;

	(void)step;
	end_child(cell);
	cell->child = fork();
	if (cell->child < 0)
		return cell_failed(cell, "fork", -errno);
	if (cell->child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	/* The CPU's own copies on write. */
	for (unsigned slot = 0; slot < m->slots; slot++) {
		*(volatile uint8_t *)source_of(m, region, slot) = 1;
		*(volatile uint8_t *)destination_of(m, region, slot) = 1;
	}
	return 0;
}

static const char *const no_counters[] = { NULL };
static const char *const migrate_counters[] = { "pgmigrate_success", "pgmigrate_fail", NULL };
static const char *const numa_counters[] = { "numa_pte_updates", "numa_hint_faults",
					     "numa_pages_migrated", NULL };
static const char *const compaction_counters[] = { "compact_migrate_scanned", "compact_isolated",
						   "pgmigrate_success", "pgmigrate_fail", NULL };
static const char *const huge_counters[] = { "thp_collapse_alloc", "thp_collapse_alloc_failed",
					     NULL };
static const char *const ksm_counters[] = { "cow_ksm", "thp_split_page", NULL };
static const char *const cma_counters[] = { "cma_alloc_success", "cma_alloc_fail",
					    "pgmigrate_success", "pgmigrate_fail", NULL };
static const char *const fork_counters[] = { "pgfault", NULL };

const struct activity activities[] = {
	{ "none", no_counters, NULL, NULL, NULL, NULL, nothing_missing },
	{ "swap", swap_counters, no_swap, NULL, step_swap, NULL, bystander_stayed },
	{ "migrate", migrate_counters, no_second_node, NULL, step_migrate, NULL, bystander_stayed },
	{ "numa_balancing", numa_counters, no_numa_balancing, enter_numa, step_numa, leave_numa,
	  bystander_always_stayed },
	{ "compaction", compaction_counters, no_compaction, enter_compaction, step_compaction, NULL,
	  nothing_compacted },
	{ "collapse", huge_counters, no_huge_pages, NULL, step_collapse, NULL, bystander_stayed },
	{ "khugepaged", huge_counters, no_khugepaged, NULL, step_khugepaged, NULL,
	  bystander_stayed },
	{ "ksm", ksm_counters, no_ksm, enter_ksm, step_ksm, leave_ksm, bystander_stayed },
	{ "cma", cma_counters, no_cma, enter_cma, step_cma, leave_cma, nothing_allocated },
	{ "fork", fork_counters, NULL, NULL, step_fork, end_child, bystander_stayed },
	{ "file", file_counters, no_files, enter_file, step_file, NULL, bystander_stayed },
	{ "memcg", memcg_counters, no_groups, enter_group, step_memcg, leave_group,
	  bystander_always_stayed },
};
const unsigned activity_count = sizeof(activities) / sizeof(activities[0]);
