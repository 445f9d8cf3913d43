// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The generic timer's counter, read at EL0: the guest's time without a system call.
 *
 * Under Stallbox's own CPU this is virtual time, so a measured latency holds what the models
 * spent and what the guest's instructions cost, and nothing of the host.
 */
#ifndef STALLBOX_TIMING_H
#define STALLBOX_TIMING_H

#include <stdint.h>

static inline uint64_t counter_frequency(void)
{
	uint64_t hz;

	__asm__ volatile("mrs %0, cntfrq_el0" : "=r"(hz));
	return hz;
}

/* The barriers keep the read where it is written: not before what it is to follow. */
static inline uint64_t counter(void)
{
	uint64_t ticks;

	__asm__ volatile("isb\n\tmrs %0, cntvct_el0\n\tisb" : "=r"(ticks)::"memory");
	return ticks;
}

static inline uint64_t ticks_to_ns(uint64_t ticks)
{
	return (uint64_t)((unsigned __int128)ticks * 1000000000u / counter_frequency());
}

static inline uint64_t now_ns(void)
{
	return ticks_to_ns(counter());
}

#endif
