// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Memory for svatest, in the state in which the device is to find it.
 *
 * Data that the device is to read must have a content and yet no page table entry: untouched, it is
 * in a memory file, written with write() and mapped afterwards. What the device is to write is
 * anonymous memory.
 *
 * Functions that return int return 0 or a negative errno, with the reason on stderr.
 */
#ifndef STALLBOX_SVATEST_MEMORY_H
#define STALLBOX_SVATEST_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "options.h"

enum memory { UNTOUCHED, TOUCHED, ZERO, HUGE, UNMAPPED };
/* By their numbers; the last has no name. */
extern const struct word memories[];

/* Always the same numbers: a run repeats. */
uint64_t noise(void);
void fill_noise(uint8_t *at, size_t bytes);
/* zlib's. */
uint32_t crc32(const uint8_t *at, size_t bytes);

/* Says so; -ENOMEM. */
int no_memory(void);

/* Where a source will be; its content comes later, since a list holds addresses. */
int reserve_source(enum memory memory, size_t bytes, uint8_t **at, int *fd);
/* Puts content into it, without touching it if it is to be untouched. Takes the file. */
int deposit(uint8_t *at, int fd, const uint8_t *content, size_t bytes);
/* Both. */
int make_source(enum memory memory, size_t bytes, const uint8_t *content, uint8_t **at);
int make_destination(enum memory memory, size_t bytes, uint8_t **at);

#endif
