// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * A queue of the SVA test engine, through uacce. docs/test-engine.md describes the device,
 * modules/svatest-engine/svatest_engine.h the driver's side of the interface.
 *
 * All functions that can fail return 0 or a negative errno, and say on stderr what failed.
 */
#ifndef STALLBOX_SVATEST_QUEUE_H
#define STALLBOX_SVATEST_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SVATEST_MODULE "/lib/modules/svatest_engine.ko"

enum svatest_opcode {
	SVATEST_NOP = 0x01,
	SVATEST_COPY = 0x02,
	SVATEST_FILL = 0x03,
	SVATEST_COMPARE = 0x04,
	SVATEST_CRC = 0x05,
	SVATEST_ADD = 0x06,
	SVATEST_CHASE = 0x07,
	SVATEST_STRIDED = 0x08,
};

#define SVATEST_INTERRUPT 1u
#define SVATEST_FENCE 2u

enum svatest_status {
	SVATEST_DONE = 0x00,
	SVATEST_MISMATCH = 0x01,
	SVATEST_LIMIT = 0x02,
	SVATEST_BAD_OPCODE = 0x80,
	SVATEST_RESERVED = 0x81,
	SVATEST_BAD_LENGTH = 0x82,
	SVATEST_BAD_COUNT = 0x83,
	SVATEST_BAD_ADDRESS = 0x84,
	SVATEST_ABORTED = 0x90,
	SVATEST_NO_ATOMICS = 0x91,
};

struct svatest_descriptor {
	uint8_t opcode;
	uint8_t flags;
	uint16_t reserved;
	uint32_t count;
	uint64_t tag;
	uint64_t source;
	uint64_t destination;
	uint64_t length;
	uint64_t operand;
	uint64_t source_stride;
	uint64_t destination_stride;
};

struct svatest_completion {
	uint64_t tag;
	uint64_t result;
	uint64_t detail;
	uint32_t latency_ns;
	uint8_t status;
	uint8_t opcode;
	uint16_t slot; /* bit 15: phase */
};

/* Words of a queue's page, from its offset 0x40 on. */
struct svatest_counters {
	uint64_t descriptors;
	uint64_t errors;
	uint64_t bytes_read;
	uint64_t bytes_written;
	uint64_t accesses;
	uint64_t aborts;
	uint64_t page_requests; /* of the process, whichever queue made them */
	uint64_t bad_doorbells;
	uint64_t access_sum_ns, access_min_ns, access_max_ns;
	uint64_t descriptor_sum_ns, descriptor_min_ns, descriptor_max_ns;
	uint64_t prefill_requested, prefill_present;
};

/* What the queue's registers are set to. */
struct svatest_config {
	unsigned ring_log2;
	unsigned depth;
	unsigned access_log2;
	unsigned interval_ns;
	unsigned rate;
	bool touch_rings; /* otherwise their pages are absent until somebody uses them */
};

struct svatest_queue {
	int fd;
	unsigned number;
	unsigned entries;
	unsigned ring_log2;
	uint32_t tail, head; /* since the start, as in the doorbells */
	uint32_t rung;	     /* the tail that the device knows */
	volatile uint8_t *page;
	struct svatest_descriptor *sq;
	volatile struct svatest_completion *cq;
	size_t ring_bytes;
};

/*
 * The engine's device node, such as /dev/svatest-0. Loads the driver from `module` if it is not
 * there. Says on stderr what is missing, if something is: -ENODEV if it is the engine, -EOPNOTSUPP
 * if the driver does not offer it on this kernel.
 */
int svatest_find(const char *module, char *path, size_t size);

/* Opens, maps and starts a queue. -EOPNOTSUPP if the kernel serves no page requests. */
int svatest_open(struct svatest_queue *q, const char *path, const struct svatest_config *config);
/* Waits, in the kernel, until the device has drained the queue. */
void svatest_close(struct svatest_queue *q);

/* True if the engine asks for pages by PCIe page requests, false if the SMMU stalls it. */
bool svatest_uses_page_requests(const struct svatest_queue *q);
/* True if it asks for translations ahead of use. */
bool svatest_prefills(const struct svatest_queue *q);
void svatest_counters(const struct svatest_queue *q, struct svatest_counters *counters);

/* Submits without telling the device. -EBUSY if the ring has no room. */
int svatest_put(struct svatest_queue *q, const struct svatest_descriptor *d);
/* Tells the device about everything put so far, if there is something new. */
void svatest_ring(struct svatest_queue *q);
/* Whether there is a completion to take. Only reads memory. */
bool svatest_ready(const struct svatest_queue *q);
/* Takes a completion: 0, or -EAGAIN if there is none. Only reads memory. */
int svatest_take(struct svatest_queue *q, struct svatest_completion *c);

/* The failure for which the device has given the queue up; -1 if it has not. */
int svatest_failure(const struct svatest_queue *q);
const char *svatest_failure_name(int failure);

const char *svatest_status_name(unsigned status);

#endif
