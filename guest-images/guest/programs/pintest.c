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
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arguments.h"
#include "pintest.h"
#include "programs.h"
#include "qm.h"

#include "timing.h"
#include "zip.h"

#define PAGE ((uint64_t)4096)

static const char usage[] =
	"usage: pintest CASE [options]\n"
	"  limit       more than RLIMIT_MEMLOCK allows, without CAP_IPC_LOCK\n"
	"  duplicate   the same range twice\n"
	"  partial     a range of which a part is not mapped\n"
	"  zero        a range of no bytes\n"
	"  wrap        a range past the last address\n"
	"  faults      all of these, the faults of the first proposal\n"
	"  overlap     ranges that share pages\n"
	"  kernel      addresses that are not the process's\n"
	"  readonly    memory that may not be written\n"
	"  unknown     unpin what is not pinned, or not so\n"
	"  calls       calls that make no sense\n"
	"  two-files   the same page through two open files\n"
	"  munmap      pin, then unmap\n"
	"  fork        pin, then fork: the device works on, the child is refused\n"
	"  kill        the process is killed\n"
	"  dma         pinned memory takes no IO page fault; unpinned under DMA, the data is right\n"
	"  big         many pages: see --bytes\n"
	"  all         one after the other\n"
	"options:\n"
	"  --via NAME     uacce_ctrl or mempinfd (uacce_ctrl)\n"
	"  --bytes N      bytes of `big` (67108864)\n"
	"  --device PATH  queue device (" QM_DEFAULT_DEVICE ")\n"
	"Exit status: 0 ok, 1 failed, 2 wrong usage.\n";

/* A case may lose its privileges, or be killed by what it does: it gets a process of its own. */
static int run_case(const struct pintest_case *this, const struct options *o)
{
	pid_t child;
	int status;

	case_name = this->name;
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

static int parse(int argc, char **argv, struct options *o)
{
	static const struct option options[] = {
		{ "via", required_argument, NULL, 'v' },
		{ "bytes", required_argument, NULL, 'b' },
		{ "device", required_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	*o = (struct options){
		.interface = PIN_UACCE_CTRL,
		.big_bytes = 64 << 20,
		.device = QM_DEFAULT_DEVICE,
	};
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'v':
			if (!pin_parse_interface(optarg, &o->interface))
				return -1;
			break;
		case 'b':
			if (!parse_bytes("pintest", "--bytes", optarg, PAGE, SIZE_MAX,
					 &o->big_bytes))
				return -1;
			if (o->big_bytes % PAGE) {
				fprintf(stderr, "pintest: --bytes %s: not a multiple of %llu\n",
					optarg, (unsigned long long)PAGE);
				return -1;
			}
			break;
		case 'd':
			o->device = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(EXIT_SUCCESS);
		default:
			return -1;
		}
	}
	return optind + 1 == argc ? 0 : -1;
}

int pintest_main(int argc, char **argv)
{
	static const struct pintest_case *const groups[] = { pintest_rules, pintest_dma };
	const char *wanted;
	bool found = false;
	int status = EXIT_SUCCESS;
	struct options o;

	if (parse(argc, argv, &o) < 0) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	wanted = argv[optind];
	for (unsigned group = 0; group < sizeof(groups) / sizeof(groups[0]); group++)
		for (const struct pintest_case *it = groups[group]; it->name; it++) {
			if (strcmp(wanted, "all") && !(!strcmp(wanted, "faults") && it->fault) &&
			    strcmp(wanted, it->name))
				continue;
			found = true;
			if (run_case(it, &o))
				status = EXIT_FAILURE;
		}
	if (!found) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	return status;
}
