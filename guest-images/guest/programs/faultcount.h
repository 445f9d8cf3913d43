// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The guest's own count of IO page faults.
 *
 * Linux has no trace event for them, so this is a kprobe on iommu_report_device_fault
 * (drivers/iommu/io-pgfault.c). In 6.12 arm_smmu_handle_evt calls it once for each event record
 * with the STALL bit and one of the four fault types, and never for anything else: one hit is one
 * reported stall, whatever becomes of it. With our patch arm_smmu_report_ppr calls it for each page
 * request, stop markers apart. (Its neighbours do worse: iommu_sva_handle_mm can be
 * inlined and is not reached for faults that are answered early.)
 *
 * The count is read from kprobe_profile while recording is off, so a hit costs the guest two
 * breakpoint exceptions and no ring-buffer write. That cost is part of each measured fault.
 */
#ifndef STALLBOX_FAULTCOUNT_H
#define STALLBOX_FAULTCOUNT_H

#include <stdint.h>

/* 0 or a negative errno, with the reason on stderr. */
int faultcount_start(void);
/* Hits since faultcount_start; -1 if it cannot be read or if hits were missed. */
int64_t faultcount_read(void);
void faultcount_stop(void);

#endif
