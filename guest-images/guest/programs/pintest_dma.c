// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* pintest: what the device sees of pinned memory, and what is left when its process goes. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faultcount.h"
#include "pintest.h"
#include "timing.h"
#include "zip.h"

/* The device's work for the cases with DMA: requests that are alike. */
enum { JOBS = 6, JOB_BYTES = 128 << 10, JOB_ROOM = JOB_BYTES + JOB_BYTES / 8 + 4096 };

struct work {
	struct qm_queue q;
	uint8_t *source, *target; /* JOBS of each */
	uint8_t *expected;
	size_t expected_bytes;
};

static int work_open(const struct options *o, struct work *w)
{
	struct zip_request request;
	struct zip_sqe done;
	int err;

	w->source = fresh_pages(JOBS * JOB_BYTES);
	w->target = fresh_pages(JOBS * JOB_ROOM);
	w->expected = fresh_pages(JOB_ROOM);
	if (!w->source || !w->target || !w->expected)
		return failed("no memory");
	for (unsigned i = 0; i < JOBS; i++)
		case_pattern(w->source + i * JOB_BYTES, JOB_BYTES, 5);
	if (qm_open(&w->q, o->device, QM_COMPRESS, QM_BUSY) < 0)
		return failed("cannot open a queue");
	request = (struct zip_request){
		.algorithm = ZIP_ZLIB,
		.source = w->source,
		.source_bytes = JOB_BYTES,
		.destination = w->expected,
		.room = JOB_ROOM,
	};
	err = zip_run(&w->q, &request, &done);
	if (err || !zip_good(&done))
		return failed("a request beforehand: %s", err ? strerror(-err) : "bad status");
	w->expected_bytes = done.produced;
	return 0;
}

static int work_start(struct work *w)
{
	for (unsigned i = 0; i < JOBS; i++) {
		struct zip_request request = {
			.algorithm = ZIP_ZLIB,
			.source = w->source + i * JOB_BYTES,
			.source_bytes = JOB_BYTES,
			.destination = w->target + i * JOB_ROOM,
			.room = JOB_ROOM,
			.tag = i,
		};
		struct zip_sqe sqe;
		int err;

		zip_fill(&sqe, &w->q, &request);
		err = qm_put(&w->q, &sqe);
		if (err)
			return failed("request %u: %s", i, strerror(-err));
	}
	qm_ring(&w->q);
	return 0;
}

/* All have completed, and well. */
static int work_end(struct work *w)
{
	for (unsigned i = 0; i < JOBS; i++) {
		struct zip_sqe done;
		int err = qm_wait(&w->q, &done, ZIP_TIMEOUT_MS);

		if (err || !zip_good(&done))
			return failed("request %u: %s", i, err ? strerror(-err) : "bad status");
	}
	return 0;
}

/* What they wrote, as this process sees it. */
static int work_check(const struct work *w)
{
	for (unsigned i = 0; i < JOBS; i++)
		if (memcmp(w->target + i * JOB_ROOM, w->expected, w->expected_bytes))
			return failed("request %u gave other data", i);
	return 0;
}

static int pin_work(const struct pinner *p, const struct work *w)
{
	if (must("pin the source", pin_range(p, w->source, JOBS * JOB_BYTES), 0) ||
	    must("pin the target", pin_range(p, w->target, JOBS * JOB_ROOM), 0))
		return -1;
	return 0;
}

static int unpin_work(const struct pinner *p, const struct work *w)
{
	if (must("unpin the source", unpin_range(p, w->source, JOBS * JOB_BYTES), 0) ||
	    must("unpin the target", unpin_range(p, w->target, JOBS * JOB_ROOM), 0))
		return -1;
	return 0;
}

/* A child that has a copy of everything, until it is killed. */
static pid_t bystander(const struct pinner *p, const struct work *w, int status_of_pin)
{
	pid_t child = fork();
	int got;

	if (child != 0)
		return child;
	got = pin_range(p, w->source, PAGE);
	if (got != status_of_pin) {
		failed("the child's pin: %s instead of %s", told(got), told(status_of_pin));
		_exit(1);
	}
	for (;;)
		pause();
}

static int end_bystander(pid_t child)
{
	int status;

	kill(child, SIGKILL);
	if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status))
		return failed("the child ended by itself");
	return 0;
}

static int pin_then_fork(const struct options *o)
{
	int64_t before = pin_count(), pinned, faults;
	struct pinner p;
	struct work w;
	pid_t child;

	if (open_pinner(o, &p) || work_open(o, &w) || pin_work(&p, &w))
		return -1;
	pinned = pin_count() - before;
	child = bystander(&p, &w, -EPERM);
	if (child < 0)
		return failed("fork: %s", strerror(errno));
	if (faultcount_start())
		return failed("cannot count IO page faults");
	if (work_start(&w) || work_end(&w))
		return -1;
	faults = faultcount_read();
	faultcount_stop();
	if (faults != 0)
		return failed("%" PRId64 " IO page faults on pinned memory after a fork", faults);
	if (work_check(&w) || counted("after fork", pin_count() - before, pinned))
		return -1;
	if (end_bystander(child) || counted("the child is gone", pin_count() - before, pinned) ||
	    unpin_work(&p, &w))
		return -1;
	pin_close(&p);
	qm_close(&w.q);
	if (counted("after close", pin_count() - before, 0))
		return -1;
	return passed("no IO page fault after the fork, EPERM for the child");
}

static int killed(const struct options *o)
{
	enum { PAGES = 2048 };
	int64_t before = pin_count(), during;
	int ready[2], status;
	pid_t child;
	char byte;

	if (pipe(ready))
		return failed("pipe: %s", strerror(errno));
	child = fork();
	if (child < 0)
		return failed("fork: %s", strerror(errno));
	if (child == 0) {
		uint8_t *at = fresh_pages(PAGES * PAGE);
		struct pinner p;

		if (!at || open_pinner(o, &p) ||
		    must("pin", pin_range(&p, at, PAGES / 2 * PAGE), 0) ||
		    must("pin", pin_range(&p, at + PAGES / 2 * PAGE, PAGES / 2 * PAGE), 0) ||
		    write(ready[1], "r", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		return failed("the child could not pin");
	during = pin_count() - before;
	kill(child, SIGKILL);
	if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status))
		return failed("the child ended by itself");
	if (counted("alive", during, PAGES) || counted("killed", pin_count() - before, 0))
		return -1;
	return passed("%d pages were pinned, none after SIGKILL", PAGES);
}

static int dma(const struct options *o)
{
	int64_t before = pin_count(), pinned_faults, faults;
	struct pinner p;
	struct work w;
	pid_t child;

	if (open_pinner(o, &p) || work_open(o, &w) || pin_work(&p, &w))
		return -1;
	if (faultcount_start())
		return failed("cannot count IO page faults");
	if (work_start(&w) || work_end(&w))
		return -1;
	pinned_faults = faultcount_read();
	if (work_start(&w) || unpin_work(&p, &w))
		return -1;
	/*
	 * The requests are under way. Now nothing keeps the pages, and a fork takes the right to
	 * write them: the device must fault, and its data go into this process's copies.
	 */
	child = fork();
	if (child == 0)
		for (;;)
			pause();
	if (child < 0)
		return failed("fork: %s", strerror(errno));
	if (work_end(&w) || work_check(&w))
		return -1;
	faults = faultcount_read() - pinned_faults;
	faultcount_stop();
	if (end_bystander(child))
		return -1;
	if (pinned_faults != 0)
		return failed("%" PRId64 " IO page faults on pinned memory", pinned_faults);
	if (faults <= 0)
		return failed("no IO page fault after the unpin: the requests were over too soon");
	if (counted("unpinned", pin_count() - before, 0))
		return -1;
	pin_close(&p);
	qm_close(&w.q);
	return passed("pinned: no IO page fault; unpinned under DMA: %" PRId64
		      ", and the data is right",
		      faults);
}

const struct pintest_case pintest_dma[] = {
	{ EXPLAINED("fork", "pin, then fork: the device works on, the child is refused"),
	  pin_then_fork, false },
	{ EXPLAINED("kill", "the process is killed"), killed, false },
	{ EXPLAINED("dma",
		    "pinned memory takes no IO page fault; unpinned under DMA, the data is right"),
	  dma, false },
	{},
};
