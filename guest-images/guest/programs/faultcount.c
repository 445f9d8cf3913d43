// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#define _GNU_SOURCE
#include "faultcount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TRACING "/sys/kernel/tracing/"
#define GROUP "stallbox"
#define EVENT "iopf"

static int put(const char *file, int flags, const char *text)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC | flags);
	ssize_t done;

	if (fd < 0)
		return -errno;
	done = write(fd, text, strlen(text));
	if (done < 0)
		done = -errno;
	close(fd);
	return done < 0 ? (int)done : 0;
}

static void remove_event(void)
{
	put(TRACING "events/" GROUP "/" EVENT "/enable", 0, "0");
	put(TRACING "kprobe_events", O_APPEND, "-:" GROUP "/" EVENT "\n");
}

int faultcount_start(void)
{
	int err;

	/* Left over from a run that was killed; its hits would count. */
	remove_event();
	err = put(TRACING "tracing_on", 0, "0");
	if (!err)
		err = put(TRACING "kprobe_events", O_APPEND,
			  "p:" GROUP "/" EVENT " iommu_report_device_fault\n");
	if (!err)
		err = put(TRACING "events/" GROUP "/" EVENT "/enable", 0, "1");
	if (err)
		fprintf(stderr,
			"cannot count IO page faults: a kprobe through " TRACING
			": %s\n  (needs CONFIG_KPROBE_EVENTS and a mounted tracefs)\n",
			strerror(-err));
	return err;
}

int64_t faultcount_read(void)
{
	/* Lines of "name hits missed", names without their group. */
	FILE *f = fopen(TRACING "kprobe_profile", "re");
	unsigned long long hits, missed;
	int64_t result = -1;
	char name[64];

	if (!f)
		return -1;
	while (fscanf(f, "%63s %llu %llu", name, &hits, &missed) == 3)
		if (!strcmp(name, EVENT) && missed == 0)
			result = (int64_t)hits;
	fclose(f);
	return result;
}

void faultcount_stop(void)
{
	remove_event();
}
