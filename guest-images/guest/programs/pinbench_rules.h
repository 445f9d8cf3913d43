// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* pinbench: what is measured beside the matrix. Each writes a line of JSON. */
#ifndef STALLBOX_PINBENCH_RULES_H
#define STALLBOX_PINBENCH_RULES_H

#include <stdio.h>

#include "pinbench_cell.h"

int pinbench_rules(const char *device, FILE *report);
int pinbench_release(const struct preparation *row, const char *device, FILE *report);
int pinbench_ratio(const char *device, unsigned rounds, FILE *report);

#endif
