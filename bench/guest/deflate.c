// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * deflate: compresses on the accelerator, again and again, for a clock outside.
 *
 *   deflate busy|epoll INPUT BYTES OPS
 *
 * One operation compresses BYTES of the file INPUT, each another part of it in turn, with zlib's
 * format and one stateless request. All memory was touched before.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "zip.h"

static void say(const char *what, unsigned long long value)
{
	printf("@bench %s deflate %llu\n", what, value);
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
}

static int fail(const char *what, int err)
{
	fprintf(stderr, "deflate: %s: %s\n", what, strerror(err));
	return 1;
}

static uint8_t *load(const char *path, size_t *bytes)
{
	struct stat info;
	size_t done = 0;
	uint8_t *at;
	int fd = open(path, O_RDONLY);

	if (fd < 0 || fstat(fd, &info) < 0)
		return NULL;
	at = malloc((size_t)info.st_size);
	while (at && done < (size_t)info.st_size) {
		ssize_t n = read(fd, at + done, (size_t)info.st_size - done);

		if (n <= 0)
			return NULL;
		done += (size_t)n;
	}
	*bytes = done;
	close(fd);
	return at;
}

int main(int argc, char **argv)
{
	struct zip_request request = { .algorithm = ZIP_ZLIB };
	unsigned long long produced = 0;
	struct qm_queue queue;
	size_t bytes, ops, total;
	uint8_t *input;
	int err;

	if (argc != 5)
		return 2;
	input = load(argv[2], &total);
	bytes = strtoull(argv[3], NULL, 0);
	ops = strtoull(argv[4], NULL, 0);
	if (!input || bytes == 0 || bytes > total)
		return fail(argv[2], input ? EINVAL : errno);
	request.source_bytes = bytes;
	request.room = ZIP_ROOM(bytes);
	request.destination = malloc(request.room);
	if (!request.destination)
		return fail("destination", ENOMEM);
	memset(request.destination, 1, request.room);
	err = qm_open(&queue, QM_DEFAULT_DEVICE, QM_COMPRESS,
		      strcmp(argv[1], "busy") ? QM_EPOLL : QM_BUSY);
	if (err)
		return fail(QM_DEFAULT_DEVICE, -err);

	say("begin", ops);
	for (size_t op = 0; op < ops; op++) {
		struct zip_sqe done;

		request.source = input + op % (total / bytes) * bytes;
		err = zip_run(&queue, &request, &done);
		if (err)
			return fail("request", -err);
		if (!zip_good(&done)) {
			fprintf(stderr, "deflate: %s\n", zip_status_name(zip_status(&done)));
			return 1;
		}
		produced += done.produced;
	}
	say("end", produced);
	qm_close(&queue);
	return 0;
}
