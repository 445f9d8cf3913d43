// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * pintest: what the interfaces that pin memory promise, and what they must refuse.
 *
 * Each case runs in a process of its own and prints one line, "CASE: ok ..." or "CASE: FAILED ...",
 * with its evidence: what the calls returned, how many pages the kernel counts as pinned
 * (nr_foll_pin_acquired less nr_foll_pin_released), free memory, VmLck and VmPin, and IO page faults.
 * The cases from `limit` to `wrap` are the faults of /dev/uacce_ctrl as it was first posted.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "options.h"
#include "pintest.h"
#include "programs.h"
#include "qm.h"

/* A case may lose its privileges, or be killed by what it does: it gets a process of its own. */
static int run_case(const struct pintest_case *this, const struct options *o)
{
	pid_t child;
	int status;

	case_name = this->word.name;
	fflush(NULL);
	child = fork();
	if (child < 0)
		return failed("fork: %s", strerror(errno));
	if (child == 0)
		exit(this->run(o) ? EXIT_FAILURE : EXIT_SUCCESS);
	if (waitpid(child, &status, 0) != child)
		return failed("waitpid: %s", strerror(errno));
	if (WIFSIGNALED(status))
		return failed("killed by signal %d; see the kernel's log", WTERMSIG(status));
	return WEXITSTATUS(status) == EXIT_SUCCESS ? 0 : -1;
}

/* More than one case; after the cases in the list. */
enum group { FAULTS, ALL };
static const struct word groups[] = {
	[FAULTS] = EXPLAINED("faults", "limit to wrap, the faults of the first proposal"),
	[ALL] = EXPLAINED("all", "one after the other"),
	{},
};

static const struct pintest_case *case_at(unsigned index)
{
	const struct pintest_case *const lists[] = { pintest_rules, pintest_dma };

	for (unsigned list = 0; list < sizeof(lists) / sizeof(lists[0]); list++)
		for (const struct pintest_case *it = lists[list]; it->word.name; it++)
			if (!index--)
				return it;
	return NULL;
}

static unsigned count_cases(void)
{
	unsigned count = 0;

	while (case_at(count))
		count++;
	return count;
}

static const struct word *operand_at(unsigned index)
{
	const struct pintest_case *found = case_at(index);
	const struct word *group;

	if (found)
		return &found->word;
	group = &groups[index - count_cases()];
	return group->name ? group : NULL;
}

static const struct word interfaces[] = {
	{ .name = "uacce_ctrl", .value = PIN_UACCE_CTRL },
	{ .name = "mempinfd", .value = PIN_MEMPINFD },
	{},
};

static const struct option_row rows[] = {
	WORD("via", interface, interfaces, PIN_UACCE_CTRL, "what pins"),
	{
		.name = "bytes",
		.argument = "BYTES",
		.help = "bytes of big, whole pages",
		.kind = OPTION_BYTES,
		.unit = PAGE,
		.offset = FIELD_OF(size_t, big_bytes),
		.least = PAGE,
		.most = SIZE_MAX,
		.number = 64 << 20,
	},
	TEXT("device", device, "PATH", QM_DEFAULT_DEVICE, "queue device"),
};

static const struct program program = {
	.name = "pintest",
	.operand = "case",
	.operands = operand_at,
	.rows = rows,
	.row_count = sizeof(rows) / sizeof(rows[0]),
	.closing = "Exit status: 0 ok, 1 failed, 2 wrong usage.\n",
};

int pintest_main(int argc, char **argv)
{
	struct options o;
	const int wanted = options_parse(&program, argc, argv, &o);
	const unsigned count = count_cases();
	int status = EXIT_SUCCESS;

	if (wanted < 0)
		return EXIT_USAGE;
	for (unsigned i = 0; i < count; i++) {
		const struct pintest_case *this = case_at(i);

		if (i != (unsigned)wanted && (unsigned)wanted != count + ALL &&
		    !((unsigned)wanted == count + FAULTS && this->fault))
			continue;
		if (run_case(this, &o))
			status = EXIT_FAILURE;
	}
	return status;
}
