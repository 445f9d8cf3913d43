// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* pinbench: the device's operations, and the thread that disturbs them. */
#ifndef STALLBOX_PINBENCH_LOOP_H
#define STALLBOX_PINBENCH_LOOP_H

#include "pinbench_cell.h"

/* Runs all passes and steps; 0 or a negative errno and cell->why. */
int operate(struct cell *cell);

#endif
