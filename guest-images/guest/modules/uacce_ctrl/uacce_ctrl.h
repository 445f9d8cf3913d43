/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/* The user's side of /dev/uacce_ctrl. */
#ifndef UACCE_CTRL_H
#define UACCE_CTRL_H

#include <linux/ioctl.h>
#include <linux/types.h>

struct uacce_pin_range {
	__u64 addr;
	__u64 size; /* bytes; all pages that the range touches are meant */
};

#define UACCE_CMD_PIN _IOW('W', 2, struct uacce_pin_range)
#define UACCE_CMD_UNPIN _IOW('W', 3, struct uacce_pin_range)

#endif
