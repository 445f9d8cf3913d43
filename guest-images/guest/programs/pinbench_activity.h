// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* pinbench: the columns, what the kernel does with the memory meanwhile. */
#ifndef STALLBOX_PINBENCH_ACTIVITY_H
#define STALLBOX_PINBENCH_ACTIVITY_H

#include "pinbench_cell.h"

extern const struct activity activities[];
extern const unsigned activity_count;

#endif
