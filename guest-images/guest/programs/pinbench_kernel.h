// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* pinbench: what the kernel says of itself, and is told. */
#ifndef STALLBOX_PINBENCH_KERNEL_H
#define STALLBOX_PINBENCH_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#define PAGE 4096u

/* 0 or a negative errno. */
int put_text(const char *file, const char *text);
int put_number(const char *file, uint64_t value);
/* The number that the file begins with, or -1. */
int64_t get_number(const char *file);
/* Values of /proc/vmstat by name, -1 where there is none; `names` is NULL-terminated. */
void get_vmstat(const char *const *names, int64_t *values);
/* Its counters of pages that were pinned, and released. */
extern const char *const pin_counters[];
/* Frame numbers of `pages` pages from `at`; 0 where none is present. */
int get_frames(const void *at, size_t pages, uint64_t *frames);
/* NULL, or why processes cannot ask for transparent huge pages. */
const char *no_huge_pages(char *why, size_t size);

void sleep_ms(unsigned ms);
/* This thread's CPU, if there is such a one. */
void run_on(unsigned cpu);
/*
 * Puts the kernel's thread of this name on any CPU but 0: what it costs the operations' CPU is not
 * what is measured.
 */
void keep_from_cpu0(const char *name);

/* "text" into `why` and back, for functions that answer with a reason. */
const char *because(char *why, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
