// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#define _GNU_SOURCE
#include "qm.h"

#include <errno.h>
#include <fcntl.h>
#include <misc/uacce/hisi_qm.h>
#include <misc/uacce/uacce.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "timing.h"

/* qm.c: qm_db_v2. The same offset in both windows: BAR2 (v2) and 64 KiB for each queue (v3). */
#define DOORBELL 0x1000
#define DOORBELL_COMMAND_SQ 0ull
#define DOORBELL_COMMAND_CQ 1ull
#define DOORBELL_COMMAND_SHIFT 12
#define DOORBELL_INDEX_SHIFT 32
#define DOORBELL_PRIORITY_SHIFT 48

#define CQE_PHASE 1u

/* Orders the rings, which are memory, against the doorbell, which is a device register. */
#define write_barrier() __asm__ volatile("dsb st" ::: "memory")
#define read_barrier() __asm__ volatile("dmb oshld" ::: "memory")

static int complain(const char *what, const char *which, int err)
{
	fprintf(stderr, "%s: %s: %s\n", which, what, strerror(err));
	return -err;
}

static int read_attribute(const char *device, const char *name, char *text, size_t size)
{
	const char *base = strrchr(device, '/');
	char path[160];
	ssize_t len;
	int fd;

	base = base ? base + 1 : device;
	snprintf(path, sizeof(path), "/sys/class/uacce/%s/%s", base, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return complain("cannot open", path, errno);
	len = read(fd, text, size - 1);
	close(fd);
	if (len <= 0)
		return complain("cannot read", path, len < 0 ? errno : EIO);
	text[len] = '\0';
	return 0;
}

static int read_number(const char *device, const char *name, unsigned long *value)
{
	char text[32];
	int err = read_attribute(device, name, text, sizeof(text));

	if (!err)
		*value = strtoul(text, NULL, 0);
	return err;
}

static void doorbell(struct qm_queue *q, uint64_t command, uint16_t index, uint64_t priority)
{
	uint64_t value = q->id | command << DOORBELL_COMMAND_SHIFT |
			 (uint64_t)index << DOORBELL_INDEX_SHIFT |
			 priority << DOORBELL_PRIORITY_SHIFT;

	*(volatile uint64_t *)(q->mmio + DOORBELL) = value;
}

/* Names the likely reason, because "No such file" is the first thing a newcomer meets here. */
static int open_device(const char *device)
{
	int fd = open(device, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	complain("cannot open", device, errno);
	if (errno == ENOENT)
		fprintf(stderr, "  Is hisi_zip.uacce_mode=1 on the kernel's command line, and did "
				"the driver find the device (dmesg | grep hisi_zip)?\n");
	return -errno;
}

static int start(struct qm_queue *q, const char *device, enum qm_direction direction)
{
	struct hisi_qp_ctx context = { .qc_type = direction };
	struct hisi_qp_info info = { 0 };
	unsigned long mmio_bytes, dus_bytes;
	char api[32];
	int err;

	err = read_attribute(device, "api", api, sizeof(api));
	if (err)
		return err;
	if (sscanf(api, "hisi_qm_v%u", &q->version) != 1 || q->version < 2)
		return complain("queue interface is neither hisi_qm_v2 nor later", device, EPROTO);
	err = read_number(device, "region_mmio_size", &mmio_bytes);
	if (!err)
		err = read_number(device, "region_dus_size", &dus_bytes);
	if (err)
		return err;

	/* Page offsets choose the region; uacce.c: uacce_fops_mmap. */
	q->dus_bytes = dus_bytes;
	q->dus = mmap(NULL, dus_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, q->fd,
		      UACCE_QFRT_DUS * sysconf(_SC_PAGESIZE));
	if (q->dus == MAP_FAILED) {
		q->dus = NULL;
		return complain("cannot map the rings", device, errno);
	}
	q->mmio_bytes = mmio_bytes;
	q->mmio = mmap(NULL, mmio_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, q->fd,
		       UACCE_QFRT_MMIO * sysconf(_SC_PAGESIZE));
	if (q->mmio == MAP_FAILED) {
		q->mmio = NULL;
		return complain("cannot map the doorbell", device, errno);
	}

	if (ioctl(q->fd, UACCE_CMD_QM_SET_QP_CTX, &context) < 0)
		return complain("cannot set the queue's direction", device, errno);
	if (ioctl(q->fd, UACCE_CMD_QM_SET_QP_INFO, &info) < 0)
		return complain("cannot read the queue's geometry", device, errno);
	if (info.sqe_size != QM_SQE_BYTES || info.sq_depth < 2)
		return complain("unexpected queue geometry", device, EPROTO);

	q->id = context.id;
	q->depth = info.sq_depth;
	q->sq = q->dus;
	q->cq = (volatile struct qm_cqe *)(q->dus + (size_t)info.sqe_size * info.sq_depth);
	q->stopped = (volatile uint32_t *)(q->dus + q->dus_bytes - sizeof(uint32_t));
	q->phase = CQE_PHASE;

	if (ioctl(q->fd, UACCE_CMD_START_Q) < 0)
		return complain("cannot start the queue", device, errno);
	return 0;
}

int qm_open(struct qm_queue *q, const char *device, enum qm_direction direction, enum qm_poll poll)
{
	int err;

	memset(q, 0, sizeof(*q));
	q->poll = poll;
	q->fd = open_device(device);
	if (q->fd < 0)
		return q->fd;
	err = start(q, device, direction);
	if (err)
		qm_close(q);
	return err;
}

void qm_close(struct qm_queue *q)
{
	if (q->fd < 0)
		return;
	/* The file goes last: closing it is what stops the queue and drains it. */
	if (q->mmio)
		munmap(q->mmio, q->mmio_bytes);
	if (q->dus)
		munmap(q->dus, q->dus_bytes);
	close(q->fd);
	q->fd = -1;
	q->mmio = NULL;
	q->dus = NULL;
}

int qm_put(struct qm_queue *q, const void *sqe)
{
	/* One slot stays free, or a full ring would look like an empty one. */
	if (q->in_flight >= q->depth - 1)
		return -EBUSY;
	if (*q->stopped)
		return -EIO;
	memcpy(q->sq + (size_t)q->sq_tail * QM_SQE_BYTES, sqe, QM_SQE_BYTES);
	q->sq_tail = (uint16_t)((q->sq_tail + 1) % q->depth);
	q->in_flight++;
	return 0;
}

void qm_ring(struct qm_queue *q)
{
	write_barrier();
	doorbell(q, DOORBELL_COMMAND_SQ, q->sq_tail, 0);
}

int qm_send(struct qm_queue *q, const void *sqe)
{
	int err = qm_put(q, sqe);

	if (!err)
		qm_ring(q);
	return err;
}

bool qm_ready(const struct qm_queue *q)
{
	return (q->cq[q->cq_head].w7 & CQE_PHASE) == q->phase;
}

int qm_receive(struct qm_queue *q, void *sqe)
{
	uint16_t slot;

	if (!qm_ready(q))
		return *q->stopped ? -EIO : -EAGAIN;
	/* The phase says that the rest of the entry, and the submission behind it, is written. */
	read_barrier();
	slot = q->cq[q->cq_head].sq_head;
	if (slot >= q->depth)
		return -EPROTO;
	memcpy(sqe, q->sq + (size_t)slot * QM_SQE_BYTES, QM_SQE_BYTES);

	q->cq_head++;
	if (q->cq_head == q->depth) {
		q->cq_head = 0;
		q->phase ^= CQE_PHASE;
	}
	q->in_flight--;
	/* Frees the entry; priority 1 asks for an interrupt with the next one. */
	doorbell(q, DOORBELL_COMMAND_CQ, q->cq_head, q->poll == QM_EPOLL);
	return 0;
}

int qm_wait(struct qm_queue *q, void *sqe, unsigned timeout_ms)
{
	uint64_t deadline = counter() + timeout_ms * counter_frequency() / 1000;
	unsigned spins = 0;

	for (;;) {
		int err = qm_receive(q, sqe);

		if (err != -EAGAIN)
			return err;
		if (counter() >= deadline)
			return -ETIMEDOUT;
		if (q->poll == QM_EPOLL) {
			struct pollfd wait = { .fd = q->fd, .events = POLLIN };

			/* A short sleep bounds the damage of a lost interrupt. */
			if (poll(&wait, 1, timeout_ms < 100 ? (int)timeout_ms : 100) < 0 &&
			    errno != EINTR)
				return -errno;
		} else if (++spins % 256 == 0) {
			/* With one CPU the kernel's page-fault worker needs this one. */
			sched_yield();
		}
	}
}
