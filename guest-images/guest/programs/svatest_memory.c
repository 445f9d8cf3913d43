// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#define _GNU_SOURCE
#include "svatest_memory.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_BYTES (2u << 20)

const struct word memories[] = {
	[UNTOUCHED] = { "untouched", "no page table entries; sources are in the page cache",
			UNTOUCHED },
	[TOUCHED] = { "touched", "all pages present and written, rings too", TOUCHED },
	[ZERO] = { "zero", "sources touched, destinations only read: the zero page", ZERO },
	[HUGE] = { "huge",
		   "untouched, destinations may be huge pages (in a guest of\n"
		   "more than 512 MiB)",
		   HUGE },
	[UNMAPPED] = { "unmapped", "a hole where it begins: it must be refused", UNMAPPED },
	{},
};

uint64_t noise(void)
{
	static uint64_t state = 0x9e3779b97f4a7c15ull;

	/* xorshift64* */
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545f4914f6cdd1dull;
}

void fill_noise(uint8_t *at, size_t bytes)
{
	while (bytes >= 8) {
		uint64_t word = noise();

		memcpy(at, &word, 8);
		at += 8;
		bytes -= 8;
	}
	while (bytes--)
		*at++ = (uint8_t)noise();
}

uint32_t crc32(const uint8_t *at, size_t bytes)
{
	static uint32_t table[256];
	uint32_t crc = ~0u;

	for (unsigned i = 0; !table[255] && i < 256; i++) {
		uint32_t value = i;

		for (int bit = 0; bit < 8; bit++)
			value = value & 1 ? value >> 1 ^ 0xedb88320u : value >> 1;
		table[i] = value;
	}
	while (bytes--)
		crc = crc >> 8 ^ table[(crc ^ *at++) & 0xff];
	return ~crc;
}

int no_memory(void)
{
	fprintf(stderr,
		"svatest: no memory: %s; use fewer or smaller operations, or a machine "
		"with more (--memory of stallbox run)\n",
		strerror(errno));
	return -ENOMEM;
}

static uint8_t *map(size_t bytes, int fd, bool huge)
{
	size_t room = huge ? bytes + HUGE_BYTES : bytes;
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
	uint8_t *at = mmap(NULL, room, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (at == MAP_FAILED)
		return NULL;
	if (huge)
		at = (uint8_t *)(((uintptr_t)at + HUGE_BYTES - 1) & ~(uintptr_t)(HUGE_BYTES - 1));
	madvise(at, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return at;
}

int reserve_source(enum memory memory, size_t bytes, uint8_t **at, int *fd)
{
	*fd = -1;
	if (memory == UNTOUCHED || memory == HUGE) {
		*fd = memfd_create("svatest", MFD_CLOEXEC);
		if (*fd < 0 || ftruncate(*fd, (off_t)bytes) < 0)
			return no_memory();
	}
	*at = map(bytes, *fd, false);
	return *at ? 0 : no_memory();
}

int deposit(uint8_t *at, int fd, const uint8_t *content, size_t bytes)
{
	size_t done = 0;

	if (fd < 0) {
		memcpy(at, content, bytes);
		return 0;
	}
	while (done < bytes) {
		ssize_t part = pwrite(fd, content + done, bytes - done, (off_t)done);

		if (part <= 0)
			return no_memory();
		done += (size_t)part;
	}
	close(fd);
	return 0;
}

int make_source(enum memory memory, size_t bytes, const uint8_t *content, uint8_t **at)
{
	int fd, err = reserve_source(memory, bytes, at, &fd);

	return err ? err : deposit(*at, fd, content, bytes);
}

int make_destination(enum memory memory, size_t bytes, uint8_t **at)
{
	*at = map(bytes, -1, memory == HUGE);
	if (!*at)
		return no_memory();
	for (size_t page = 0; page < bytes; page += 4096) {
		if (memory == TOUCHED)
			(*at)[page] = 0;
		else if (memory == ZERO)
			(void)*(volatile uint8_t *)(*at + page);
	}
	return 0;
}
