// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * zipsva: compresses or decompresses a file on the accelerator, which gets plain pointers into
 * this process: the input is the file's own mapping, the output fresh memory. So the device meets
 * pages of the page cache that this process never touched, and anonymous pages that do not exist.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "options.h"
#include "programs.h"
#include "report.h"
#include "timing.h"
#include "zip.h"

struct options {
	enum qm_direction direction;
	enum zip_algorithm algorithm;
	const char *in, *out, *device;
	size_t block;
	bool stream, check, json, result;
	enum qm_poll poll;
};

/* Compressed or plain bytes, and what it took to make them. */
struct bytes {
	uint8_t *at;
	size_t used;
	size_t room; /* mapped */
	unsigned requests;
	unsigned status;
	uint64_t ns;
};

static int status_error(const struct zip_sqe *done, const char *what)
{
	fprintf(stderr, "zipsva: %s: status 0x%02x (%s), consumed %u, produced %u\n", what,
		zip_status(done), zip_status_name(zip_status(done)), done->consumed,
		done->produced);
	return -EIO;
}

static int request_error(int err)
{
	fprintf(stderr, "zipsva: request: %s\n", strerror(-err));
	return err;
}

/* Doubling by mremap moves page tables, not data, and pages not yet written stay absent. */
static int grow(struct bytes *b, size_t free_bytes)
{
	size_t room = b->room ? b->room : 1u << 20;
	void *at;

	while (room - b->used < free_bytes)
		room *= 2;
	if (room == b->room)
		return 0;
	at = b->room ? mremap(b->at, b->room, room, MREMAP_MAYMOVE) : fresh_pages(room);
	if (!at || at == MAP_FAILED) {
		fprintf(stderr, "zipsva: no memory for %zu bytes of output\n", room);
		return -ENOMEM;
	}
	b->at = at;
	b->room = room;
	return 0;
}

static int run_block(struct qm_queue *q, const struct options *o, enum qm_direction direction,
		     const uint8_t *in, size_t in_bytes, size_t header, struct bytes *out)
{
	bool compress = direction == QM_COMPRESS;
	struct zip_request request = { .algorithm = o->algorithm };
	struct zip_sqe done;
	uint64_t start;
	int err;

	if (in_bytes - header > ZIP_MAX_BYTES) {
		fprintf(stderr,
			"zipsva: %zu bytes in one request; the engine takes at most %u: "
			"use --stream\n",
			in_bytes, ZIP_MAX_BYTES);
		return -E2BIG;
	}
	err = grow(out, compress ? ZIP_ROOM(in_bytes) : ZIP_MAX_BYTES);
	if (err)
		return err;
	if (compress)
		out->used = zip_header_write(o->algorithm, out->at);
	request.source = in + header;
	request.source_bytes = in_bytes - header;
	request.destination = out->at + out->used;
	request.room = out->room - out->used;
	if (request.room > ZIP_MAX_BYTES)
		request.room = ZIP_MAX_BYTES;
	request.tag = 0x5a;

	start = counter();
	err = zip_run(q, &request, &done);
	out->ns = ticks_to_ns(counter() - start);
	if (err)
		return request_error(err);
	out->requests = 1;
	out->status = zip_status(&done);
	if (!zip_good(&done))
		return status_error(&done, compress ? "compress" : "decompress");
	if (done.produced > request.room || done.consumed > request.source_bytes ||
	    (compress && done.consumed != request.source_bytes))
		return status_error(&done, "impossible byte counts");
	out->used += done.produced;
	return 0;
}

static int run_stream(struct qm_queue *q, const struct options *o, enum qm_direction direction,
		      const uint8_t *in, size_t in_bytes, size_t header, struct bytes *out)
{
	bool compress = direction == QM_COMPRESS;
	/* Small enough that a decompressor runs out of room now and then, as real users' do. */
	size_t room = compress ? ZIP_ROOM(o->block) : 4 * o->block;
	struct zip_stream stream;
	struct zip_sqe done;
	size_t at = header;
	unsigned idle = 0;
	uint64_t ticks = 0;
	int err;

	if (room > ZIP_MAX_BYTES)
		room = ZIP_MAX_BYTES;
	err = zip_stream_open(&stream, q, o->algorithm);
	if (!err)
		err = grow(out, room + 64);
	if (err)
		return err;
	if (compress)
		out->used = zip_header_write(o->algorithm, out->at);

	for (;;) {
		size_t bytes = in_bytes - at < o->block ? in_bytes - at : o->block;
		bool last = at + bytes == in_bytes;
		uint64_t start;

		err = grow(out, room);
		if (err)
			break;
		start = counter();
		err = zip_stream_step(&stream, in + at, bytes, out->at + out->used, room,
				      compress && last, &done);
		ticks += counter() - start;
		if (err) {
			request_error(err);
			break;
		}
		out->status = zip_status(&done);
		/* Running out of room in mid-stream is the way streams work, not a failure. */
		if (!zip_good(&done) && out->status != ZIP_STREAM_END &&
		    out->status != ZIP_NO_ROOM) {
			err = status_error(&done, "stream");
			break;
		}
		if (done.consumed > bytes || done.produced > room) {
			err = status_error(&done, "impossible byte counts");
			break;
		}
		at += done.consumed;
		out->used += done.produced;

		if (compress ? last && at == in_bytes && out->status != ZIP_NO_ROOM &&
				       (done.ctx_dw0 & ZIP_CTX_STATE) != ZIP_CTX_NO_SPACE :
			       out->status == ZIP_STREAM_END && (done.dw3 & ZIP_DW3_LAST_BLOCK))
			break;
		idle = done.consumed || done.produced ? 0 : idle + 1;
		if (idle > 1) {
			err = status_error(&done, at == in_bytes ? "input ends before the stream" :
								   "stream makes no progress");
			break;
		}
	}
	out->requests = stream.requests;
	out->ns = ticks_to_ns(ticks);
	zip_stream_close(&stream);
	return err;
}

/* One direction over a whole file image, header included. */
static int convert(const struct options *o, enum qm_direction direction, const uint8_t *in,
		   size_t in_bytes, struct bytes *out)
{
	bool compress = direction == QM_COMPRESS;
	struct qm_queue q;
	size_t header = 0;
	int err;

	memset(out, 0, sizeof(*out));
	if (compress && in_bytes == 0) {
		/* The engine is never asked to compress nothing; software writes that form. */
		err = grow(out, 64);
		if (!err)
			out->used = zip_empty(o->algorithm, out->at);
		return err;
	}
	if (!compress) {
		header = zip_header_skip(o->algorithm, in, in_bytes);
		if ((header == 0 && o->algorithm != ZIP_DEFLATE) || header >= in_bytes) {
			fprintf(stderr, "zipsva: input is no %s data\n",
				zip_algorithm_name(o->algorithm));
			return -EINVAL;
		}
	}
	err = qm_open(&q, o->device, direction, o->poll);
	if (err)
		return err;
	if (o->algorithm == ZIP_DEFLATE && q.version < 3) {
		fprintf(stderr,
			"zipsva: %s speaks hisi_qm_v%u, which has no raw deflate: use "
			"zlib or gzip, or a device of revision 0x30\n",
			o->device, q.version);
		err = -ENOTSUP;
	} else if (o->stream) {
		err = run_stream(&q, o, direction, in, in_bytes, header, out);
	} else {
		err = run_block(&q, o, direction, in, in_bytes, header, out);
	}
	qm_close(&q);
	return err;
}

static int file_error(const char *what, const char *path)
{
	fprintf(stderr, "zipsva: %s %s: %s\n", what, path, strerror(errno));
	return -errno;
}

static int map_input(const char *path, const uint8_t **at, size_t *bytes)
{
	struct stat info;
	void *map;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return file_error("cannot open", path);
	if (fstat(fd, &info) < 0)
		return file_error("cannot stat", path);
	*bytes = (size_t)info.st_size;
	*at = (const uint8_t *)"";
	if (*bytes) {
		map = mmap(NULL, *bytes, PROT_READ, MAP_PRIVATE, fd, 0);
		if (map == MAP_FAILED)
			return file_error("cannot map", path);
		*at = map;
	}
	close(fd);
	return 0;
}

static int write_output(const char *path, const uint8_t *at, size_t bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		return file_error("cannot create", path);
	while (bytes) {
		ssize_t done = write(fd, at, bytes);

		if (done < 0)
			return file_error("cannot write", path);
		at += done;
		bytes -= (size_t)done;
	}
	return close(fd) < 0 ? file_error("cannot write", path) : 0;
}

/*
 * Compressed data must come back as it was. Decompressed data is compressed and decompressed
 * again, since compressors differ in what they write.
 */
static int check(const struct options *o, const uint8_t *in, size_t in_bytes,
		 const struct bytes *out)
{
	const uint8_t *plain = o->direction == QM_COMPRESS ? in : out->at;
	size_t plain_bytes = o->direction == QM_COMPRESS ? in_bytes : out->used;
	struct bytes packed = *out, again;
	int err;

	if (o->direction == QM_DECOMPRESS) {
		err = convert(o, QM_COMPRESS, plain, plain_bytes, &packed);
		if (err)
			return err;
	}
	if (plain_bytes == 0)
		return 0;
	err = convert(o, QM_DECOMPRESS, packed.at, packed.used, &again);
	if (err)
		return err;
	if (again.used != plain_bytes || memcmp(again.at, plain, plain_bytes)) {
		fprintf(stderr, "zipsva: check failed: %zu bytes came back as %zu%s\n", plain_bytes,
			again.used, again.used == plain_bytes ? " different ones" : "");
		return -EIO;
	}
	return 0;
}

enum { COMPRESS, DECOMPRESS };
static const struct word operations[] = {
	[COMPRESS] = { .name = "compress" },
	[DECOMPRESS] = { .name = "decompress" },
	{},
};

static const struct word *operation_at(unsigned index)
{
	return operations[index].name ? &operations[index] : NULL;
}

static const struct word algorithms[] = {
	{ .name = "zlib", .value = ZIP_ZLIB },
	{ .name = "gzip", .value = ZIP_GZIP },
	{ .name = "deflate", .value = ZIP_DEFLATE },
	{},
};

static const struct word polls[] = {
	{ .name = "busy", .value = QM_BUSY },
	{ .name = "epoll", .value = QM_EPOLL },
	{},
};

/* A stream's output needs 200 bytes of room at least; UADK: SW_STOREBUF_TH. */
#define BLOCK_MIN 256

static const struct option_row rows[] = {
	REQUIRED_TEXT("in", in, "FILE", "what is read"),
	REQUIRED_TEXT("out", out, "FILE", "what is written"),
	WORD("alg", algorithm, algorithms, ZIP_ZLIB,
	     "format; deflate needs a device of revision 0x30"),
	FLAG("stream", stream, false, "many stateful requests instead of one stateless one"),
	BYTES("block", block, BLOCK_MIN, ZIP_MAX_BYTES, 64 << 10,
	      "input of one request of a stream"),
	WORD("poll", poll, polls, QM_BUSY, "how to wait for completions"),
	FLAG("check", check, false, "run the other direction too and compare"),
	FLAG("json", json, false, "one line of JSON about the run on standard output"),
	FLAG("result", result, false, "the same line on Stallbox's control channel"),
	TEXT("device", device, "PATH", QM_DEFAULT_DEVICE, "queue device"),
};

static const struct program program = {
	.name = "zipsva",
	.operand = "operation",
	.operands = operation_at,
	.rows = rows,
	.row_count = sizeof(rows) / sizeof(rows[0]),
	.closing = "Exit status: 0 done, 1 failed (the reason on standard error), 2 wrong usage.\n",
};

int zipsva_main(int argc, char **argv)
{
	struct options o;
	struct bytes out;
	struct report r;
	const uint8_t *in = NULL;
	size_t in_bytes = 0;
	const int operation = options_parse(&program, argc, argv, &o);

	if (operation < 0)
		return EXIT_USAGE;
	o.direction = operation == COMPRESS ? QM_COMPRESS : QM_DECOMPRESS;
	if (map_input(o.in, &in, &in_bytes) < 0 ||
	    convert(&o, o.direction, in, in_bytes, &out) < 0 ||
	    write_output(o.out, out.at, out.used) < 0)
		return EXIT_FAILURE;
	if (o.check && check(&o, in, in_bytes, &out) < 0)
		return EXIT_FAILURE;

	if (!o.json && !o.result) {
		printf("%s %s: %zu bytes to %zu in %u request%s, %llu ns%s\n",
		       operations[operation].name, zip_algorithm_name(o.algorithm), in_bytes,
		       out.used, out.requests, out.requests == 1 ? "" : "s",
		       (unsigned long long)out.ns, o.check ? ", checked" : "");
		return EXIT_SUCCESS;
	}
	if (report_open(&r) < 0)
		return EXIT_FAILURE;
	fprintf(r.stream,
		"{\"program\":\"zipsva\",\"op\":\"%s\",\"alg\":\"%s\",\"mode\":\"%s\","
		"\"bytes_in\":%zu,\"bytes_out\":%zu,\"requests\":%u,\"status\":%u,\"ns\":%llu,"
		"\"checked\":%s}",
		operations[operation].name, zip_algorithm_name(o.algorithm),
		o.stream ? "stream" : "block", in_bytes, out.used, out.requests, out.status,
		(unsigned long long)out.ns, o.check ? "true" : "false");
	return report_send(&r, o.json, o.result) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
