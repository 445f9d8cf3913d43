// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* What holds beside the matrix: who owns a queue, who ends a pin, what a fault costs. */
#define _GNU_SOURCE
#include <errno.h>
#include <misc/uacce/uacce.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pinbench_rules.h"
#include "timing.h"
#include "zip.h"

static int complain(const char *what, int err)
{
	fprintf(stderr, "pinbench: %s: %s\n", what, strerror(-err));
	return err;
}

static int compress(struct qm_queue *q, const void *source, void *destination)
{
	const struct zip_request request = {
		.algorithm = ZIP_ZLIB,
		.source = source,
		.source_bytes = OP_BYTES,
		.destination = destination,
		.room = PAGE,
	};
	struct zip_sqe done;
	int err = zip_run(q, &request, &done);

	return err ? err : zip_good(&done) ? 0 : -EIO;
}

/* --- rules: a queue is its process's --- */

enum rule { MAPPED, MMAP_MMIO, MMAP_DUS, START, RULES };

static int is_mapped(const void *at)
{
	unsigned char resident;

	/* ENOMEM: nothing is mapped there (mincore(2)). */
	return mincore((void *)at, PAGE, &resident) == 0;
}

static int try_mmap(int fd, enum uacce_qfrt region, size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			(off_t)region * sysconf(_SC_PAGESIZE));

	return at == MAP_FAILED ? errno : 0;
}

/* In the child: what each attempt comes to, 0 or an errno. */
static void use_parents_queue(const struct qm_queue *q, int *outcomes)
{
	outcomes[MAPPED] = is_mapped(q->mmio) || is_mapped(q->dus) ? 0 : EFAULT;
	outcomes[MMAP_MMIO] = try_mmap(q->fd, UACCE_QFRT_MMIO, q->mmio_bytes);
	outcomes[MMAP_DUS] = try_mmap(q->fd, UACCE_QFRT_DUS, q->dus_bytes);
	outcomes[START] = ioctl(q->fd, UACCE_CMD_START_Q) < 0 ? errno : 0;
}

int pinbench_rules(const char *device, FILE *report)
{
	static const char *const names[RULES] = { "access_to_mapping", "mmap_mmio", "mmap_dus",
						  "start_queue" };
	int *outcomes = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint8_t *pages = fresh_pages(2 * PAGE);
	struct qm_queue q;
	int err, status;
	pid_t pid;

	if (outcomes == MAP_FAILED || !pages)
		return complain("memory", -ENOMEM);
	err = qm_open(&q, device, QM_COMPRESS, QM_BUSY);
	if (err)
		return err;
	err = compress(&q, pages, pages + PAGE);
	if (err)
		return complain("an operation", err);
	pid = fork();
	if (pid == 0) {
		use_parents_queue(&q, outcomes);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status)
		return complain("the child", -ECHILD);
	/* What the child tried has not disturbed the parent. */
	err = compress(&q, pages, pages + PAGE);
	qm_close(&q);
	fprintf(report, "{\"kind\":\"rules\",\"child\":{");
	for (unsigned i = 0; i < RULES; i++)
		fprintf(report, "%s\"%s\":\"%s\"", i ? "," : "", names[i],
			outcomes[i] ? strerrorname_np(outcomes[i]) : "allowed");
	fprintf(report, "},\"parent_goes_on\":%s}", err ? "false" : "true");
	return 0;
}

/* --- release: pins end with the process, however it ends --- */

/* Pins, tells that it has, and keeps the device busy until it is killed. */
static void pin_and_go_on(const struct preparation *row, const char *device, int tell)
{
	static struct cell cell;
	struct qm_queue q;
	char told;

	cell = (struct cell){
		.row = row,
		.memory = { .regions = 1, .slots = 1 },
		.pin_fd = -1,
		.file = -1,
	};
	if (qm_open(&q, device, QM_COMPRESS, QM_BUSY))
		_exit(EXIT_FAILURE);
	if (row->prepare(&cell)) {
		fprintf(stderr, "pinbench: %s\n", cell.why);
		_exit(EXIT_FAILURE);
	}
	told = 1;
	if (write(tell, &told, 1) != 1)
		_exit(EXIT_FAILURE);
	while (!compress(&q, source_of(&cell.memory, 0, 0), destination_of(&cell.memory, 0, 0)))
		;
	_exit(EXIT_FAILURE);
}

int pinbench_release(const struct preparation *row, const char *device, FILE *report)
{
	int64_t before[2], pinned[2], after[2];
	int pipes[2], status;
	char why[160], told;
	const char *reason;
	pid_t pid;

	fprintf(report, "{\"kind\":\"release\",\"row\":\"%s\"", row->name);
	reason = row->unavailable ? row->unavailable(why, sizeof(why)) : NULL;
	if (reason) {
		fprintf(report, ",\"reason\":\"%s\"}", reason);
		return 0;
	}
	if (pipe(pipes) < 0)
		return complain("pipe", -errno);
	get_vmstat(pin_counters, before);
	pid = fork();
	if (pid == 0) {
		close(pipes[0]);
		pin_and_go_on(row, device, pipes[1]);
	}
	close(pipes[1]);
	if (pid < 0 || read(pipes[0], &told, 1) != 1)
		return complain("the process that pins", -ECHILD);
	close(pipes[0]);
	sleep_ms(1);
	get_vmstat(pin_counters, pinned);
	kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) < 0 || !WIFSIGNALED(status))
		return complain("the process that pins ended by itself", -ECHILD);
	get_vmstat(pin_counters, after);
	fprintf(report, ",\"pinned\":%lld,\"acquired\":%lld,\"released\":%lld}",
		(long long)(pinned[0] - before[0]), (long long)(after[0] - before[0]),
		(long long)(after[1] - before[1]));
	return 0;
}

/* --- ratio: an IO page fault against a CPU page fault on the same page --- */

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t median(uint64_t *samples, unsigned count)
{
	qsort(samples, count, sizeof(*samples), compare);
	return samples[(count + 1) / 2 - 1];
}

/* One operation, timed as those of the matrix are. */
static int timed(struct qm_queue *q, const struct zip_request *request, uint64_t *ns)
{
	const uint64_t limit = counter_frequency() * (ZIP_TIMEOUT_MS / 1000);
	struct zip_sqe sqe, done;
	uint64_t start, end;
	int err;

	zip_fill(&sqe, q, request);
	err = qm_put(q, &sqe);
	if (err)
		return err;
	start = counter();
	qm_ring(q);
	while (!qm_ready(q))
		if (counter() - start > limit)
			return -ETIMEDOUT;
	end = counter();
	*ns = ticks_to_ns(end - start);
	err = qm_receive(q, &done);
	return err ? err : zip_good(&done) ? 0 : -EIO;
}

int pinbench_ratio(const char *device, unsigned rounds, FILE *report)
{
	uint64_t *present = calloc(3 * rounds, sizeof(*present));
	uint64_t *absent = present + rounds, *cpu = absent + rounds;
	uint8_t *pages = fresh_pages(2 * PAGE);
	uint8_t *destination = pages + PAGE;
	const struct zip_request request = {
		.algorithm = ZIP_ZLIB,
		.source = pages,
		.source_bytes = PAGE,
		.destination = destination,
		.room = PAGE,
	};
	uint64_t io_ns, cpu_ns;
	struct qm_queue q;
	int err;

	if (!present || !pages)
		return complain("memory", -ENOMEM);
	memset(present, 0xff, 3 * rounds * sizeof(*present));
	memset(pages, 0, 2 * PAGE);
	err = qm_open(&q, device, QM_COMPRESS, QM_BUSY);
	for (unsigned i = 0; i < rounds && !err; i++) {
		uint64_t start;

		err = timed(&q, &request, &present[i]);
		if (err)
			break;
		/* Takes the page and keeps its table, so one entry is all that is missing. */
		madvise(destination, PAGE, MADV_DONTNEED);
		err = timed(&q, &request, &absent[i]);
		madvise(destination, PAGE, MADV_DONTNEED);
		start = counter();
		*(volatile uint8_t *)destination = 1;
		cpu[i] = ticks_to_ns(counter() - start);
	}
	if (err)
		return complain("an operation", err);
	qm_close(&q);
	cpu_ns = median(cpu, rounds);
	io_ns = median(absent, rounds) - median(present, rounds);
	fprintf(report,
		"{\"kind\":\"ratio\",\"rounds\":%u,\"cpu_fault_ns\":%llu,\"io_fault_ns\":%llu,"
		"\"ratio\":%.1f}",
		rounds, (unsigned long long)cpu_ns, (unsigned long long)io_ns,
		(double)io_ns / (double)cpu_ns);
	return 0;
}
