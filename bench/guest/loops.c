// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * loops: work whose speed is measured from outside, between two lines on the console.
 *
 *   loops [integer|memory|scatter|syscall N]...
 *
 * The guest's clock is no measure: it may be virtual, and count instructions instead of time.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#define NEAR_WORDS (32u << 10) /* 256 KiB: 64 pages, which every TLB holds */
#define FAR_WORDS (512u << 10) /* 4 MiB: 1024 pages, which not every TLB does */

static uint64_t words[FAR_WORDS];

/* A dependent chain with shifts, a multiplication and a branch that is hard to foretell. */
static __attribute__((noinline)) uint64_t integer(uint64_t n)
{
	uint64_t x = 0x9e3779b97f4a7c15, sum = n;

	while (n--) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		sum += x * 0xbf58476d1ce4e5b9;
		if (x & 4)
			__asm__ volatile("" : "+r"(sum)); /* or the branch would be none */
		else
			sum ^= x;
	}
	return sum;
}

/* A load and a store in order, and a load and a store wherever that load says. */
static inline uint64_t load_and_store(uint64_t n, size_t count)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t *next = &words[i % count];
		uint64_t *any = &words[(*next ^ i * 0x9e3779b97f4a7c15) >> 40 & (count - 1)];

		sum += *any;
		*any = sum;
		*next = sum ^ i;
	}
	return sum;
}

static __attribute__((noinline)) uint64_t memory(uint64_t n)
{
	return load_and_store(n, NEAR_WORDS);
}

static __attribute__((noinline)) uint64_t scatter(uint64_t n)
{
	return load_and_store(n, FAR_WORDS);
}

static __attribute__((noinline)) uint64_t syscalls(uint64_t n)
{
	uint64_t sum = 0;

	while (n--)
		sum += (uint64_t)syscall(SYS_getppid);
	return sum;
}

static const struct {
	const char *name;
	uint64_t (*run)(uint64_t n);
} loops[] = {
	{ "integer", integer },
	{ "memory", memory },
	{ "scatter", scatter },
	{ "syscall", syscalls },
};

/* When it returns, the line has left the machine. */
static void say(const char *what, const char *name, uint64_t value)
{
	printf("@bench %s %s %llx\n", what, name, (unsigned long long)value);
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
}

int main(int argc, char **argv)
{
	/* Their first touch is no part of the loop. */
	for (size_t i = 0; i < FAR_WORDS; i++)
		words[i] = i;
	for (int at = 1; at + 1 < argc; at += 2) {
		uint64_t n = strtoull(argv[at + 1], NULL, 0);
		size_t which = 0;

		while (strcmp(loops[which].name, argv[at]))
			if (++which == sizeof(loops) / sizeof(loops[0]))
				return 2;
		say("begin", argv[at], n);
		n = loops[which].run(n);
		say("end", argv[at], n);
	}
	return 0;
}
