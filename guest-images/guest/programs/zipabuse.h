// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* zipabuse: what its parts share. */
#ifndef STALLBOX_ZIPABUSE_H
#define STALLBOX_ZIPABUSE_H

#include <stddef.h>

#include "cases.h"
#include "zip.h"

#define PAGE 4096u

struct options {
	const char *device;
	unsigned rounds, queues, depth;
	size_t bytes;
};

/* A request that a device does well. */
struct zip_request zlib_request(const void *source, size_t bytes, void *destination, size_t room);

/* The device still works for this process: one round trip through fresh queues. */
int still_works(const struct options *o);

/* The case of requests that make no sense (zipabuse_descriptors.c). */
int bad_descriptors(const struct options *o);

#endif
