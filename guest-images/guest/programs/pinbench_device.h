// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* pinbench: the devices that do the operations. */
#ifndef STALLBOX_PINBENCH_DEVICE_H
#define STALLBOX_PINBENCH_DEVICE_H

#include "pinbench_cell.h"

extern const struct device zip_device, engine_device;
/* NULL, or why there is no test engine that asks for pages and prefills, or does not. */
const char *no_engine(bool prefills, char *why, size_t size);

#endif
