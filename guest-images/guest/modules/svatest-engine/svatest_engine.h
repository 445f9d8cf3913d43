/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR BSD-3-Clause */
/*
 * Stallbox's SVA test engine, as user space sees it through uacce. The device itself is described
 * in docs/test-engine.md.
 *
 * open() gives a queue that is bound to the process. SVATEST_CMD_SET_QUEUE says where its rings
 * are, UACCE_CMD_START_Q enables it, mmap() of the MMIO region gives its page with the doorbells.
 * poll() waits for completions of descriptors with the INTERRUPT flag.
 */
#ifndef SVATEST_ENGINE_H
#define SVATEST_ENGINE_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* The fields are those of the queue's registers, and have their limits. */
struct svatest_queue_setup {
	__u64 sq;	   /* submission ring, aligned to 64 bytes */
	__u64 cq;	   /* completion ring, aligned to 32 bytes */
	__u32 ring_log2;   /* log2 of the entries of both, 1 to 12 */
	__u32 depth;	   /* descriptors executed at once, 1 to 64 */
	__u32 access_log2; /* log2 of the bytes of one access, 6 to 14 */
	__u32 interval_ns; /* between the starts of two descriptors */
	__u32 rate;	   /* 10^6 bytes a second, 0 for no limit */
	__u32 queue;	   /* out: the queue's number */
};

#define SVATEST_CMD_SET_QUEUE _IOWR('W', 16, struct svatest_queue_setup)

#endif
