// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#define _GNU_SOURCE
#include "zip.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

void zip_fill(struct zip_sqe *sqe, const struct qm_queue *q, const struct zip_request *request)
{
	memset(sqe, 0, sizeof(*sqe));
	sqe->input_bytes = (uint32_t)request->source_bytes;
	sqe->room = (uint32_t)request->room;
	sqe->source = (uintptr_t)request->source;
	sqe->destination = (uintptr_t)request->destination;
	sqe->dw7 = ZIP_DW7_FINISH;
	sqe->dw9 = (uint32_t)request->algorithm | ZIP_WINDOW_32K << ZIP_DW9_WINDOW_SHIFT;
	if (q->version >= 3) {
		sqe->dw7 |= 3u << ZIP_DW7_TYPE_SHIFT;
		sqe->dw26 = request->tag;
	} else {
		sqe->dw13 = request->tag;
	}
}

uint32_t zip_tag(const struct zip_sqe *sqe, const struct qm_queue *q)
{
	return q->version >= 3 ? (uint32_t)sqe->dw26 : sqe->dw13;
}

unsigned zip_status(const struct zip_sqe *sqe)
{
	return sqe->dw3 & 0xff;
}

bool zip_good(const struct zip_sqe *sqe)
{
	return zip_status(sqe) == ZIP_OK || zip_status(sqe) == ZIP_NEGATIVE;
}

const char *zip_status_name(unsigned status)
{
	switch (status) {
	case ZIP_OK:
		return "done";
	case ZIP_NEGATIVE:
		return "output larger than input";
	case ZIP_NO_ROOM:
		return "output too small";
	case ZIP_BAD_CHECKSUM:
		return "checksum wrong";
	case ZIP_STREAM_END:
		return "end of stream";
	default:
		return "data or address error";
	}
}

int zip_run(struct qm_queue *q, const struct zip_request *request, struct zip_sqe *done)
{
	struct zip_sqe sqe;
	int err;

	zip_fill(&sqe, q, request);
	err = qm_send(q, &sqe);
	if (!err)
		err = qm_wait(q, done, ZIP_TIMEOUT_MS);
	if (!err && zip_tag(done, q) != request->tag)
		err = -EPROTO;
	return err;
}

const char *zip_algorithm_name(enum zip_algorithm algorithm)
{
	return algorithm == ZIP_ZLIB ? "zlib" : algorithm == ZIP_GZIP ? "gzip" : "deflate";
}

/* RFC 1950: deflate with a 32 KiB window, default level. */
static const uint8_t zlib_header[] = { 0x78, 0x9c };
/* RFC 1952: deflate, no flags, no time, Unix. */
static const uint8_t gzip_header[] = { 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3 };

size_t zip_header_write(enum zip_algorithm algorithm, uint8_t *to)
{
	switch (algorithm) {
	case ZIP_ZLIB:
		memcpy(to, zlib_header, sizeof(zlib_header));
		return sizeof(zlib_header);
	case ZIP_GZIP:
		memcpy(to, gzip_header, sizeof(gzip_header));
		return sizeof(gzip_header);
	default:
		return 0;
	}
}

static size_t gzip_header_bytes(const uint8_t *from, size_t bytes)
{
	enum { FHCRC = 2, FEXTRA = 4, FNAME = 8, FCOMMENT = 16 };
	size_t at = sizeof(gzip_header);
	uint8_t flags;

	if (bytes < at || from[0] != 0x1f || from[1] != 0x8b || from[2] != 8)
		return 0;
	flags = from[3];
	if (flags & FEXTRA) {
		if (at + 2 > bytes)
			return 0;
		at += 2 + ((size_t)from[at] | (size_t)from[at + 1] << 8);
	}
	for (uint8_t text = FNAME; text <= FCOMMENT; text = (uint8_t)(text << 1)) {
		if (!(flags & text))
			continue;
		while (at < bytes && from[at])
			at++;
		at++;
	}
	if (flags & FHCRC)
		at += 2;
	return at <= bytes ? at : 0;
}

size_t zip_header_skip(enum zip_algorithm algorithm, const uint8_t *from, size_t bytes)
{
	switch (algorithm) {
	case ZIP_ZLIB:
		/* Method deflate, check bits, no preset dictionary. */
		if (bytes < 2 || (from[0] & 0xf) != 8 || (from[0] * 256u + from[1]) % 31 ||
		    (from[1] & 0x20))
			return 0;
		return 2;
	case ZIP_GZIP:
		return gzip_header_bytes(from, bytes);
	default:
		return 0;
	}
}

size_t zip_empty(enum zip_algorithm algorithm, uint8_t *to)
{
	static const uint8_t stored_block[] = { 0x01, 0x00, 0x00, 0xff, 0xff };
	static const uint8_t adler[] = { 0, 0, 0, 1 };
	size_t at = zip_header_write(algorithm, to);

	memcpy(to + at, stored_block, sizeof(stored_block));
	at += sizeof(stored_block);
	if (algorithm == ZIP_ZLIB) {
		memcpy(to + at, adler, sizeof(adler));
		at += sizeof(adler);
	} else if (algorithm == ZIP_GZIP) {
		memset(to + at, 0, 8); /* CRC and length of nothing */
		at += 8;
	}
	return at;
}

int zip_stream_open(struct zip_stream *s, struct qm_queue *q, enum zip_algorithm algorithm)
{
	memset(s, 0, sizeof(*s));
	s->q = q;
	s->algorithm = algorithm;
	/* Untouched on purpose: the device's own accesses to its context may fault as well. */
	s->context = fresh_pages(ZIP_CONTEXT_BYTES);
	return s->context ? 0 : -ENOMEM;
}

void zip_stream_close(struct zip_stream *s)
{
	if (s->context)
		munmap(s->context, ZIP_CONTEXT_BYTES);
	s->context = NULL;
}

int zip_stream_step(struct zip_stream *s, const void *source, size_t bytes, void *destination,
		    size_t room, bool finish, struct zip_sqe *done)
{
	struct zip_request request = {
		.algorithm = s->algorithm,
		.source = source,
		.source_bytes = bytes,
		.destination = destination,
		.room = room,
		.tag = s->requests,
	};
	uint32_t words[3] = { 0 };
	struct zip_sqe sqe;
	int err;

	zip_fill(&sqe, s->q, &request);
	sqe.dw7 |= ZIP_DW7_STATEFUL;
	if (!finish)
		sqe.dw7 &= ~ZIP_DW7_FINISH;
	if (!s->started)
		sqe.dw7 |= ZIP_DW7_NEW_STREAM;
	else
		memcpy(words, s->context, sizeof(words));
	sqe.context = (uintptr_t)s->context + ZIP_CONTEXT_RESERVED;
	sqe.ctx_dw0 = words[0];
	sqe.ctx_dw1 = words[1];
	sqe.ctx_dw2 = words[2];
	sqe.isize = s->isize;
	sqe.checksum = s->checksum;

	err = qm_send(s->q, &sqe);
	if (!err)
		err = qm_wait(s->q, done, ZIP_TIMEOUT_MS);
	if (!err && zip_tag(done, s->q) != request.tag)
		err = -EPROTO;
	if (err)
		return err;

	words[0] = done->ctx_dw0;
	words[1] = done->ctx_dw1;
	words[2] = done->ctx_dw2;
	memcpy(s->context, words, sizeof(words));
	s->isize = done->isize;
	s->checksum = done->checksum;
	s->started = true;
	s->requests++;
	return 0;
}

void *fresh_pages(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return NULL;
	madvise(at, bytes, MADV_NOHUGEPAGE);
	return at;
}
