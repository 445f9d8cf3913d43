// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* pintest: what its parts share. */
#ifndef STALLBOX_PINTEST_H
#define STALLBOX_PINTEST_H

#include <stdbool.h>
#include <stdint.h>

#include "cases.h"
#include "pin.h"

#define PAGE ((uint64_t)4096)

struct options {
	enum pin_interface interface;
	size_t big_bytes;
	const char *device;
};

struct pintest_case {
	struct word word;
	int (*run)(const struct options *o);
	bool fault; /* one of the first proposal's */
};

/* What is promised and what is refused (pintest_rules.c), and what the device sees of it
 * (pintest_dma.c). The last has no name. */
extern const struct pintest_case pintest_rules[];
extern const struct pintest_case pintest_dma[];

/* What a call returned, for people. Four at a time is enough for one message. */
const char *told(int result);

/* VmLck and VmPin of this process, in pages. */
int64_t locked_pages(void);
int64_t pinned_pages(void);

/* Free memory: MemFree, and what each CPU keeps on its own list, as freed pages first are. */
int64_t free_pages(void);

/* Opens the interface, or complains. */
int open_pinner(const struct options *o, struct pinner *p);

/* A call that must give `wanted`. */
int must(const char *what, int got, int wanted);

/* Pages that must be pinned. */
int counted(const char *what, int64_t got, int64_t wanted);

#endif
