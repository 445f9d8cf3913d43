// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Results: for people on standard output, for Stallbox on its control channel. */
#ifndef STALLBOX_REPORT_H
#define STALLBOX_REPORT_H

#include <stddef.h>
#include <stdio.h>

#define REPORT_CHANNEL "/dev/ttyS1"

/*
 * Builds one line of JSON with printf and hands it on: to standard output if `print`, and, if
 * `result`, as `result {...}` to the control channel, where Stallbox collects it.
 */
struct report {
	char *text;
	size_t bytes;
	FILE *stream;
};

int report_open(struct report *r);
int report_send(struct report *r, int print, int result);

#endif
