// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * A user queue of the HiSilicon queue manager, through /dev/hisi_zip-0.
 *
 * The kernel's side of this interface is drivers/misc/uacce/uacce.c and, in
 * drivers/crypto/hisilicon/qm.c, the functions named hisi_qm_uacce_*; Linux 6.12.
 *
 * All functions that can fail return 0 or a negative errno.
 */
#ifndef STALLBOX_QM_H
#define STALLBOX_QM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QM_DEFAULT_DEVICE "/dev/hisi_zip-0"
#define QM_SQE_BYTES 128

/* What the queue is for: "algorithm type" in the queue's context, so fixed while it is open. */
enum qm_direction {
	QM_COMPRESS = 0,
	QM_DECOMPRESS = 1,
};

enum qm_poll {
	QM_BUSY,  /* read the completion queue until its phase changes; needs no interrupt */
	QM_EPOLL, /* sleep in poll() until the device's interrupt */
};

/* Completion queue entry; qm.h: struct qm_cqe. */
struct qm_cqe {
	uint32_t rsvd0;
	uint16_t cmd_id;
	uint16_t rsvd1;
	uint16_t sq_head; /* slot of the finished submission */
	uint16_t sq_num;
	uint16_t rsvd2;
	uint16_t w7; /* bit 0: phase */
};

struct qm_queue {
	int fd;
	unsigned version; /* 2 or 3: which of hisi_qm_v2, hisi_qm_v3 sysfs `api` says */
	enum qm_poll poll;
	uint16_t id;
	uint16_t depth;
	uint16_t sq_tail;
	uint16_t cq_head;
	uint16_t in_flight;
	uint16_t phase;
	uint8_t *mmio;
	size_t mmio_bytes;
	uint8_t *dus; /* device user share: both rings and the status words */
	size_t dus_bytes;
	uint8_t *sq;
	volatile struct qm_cqe *cq;
	volatile uint32_t *stopped; /* the kernel's "queue is dead" word */
};

/* Opens, maps, configures and starts one queue. On failure prints what failed to stderr. */
int qm_open(struct qm_queue *q, const char *device, enum qm_direction direction, enum qm_poll poll);

/* Stops and frees the queue. Waits, in the kernel, until the device has drained it. */
void qm_close(struct qm_queue *q);

/*
 * Puts one submission into its slot without telling the device. -EBUSY when depth - 1 are in
 * flight, -EIO when the kernel has stopped the queue.
 */
int qm_put(struct qm_queue *q, const void *sqe);

/* Tells the device about everything put so far. */
void qm_ring(struct qm_queue *q);

/* qm_put and qm_ring. */
int qm_send(struct qm_queue *q, const void *sqe);

/* True if a completion is there. Only reads memory: the cheapest way to watch for one. */
bool qm_ready(const struct qm_queue *q);

/* Takes one completion: 0 and a copy of the written-back submission, or -EAGAIN. */
int qm_receive(struct qm_queue *q, void *sqe);

/*
 * qm_receive that waits. -ETIMEDOUT after `timeout_ms` of the guest's time: a request that never
 * completes is a finding, not a reason to hang.
 */
int qm_wait(struct qm_queue *q, void *sqe, unsigned timeout_ms);

#endif
