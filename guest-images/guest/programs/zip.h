// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The ZIP engine's submissions, stateless and as a stream.
 *
 * The layout is that of drivers/crypto/hisilicon/zip/zip.h: struct hisi_zip_sqe, and of the
 * user-space driver of UADK (drv/hisi_comp.c), which knows the stream fields too.
 */
#ifndef STALLBOX_ZIP_H
#define STALLBOX_ZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qm.h"

/* The most the engine takes in one request, in and out. */
#define ZIP_MAX_BYTES (8u << 20)
/* No compressed form is larger than this for `n` bytes; the header is on top. */
#define ZIP_ROOM(n) ((n) + (n) / 8 + 4096)
/* A source of so many bytes has room in the output for whatever comes of it. */
#define ZIP_SOURCE_MAX 7000000u
/* Long: a host may emulate this one, and a request of megabytes then takes seconds. */
#define ZIP_TIMEOUT_MS 30000

/* dw9 [7:0] */
enum zip_algorithm {
	ZIP_DEFLATE = 1, /* hisi_qm_v3 only */
	ZIP_ZLIB = 2,
	ZIP_GZIP = 3,
};

/* dw3 [7:0] */
enum zip_status {
	ZIP_OK = 0x00,
	ZIP_NEGATIVE = 0x0d, /* output larger than input: the data is good */
	ZIP_NO_ROOM = 0x0e,
	ZIP_BAD_CHECKSUM = 0x10,
	ZIP_STREAM_END = 0x13,
};

#define ZIP_DW3_LAST_BLOCK (1u << 8)
#define ZIP_DW7_FINISH (1u << 25)
#define ZIP_DW7_STATEFUL (1u << 26)
#define ZIP_DW7_NEW_STREAM (1u << 27)
#define ZIP_DW7_TYPE_SHIFT 28
#define ZIP_DW9_BUFFER_SHIFT 8
#define ZIP_DW9_WINDOW_SHIFT 12
#define ZIP_WINDOW_32K 4u
/* ctx_dw0 [3:0]: the final block is decoded but did not fit; come back with empty input. */
#define ZIP_CTX_STATE 0xfu
#define ZIP_CTX_NO_SPACE 1u

/* Names after the word's number where the driver gives none. */
struct zip_sqe {
	uint32_t consumed;
	uint32_t produced;
	uint32_t comp_data_length;
	uint32_t dw3;
	uint32_t input_bytes;
	uint32_t dw5_6[2];
	uint32_t dw7;
	uint32_t dw8;
	uint32_t dw9;
	uint32_t dw10_12[3];
	uint32_t dw13; /* tag of SQE type 0 */
	uint32_t room;
	uint32_t ctx_dw0;
	uint32_t dw16_17[2];
	uint64_t source; /* dw18 */
	uint64_t destination;
	uint64_t context;
	uint64_t literals;
	uint64_t dw26;	  /* tag of SQE type 3 */
	uint32_t ctx_dw1; /* dw28 */
	uint32_t ctx_dw2;
	uint32_t isize;
	uint32_t checksum;
};

_Static_assert(sizeof(struct zip_sqe) == QM_SQE_BYTES, "an SQE is 128 bytes");
_Static_assert(offsetof(struct zip_sqe, source) == 18 * 4, "dw18");
_Static_assert(offsetof(struct zip_sqe, dw26) == 26 * 4, "dw26");

struct zip_request {
	enum zip_algorithm algorithm;
	const void *source;
	size_t source_bytes;
	void *destination;
	size_t room;
	uint32_t tag;
};

/* A stateless request over bare data: headers are the caller's business. */
void zip_fill(struct zip_sqe *sqe, const struct qm_queue *q, const struct zip_request *request);

uint32_t zip_tag(const struct zip_sqe *sqe, const struct qm_queue *q);
unsigned zip_status(const struct zip_sqe *sqe);
bool zip_good(const struct zip_sqe *sqe);
const char *zip_status_name(unsigned status);

/* zip_fill, qm_send, qm_wait; the tag that comes back must be the one that went in. */
int zip_run(struct qm_queue *q, const struct zip_request *request, struct zip_sqe *done);

/* "zlib", "gzip", "deflate" */
const char *zip_algorithm_name(enum zip_algorithm algorithm);

/* Bytes of the header that software writes; the engine makes and eats the rest. */
size_t zip_header_write(enum zip_algorithm algorithm, uint8_t *to);
/* Bytes to skip, or 0 if this is no such header (which for deflate is the answer anyway). */
size_t zip_header_skip(enum zip_algorithm algorithm, const uint8_t *from, size_t bytes);
/* The whole compressed form of nothing, which the engine is never asked for. */
size_t zip_empty(enum zip_algorithm algorithm, uint8_t *to);

/* A stream: the state that travels from request to request. */
struct zip_stream {
	struct qm_queue *q;
	enum zip_algorithm algorithm;
	uint8_t *context; /* 64 KiB; the three context words first, the device's part at 64 */
	uint32_t isize;
	uint32_t checksum;
	bool started;
	unsigned requests;
};

#define ZIP_CONTEXT_BYTES (64u << 10)
#define ZIP_CONTEXT_RESERVED 64u

int zip_stream_open(struct zip_stream *s, struct qm_queue *q, enum zip_algorithm algorithm);
void zip_stream_close(struct zip_stream *s);
/* One request. `finish` marks the last of the input when compressing. */
int zip_stream_step(struct zip_stream *s, const void *source, size_t bytes, void *destination,
		    size_t room, bool finish, struct zip_sqe *done);

/*
 * Fresh anonymous memory with nothing behind it yet: no huge pages, so that each 4 KiB page
 * faults by itself. NULL if there is none.
 */
void *fresh_pages(size_t bytes);

#endif
