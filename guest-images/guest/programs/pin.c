// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pin.h"

int pin_open(struct pinner *p, enum pin_interface interface)
{
	p->interface = interface;
	if (interface == PIN_UACCE_CTRL)
		p->fd = open(PIN_DEVICE, O_RDWR | O_CLOEXEC);
	else
		p->fd = (int)syscall(PIN_SYSCALL, O_CLOEXEC);
	return p->fd < 0 ? -errno : 0;
}

void pin_complain(enum pin_interface interface, int err)
{
	if (interface == PIN_UACCE_CTRL)
		fprintf(stderr, "cannot open " PIN_DEVICE ": %s%s\n", strerror(-err),
			err == -ENOENT ? "; first: insmod /lib/modules/uacce_ctrl.ko" : "");
	else
		fprintf(stderr, "mempinfd: %s%s\n", strerror(-err),
			err == -ENOSYS ? "; boot a kernel that has it: stallbox run --image pin" :
					 "");
}

void pin_close(struct pinner *p)
{
	close(p->fd);
	p->fd = -1;
}

static int control(const struct pinner *p, unsigned long uacce, unsigned long mempin,
		   const volatile void *addr, uint64_t size)
{
	struct pin_range range = { .addr = (uintptr_t)addr, .size = size };
	int done = ioctl(p->fd, p->interface == PIN_UACCE_CTRL ? uacce : mempin, &range);

	return done < 0 ? -errno : done;
}

int pin_range(const struct pinner *p, const volatile void *addr, uint64_t size)
{
	return control(p, UACCE_CMD_PIN, MEMPIN_PIN, addr, size);
}

int unpin_range(const struct pinner *p, const volatile void *addr, uint64_t size)
{
	return control(p, UACCE_CMD_UNPIN, MEMPIN_UNPIN, addr, size);
}

int64_t pin_count(void)
{
	int64_t acquired = -1, released = -1, value;
	char name[64], text[4096];
	FILE *file;
	/* The CPUs' own counts go into the sums only now and then; writing here brings it about. */
	int refresh = open("/proc/sys/vm/stat_refresh", O_WRONLY | O_CLOEXEC);

	if (refresh < 0 || write(refresh, "1", 1) != 1) {
		if (refresh >= 0)
			close(refresh);
		return -1;
	}
	close(refresh);
	file = fopen("/proc/vmstat", "re");
	if (!file)
		return -1;
	while (fgets(text, sizeof(text), file)) {
		if (sscanf(text, "%63s %" SCNd64, name, &value) != 2)
			continue;
		if (!strcmp(name, "nr_foll_pin_acquired"))
			acquired = value;
		else if (!strcmp(name, "nr_foll_pin_released"))
			released = value;
	}
	fclose(file);
	return acquired < 0 || released < 0 ? -1 : acquired - released;
}
