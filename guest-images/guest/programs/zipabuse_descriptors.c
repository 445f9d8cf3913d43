// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* zipabuse: requests that make no sense. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "zipabuse.h"

/* What a bad descriptor may end with; all of them must end. */
enum expect {
	ANY_ERROR,
	ANY_STATUS, /* nothing documented: only the completion is asked for */
	NO_ROOM,
	BAD_CHECKSUM,
};

struct bad {
	const char *what;
	enum qm_direction direction;
	enum expect expect;
	void (*spoil)(struct zip_sqe *sqe);
};

static void unknown_type(struct zip_sqe *sqe)
{
	sqe->dw9 = (sqe->dw9 & ~0xffu) | 0x7f;
}

static void unknown_buffer(struct zip_sqe *sqe)
{
	sqe->dw9 |= 0xfu << ZIP_DW9_BUFFER_SHIFT;
}

static void unknown_window(struct zip_sqe *sqe)
{
	sqe->dw9 |= 0xfu << ZIP_DW9_WINDOW_SHIFT;
}

static void unknown_sqe_type(struct zip_sqe *sqe)
{
	sqe->dw7 |= 0xfu << ZIP_DW7_TYPE_SHIFT;
}

static void all_ones(struct zip_sqe *sqe)
{
	memset(sqe, 0xff, sizeof(*sqe));
}

static void all_zeros(struct zip_sqe *sqe)
{
	memset(sqe, 0, sizeof(*sqe));
}

static void no_input(struct zip_sqe *sqe)
{
	sqe->input_bytes = 0;
}

static void no_output(struct zip_sqe *sqe)
{
	sqe->room = 0;
}

static void little_output(struct zip_sqe *sqe)
{
	sqe->room = 64;
}

static void endless_input(struct zip_sqe *sqe)
{
	sqe->input_bytes = 0xffffffff;
}

/* The source is data, not a scatter list: its entry count and pointers are noise. */
static void list_of_noise(struct zip_sqe *sqe)
{
	sqe->dw9 |= 1u << ZIP_DW9_BUFFER_SHIFT;
}

static void stream_without_context(struct zip_sqe *sqe)
{
	sqe->dw7 |= ZIP_DW7_STATEFUL | ZIP_DW7_NEW_STREAM;
	sqe->context = 0;
}

static void noise(struct zip_sqe *sqe)
{
	/* Block type 3 does not exist. */
	*(uint8_t *)(uintptr_t)sqe->source = 0x07;
}

static void wrong_checksum(struct zip_sqe *sqe)
{
	((uint8_t *)(uintptr_t)sqe->source)[sqe->input_bytes - 1] ^= 1;
}

static const struct bad bads[] = {
	{ "unknown request type", QM_COMPRESS, ANY_ERROR, unknown_type },
	{ "unknown buffer type", QM_COMPRESS, ANY_ERROR, unknown_buffer },
	{ "unknown window size", QM_COMPRESS, ANY_STATUS, unknown_window },
	{ "unknown descriptor type", QM_COMPRESS, ANY_STATUS, unknown_sqe_type },
	{ "all ones", QM_COMPRESS, ANY_ERROR, all_ones },
	{ "all zeros", QM_COMPRESS, ANY_ERROR, all_zeros },
	{ "no input", QM_COMPRESS, ANY_STATUS, no_input },
	{ "no room", QM_COMPRESS, ANY_ERROR, no_output },
	{ "too little room", QM_COMPRESS, NO_ROOM, little_output },
	{ "4 GiB of input", QM_COMPRESS, ANY_ERROR, endless_input },
	{ "scatter list of noise", QM_COMPRESS, ANY_ERROR, list_of_noise },
	{ "stream without context", QM_COMPRESS, ANY_ERROR, stream_without_context },
	{ "compressed noise", QM_DECOMPRESS, ANY_ERROR, noise },
	{ "too little room to decompress", QM_DECOMPRESS, NO_ROOM, little_output },
	{ "wrong checksum", QM_DECOMPRESS, BAD_CHECKSUM, wrong_checksum },
	{ "all ones to decompress", QM_DECOMPRESS, ANY_ERROR, all_ones },
	{ "stream without context to decompress", QM_DECOMPRESS, ANY_ERROR,
	  stream_without_context },
};

static bool as_expected(enum expect expect, const struct zip_sqe *done)
{
	switch (expect) {
	case ANY_ERROR:
		return !zip_good(done);
	case NO_ROOM:
		return zip_status(done) == ZIP_NO_ROOM;
	case BAD_CHECKSUM:
		return zip_status(done) == ZIP_BAD_CHECKSUM;
	default:
		return true;
	}
}

int bad_descriptors(const struct options *o)
{
	enum { BYTES = 4 * PAGE, ROOM = 2 * ZIP_ROOM(BYTES) };
	uint8_t *plain = fresh_pages(BYTES);
	uint8_t *packed = fresh_pages(ROOM);
	uint8_t *source = fresh_pages(ROOM);
	uint8_t *out = fresh_pages(ROOM);
	struct qm_queue queues[2];
	struct zip_request request;
	struct zip_sqe sqe, done;
	uint32_t packed_bytes;
	int err = 0;

	if (!plain || !packed || !source || !out)
		return failed("no memory");
	case_pattern(plain, BYTES, 3);
	for (int direction = 0; direction < 2; direction++)
		if (qm_open(&queues[direction], o->device, direction, QM_BUSY) < 0)
			return failed("cannot open a queue");
	request = zlib_request(plain, BYTES, packed, ROOM);
	if (zip_run(&queues[QM_COMPRESS], &request, &done) || !zip_good(&done))
		return failed("a good request to begin with");
	packed_bytes = done.produced;

	for (unsigned i = 0; i < sizeof(bads) / sizeof(bads[0]) && !err; i++) {
		const struct bad *bad = &bads[i];
		struct qm_queue *q = &queues[bad->direction];
		bool compress = bad->direction == QM_COMPRESS;

		memcpy(source, compress ? plain : packed, compress ? BYTES : packed_bytes);
		request = zlib_request(source, compress ? BYTES : packed_bytes, out, ROOM);
		zip_fill(&sqe, q, &request);
		bad->spoil(&sqe);
		err = qm_send(q, &sqe);
		if (!err)
			err = qm_wait(q, &done, ZIP_TIMEOUT_MS);
		if (err)
			failed("%s: %s", bad->what,
			       err == -ETIMEDOUT ? "never completed" : strerror(-err));
		else if (!as_expected(bad->expect, &done))
			err = failed("%s: status 0x%02x (%s)", bad->what, zip_status(&done),
				     zip_status_name(zip_status(&done)));
	}
	qm_close(&queues[QM_COMPRESS]);
	qm_close(&queues[QM_DECOMPRESS]);
	munmap(plain, BYTES);
	munmap(packed, ROOM);
	munmap(source, ROOM);
	munmap(out, ROOM);
	if (err || still_works(o))
		return -1;
	return passed("%zu bad requests, each completed", sizeof(bads) / sizeof(bads[0]));
}
