// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * pinbench: the command line, and a process for each cell. pinbench_cell.h explains what a cell is.
 *
 * Each cell is a line of JSON:
 *
 *   kind             "cell"
 *   row, column      its names
 *   status           "ok"; "unavailable": this kernel cannot do the row or the column, or refuses
 *                    to; "failed": something went wrong, or the activity did not take place
 *   reason           why, unless ok
 *   op_bytes, ops    what the device did, with start_ns and end_ns on the guest's counter
 *   faults_guest     reports of IO page faults that reached the kernel in that time
 *   latency_ns       of an operation, from the doorbell to the completion; nearest rank
 *   quantiles_ns     the same at 0, 1, .. 99 percent, then 99.1, .. 99.9 and 100
 *   prepare          what preparing cost: time; pages present, locked and pinned after it
 *   steps            the activity: from when to when, an errno if the kernel refused to act on
 *                    the memory, and what became of its pages and of the bystander's
 *   counters         growth of what /proc/vmstat counts
 *
 * The commands write lines of another kind: "guest" (the kernel's release), "ratio" (medians of
 * a CPU's and a device's first write to the same absent page), "release" (pins before and after
 * the process that holds them is killed; a line for each pin interface) and "rules" (what a child
 * may do with its parent's queue: "allowed", or an errno).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faultcount.h"
#include "options.h"
#include "pinbench_activity.h"
#include "pinbench_loop.h"
#include "pinbench_prepare.h"
#include "pinbench_rules.h"
#include "programs.h"
#include "report.h"
#include "timing.h"

struct options {
	const char *rows[16];
	unsigned row_count;
	const struct activity *column;
	unsigned regions, slots, passes;
	bool count, result, quiet;
	const char *device;
};

#define RATIO_ROUNDS 200u
/* Passes beside those of the one step that takes longest. */
#define PASSES_BESIDE 50u

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Nearest rank, so that each figure is one that was measured; `permille` from 0 to 1000. */
static uint32_t quantile(const struct cell *c, unsigned permille)
{
	uint64_t rank = ((uint64_t)c->sample_count * permille + 999) / 1000;

	return c->samples[rank ? rank - 1 : 0];
}

static void print_moves(FILE *f, const char *name, const struct moves *m)
{
	fprintf(f, ",\"%s\":{\"pages\":%u,\"moved\":%u,\"gone\":%u}", name, m->pages, m->moved,
		m->gone);
}

static void print_head(FILE *f, const struct preparation *row, const struct activity *column,
		       const char *status, const char *reason)
{
	fprintf(f, "{\"kind\":\"cell\",\"row\":\"%s\",\"column\":\"%s\",\"status\":\"%s\"",
		row->name, column->name, status);
	if (reason)
		fprintf(f, ",\"reason\":\"%s\"", reason);
}

static void print_cell(FILE *f, struct cell *c)
{
	const char *missing = c->column->missing(c);

	qsort(c->samples, c->sample_count, sizeof(*c->samples), compare);
	print_head(f, c->row, c->column, missing ? "failed" : "ok", missing);
	fprintf(f, ",\"op_bytes\":%u,\"ops\":%u,\"start_ns\":%llu,\"end_ns\":%llu", OP_BYTES,
		c->sample_count, (unsigned long long)c->start_ns, (unsigned long long)c->end_ns);
	if (c->faults >= 0)
		fprintf(f, ",\"faults_guest\":%lld", (long long)c->faults);
	else
		fprintf(f, ",\"faults_guest\":null");
	fprintf(f, ",\"latency_ns\":{\"min\":%u,\"p50\":%u,\"p99\":%u,\"p999\":%u,\"max\":%u}",
		quantile(c, 0), quantile(c, 500), quantile(c, 990), quantile(c, 999),
		quantile(c, 1000));
	fprintf(f, ",\"quantiles_ns\":[");
	for (unsigned permille = 0; permille < 990; permille += 10)
		fprintf(f, "%u,", quantile(c, permille));
	for (unsigned permille = 990; permille <= 1000; permille++)
		fprintf(f, "%u%s", quantile(c, permille), permille < 1000 ? "," : "]");
	fprintf(f,
		",\"prepare\":{\"ns\":%llu,\"present_pages\":%llu,\"locked_pages\":%llu,"
		"\"pinned_pages\":%llu},\"steps\":[",
		(unsigned long long)c->cost.ns, (unsigned long long)c->cost.present_pages,
		(unsigned long long)c->cost.locked_pages, (unsigned long long)c->cost.pinned_pages);
	for (unsigned i = 0; i < c->step_count; i++) {
		const struct step *s = &c->steps[i];

		fprintf(f, "%s{\"start_ns\":%llu,\"end_ns\":%llu,\"refused\":", i ? "," : "",
			(unsigned long long)s->start_ns, (unsigned long long)s->end_ns);
		if (s->error)
			fprintf(f, "\"%s\"", strerrorname_np(s->error));
		else
			fprintf(f, "null");
		print_moves(f, "memory", &s->memory);
		print_moves(f, "bystander", &s->bystander);
		fprintf(f, "}");
	}
	fprintf(f, "],\"counters\":{");
	for (unsigned i = 0; c->column->counters[i]; i++)
		fprintf(f, "%s\"%s\":%lld", i ? "," : "", c->column->counters[i],
			(long long)c->counted[i]);
	fprintf(f, "}}");
}

static int send_line(const struct options *o, struct report *r)
{
	return report_send(r, !o->quiet, o->result);
}

static int report_without_figures(const struct options *o, const struct preparation *row,
				  const char *status, const char *reason)
{
	struct report r;
	int err = report_open(&r);

	if (err)
		return err;
	print_head(r.stream, row, o->column, status, reason);
	fprintf(r.stream, "}");
	return send_line(o, &r);
}

static uint64_t present_pages(const struct memory *m)
{
	static uint64_t frames[REGION / PAGE];
	uint64_t present = 0;

	for (unsigned r = 0; r < m->range_count; r++) {
		for (size_t at = 0; at < m->ranges[r].bytes; at += REGION) {
			const size_t left = m->ranges[r].bytes - at;
			const size_t pages = (left < REGION ? left : REGION) / PAGE;

			if (get_frames(m->ranges[r].at + at, pages, frames))
				return 0;
			for (size_t i = 0; i < pages; i++)
				present += frames[i] != 0;
		}
	}
	return present;
}

static int prepare(struct cell *c)
{
	int64_t before[2], after[2];
	uint64_t start;
	int err;

	get_vmstat(pin_counters, before);
	start = counter();
	err = c->row->prepare(c);
	c->cost.ns = ticks_to_ns(counter() - start);
	if (err)
		return err;
	get_vmstat(pin_counters, after);
	c->cost.pinned_pages = (uint64_t)(after[0] - before[0]);
	c->cost.present_pages = present_pages(&c->memory);
	c->cost.locked_pages = get_mapped(&c->memory, "Locked:");
	return 0;
}

/* The whole life of a cell's process. */
static int cell_main(const struct options *o, const struct preparation *row)
{
	const struct sched_param idle = { 0 };
	int64_t before[COUNTERS_MAX];
	int64_t faults = 0;
	struct report r;
	int err;
	static struct cell c;

	c = (struct cell){
		.row = row,
		.column = o->column,
		.passes = o->passes,
		.memory = { .regions = o->regions, .slots = o->slots },
		.pin_fd = -1,
		.file = -1,
		.child = -1,
		/* The activity has a step for each region. */
		.sample_room = (row->device->passes_max * o->regions + PASSES_BESIDE) * o->regions *
			       o->slots,
	};
	run_on(0);
	/* With one CPU the kernel's page-fault worker would have to wait for this one; faultbench. */
	if (sched_setscheduler(0, SCHED_IDLE, &idle) < 0)
		perror("pinbench: SCHED_IDLE");
	c.samples = mmap(NULL, c.sample_room * sizeof(*c.samples), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (c.samples == MAP_FAILED)
		return -ENOMEM;
	err = row->device->open(&c, o->device);
	if (err)
		return err;
	if (o->column->enter)
		err = o->column->enter(&c);
	if (!err && !c.bystander.range_count)
		err = make_bystander(&c, -1, false);
	if (err) {
		report_without_figures(o, row, "failed", c.why[0] ? c.why : strerror(-err));
		return err;
	}
	get_vmstat(o->column->counters, before);
	err = prepare(&c);
	if (err) {
		if (o->column->leave)
			o->column->leave(&c);
		row->device->close(&c);
		return report_without_figures(o, row, "unavailable", c.why);
	}
	if (o->count)
		faults = faultcount_read();
	err = operate(&c);
	c.faults = o->count && faults >= 0 ? faultcount_read() - faults : -1;
	if (!err)
		err = row->device->check(&c, c.produced);
	if (o->column->leave)
		o->column->leave(&c);
	get_vmstat(o->column->counters, c.counted);
	for (unsigned i = 0; o->column->counters[i]; i++)
		c.counted[i] -= before[i];
	row->device->close(&c);
	if (err) {
		report_without_figures(o, row, "failed", c.why);
		return err;
	}
	err = report_open(&r);
	if (err)
		return err;
	print_cell(r.stream, &c);
	return send_line(o, &r);
}

/* 0 if the cell has its line, also if that says that it cannot be done. */
static int run_cell(const struct options *o, const struct preparation *row)
{
	char why[160];
	int status;
	pid_t pid;

	if (row->unavailable) {
		const char *reason = row->unavailable(why, sizeof(why));

		if (reason)
			return report_without_figures(o, row, "unavailable", reason);
	}
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		_exit(cell_main(o, row) ? EXIT_FAILURE : EXIT_SUCCESS);
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	if (WIFSIGNALED(status)) {
		snprintf(why, sizeof(why), "the cell's process was killed by signal %d",
			 WTERMSIG(status));
		report_without_figures(o, row, "failed", why);
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS ? 0 : -EIO;
}

static bool wanted(const struct options *o, const struct preparation *row)
{
	for (unsigned i = 0; i < o->row_count; i++)
		if (!strcmp(o->rows[i], row->name))
			return true;
	return o->row_count == 0;
}

static int run_column(const struct options *o)
{
	const char *reason = NULL;
	char why[160];
	int err = 0;

	if (o->column->unavailable)
		reason = o->column->unavailable(why, sizeof(why));
	for (unsigned i = 0; i < preparation_count; i++) {
		const struct preparation *row = &preparations[i];

		if (!wanted(o, row))
			continue;
		if (reason ? report_without_figures(o, row, "unavailable", reason) :
			     run_cell(o, row))
			err = -EIO;
	}
	return err;
}

static int list(void)
{
	printf("rows:");
	for (unsigned i = 0; i < preparation_count; i++)
		printf(" %s", preparations[i].name);
	printf("\ncolumns:");
	for (unsigned i = 0; i < activity_count; i++)
		printf(" %s", activities[i].name);
	printf("\n");
	return 0;
}

static const struct activity *find_activity(const char *name)
{
	for (unsigned i = 0; i < activity_count; i++)
		if (!strcmp(activities[i].name, name))
			return &activities[i];
	return NULL;
}

static bool is_preparation(const char *name)
{
	for (unsigned i = 0; i < preparation_count; i++)
		if (!strcmp(preparations[i].name, name))
			return true;
	return false;
}

static int guest_line(const struct options *o, FILE *report)
{
	struct utsname kernel;

	(void)o;
	uname(&kernel);
	fprintf(report, "{\"kind\":\"guest\",\"kernel\":\"%s\"}", kernel.release);
	return 0;
}

static int rules_line(const struct options *o, FILE *report)
{
	return pinbench_rules(o->device, report);
}

static int ratio_line(const struct options *o, FILE *report)
{
	return pinbench_ratio(o->device, RATIO_ROUNDS, report);
}

static int send_from(const struct options *o, int (*line)(const struct options *, FILE *))
{
	struct report r;
	int err = report_open(&r);

	if (!err)
		err = line(o, r.stream);
	return err ? err : send_line(o, &r);
}

static int run_release(const struct options *o)
{
	int err = 0;

	for (unsigned i = 0; i < preparation_count && !err; i++) {
		struct report r;

		if (!preparations[i].pins || !wanted(o, &preparations[i]))
			continue;
		err = report_open(&r);
		if (!err)
			err = pinbench_release(&preparations[i], o->device, r.stream);
		if (!err)
			err = send_line(o, &r);
	}
	return err;
}

/* What the word that is no option asks for; without it, the matrix. */
enum command { RATIO, RELEASE, RULES, LIST, MATRIX };
static const struct word commands[] = {
	[RATIO] = EXPLAINED("ratio", "an IO page fault against a CPU page fault on the same page"),
	[RELEASE] =
		EXPLAINED("release", "pins before and after the process that holds them is killed"),
	[RULES] = EXPLAINED("rules", "what a child may do with its parent's queue"),
	[LIST] = EXPLAINED("list", "names of rows and columns"),
	[MATRIX] = {},
};

static const struct word *command_at(unsigned index)
{
	return commands[index].name ? &commands[index] : NULL;
}

static const char *take_row(const char *text, void *options)
{
	struct options *o = options;

	if (!is_preparation(text))
		return "see pinbench list";
	if (o->row_count == sizeof(o->rows) / sizeof(o->rows[0]))
		return "too many rows";
	o->rows[o->row_count++] = text;
	return NULL;
}

static const char *take_column(const char *text, void *options)
{
	struct options *o = options;

	o->column = find_activity(text);
	return o->column ? NULL : "see pinbench list";
}

static const struct option_row rows[] = {
	{
		.name = "row",
		.argument = "NAME",
		.help = "only this way of preparing memory (repeatable; all)",
		.kind = OPTION_OTHER,
		.take = take_row,
	},
	{
		.name = "column",
		.argument = "NAME",
		.help = "under this activity of the kernel",
		.kind = OPTION_OTHER,
		.text = "none",
		.take = take_column,
	},
	NUMBER("regions", regions, 1, REGIONS_MAX, 4,
	       "regions of 2 MiB, and steps of the activity"),
	NUMBER("slots", slots, 1, SLOTS_MAX, 32, "used slots in each region"),
	NUMBER("passes", passes, 1, 100, 4,
	       "over all slots, before the activity and for each step"),
	FLAG("no-count", count, true, "no kprobe: faults_guest is null"),
	FLAG("result", result, false, "write the results to Stallbox's control channel too"),
	FLAG("quiet", quiet, false, "nothing on standard output"),
	TEXT("device", device, "PATH", QM_DEFAULT_DEVICE, "queue device"),
};

static const struct program program = {
	.name = "pinbench",
	.operand = "command",
	.operand_optional = true,
	.operands = command_at,
	.rows = rows,
	.row_count = sizeof(rows) / sizeof(rows[0]),
	.closing =
		"Without a command: a column of the matrix, a line of JSON for each cell. Exit status: 0 all\n"
		"cells have their line, also those that this kernel cannot do; 1 some failed; 2 wrong\n"
		"usage.\n",
};

static int run_matrix(const struct options *o)
{
	int err = send_from(o, guest_line);

	if (err)
		return err;
	if (o->count) {
		err = faultcount_start();
		if (err)
			return err;
	}
	err = run_column(o);
	if (o->count)
		faultcount_stop();
	return err;
}

static int run_command(enum command command, const struct options *o)
{
	const struct sched_param idle = { 0 };

	if (command == LIST)
		return list();
	/* Only the column that is about it has it. */
	put_text("/proc/sys/kernel/numa_balancing", "0");
	if (command == MATRIX)
		return run_matrix(o);
	/* As in the cells; the processes of the kernel come first. */
	run_on(0);
	sched_setscheduler(0, SCHED_IDLE, &idle);
	if (command == RELEASE)
		return run_release(o);
	return send_from(o, command == RATIO ? ratio_line : rules_line);
}

int pinbench_main(int argc, char **argv)
{
	struct options o = { .column = find_activity("none") };
	const int command = options_parse(&program, argc, argv, &o);

	if (command < 0)
		return EXIT_USAGE;
	return run_command((enum command)command, &o) ? EXIT_FAILURE : EXIT_SUCCESS;
}
