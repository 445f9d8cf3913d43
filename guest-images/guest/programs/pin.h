// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Pinning of this process's own pages, by either interface: /dev/uacce_ctrl (the modules
 * uacce_ctrl.ko and uacce_ctrl_as_posted.ko) and mempinfd (the image `pin`).
 *
 * All functions that can fail return 0 or a negative errno, and pin_range what the interface
 * returns, which by the module as posted may be a positive number.
 */
#ifndef STALLBOX_PIN_H
#define STALLBOX_PIN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>

#define PIN_DEVICE "/dev/uacce_ctrl"
#define PIN_SYSCALL 500 /* mempinfd(unsigned int flags) */

struct pin_range {
	uint64_t addr;
	uint64_t size;
};

#define UACCE_CMD_PIN _IOW('W', 2, struct pin_range)
#define UACCE_CMD_UNPIN _IOW('W', 3, struct pin_range)
#define MEMPIN_PIN _IOWR('M', 0, struct pin_range)
#define MEMPIN_UNPIN _IOWR('M', 1, struct pin_range)

enum pin_interface {
	PIN_UACCE_CTRL,
	PIN_MEMPINFD,
};

struct pinner {
	enum pin_interface interface;
	int fd;
};

/* Close with pin_close. On failure pin_complain says what to do about it. */
int pin_open(struct pinner *p, enum pin_interface interface);
void pin_complain(enum pin_interface interface, int err);
/* Ends all pins. */
void pin_close(struct pinner *p);

int pin_range(const struct pinner *p, const volatile void *addr, uint64_t size);
int unpin_range(const struct pinner *p, const volatile void *addr, uint64_t size);

/* Pages that are pinned now in the whole guest: what /proc/vmstat counts; -1 if it does not. */
int64_t pin_count(void);

#endif
