// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* pinbench: the parts of columns in which the kernel takes pages away. */
#ifndef STALLBOX_PINBENCH_RECLAIM_H
#define STALLBOX_PINBENCH_RECLAIM_H

#include "pinbench_cell.h"

extern const char *const swap_counters[], *const file_counters[], *const memcg_counters[];
const char *no_swap(char *why, size_t size);
int step_swap(struct cell *cell, unsigned region, struct step *step);
const char *no_files(char *why, size_t size);
int enter_file(struct cell *cell);
int step_file(struct cell *cell, unsigned region, struct step *step);
const char *no_groups(char *why, size_t size);
int enter_group(struct cell *cell);
int step_memcg(struct cell *cell, unsigned region, struct step *step);
void leave_group(struct cell *cell);

#endif
