// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* pinbench: the rows, ways of preparing memory for a device. */
#ifndef STALLBOX_PINBENCH_PREPARE_H
#define STALLBOX_PINBENCH_PREPARE_H

#include "pinbench_cell.h"

extern const struct preparation preparations[];
extern const unsigned preparation_count;

#endif
