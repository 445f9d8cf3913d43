// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#define _GNU_SOURCE
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int report_open(struct report *r)
{
	r->stream = open_memstream(&r->text, &r->bytes);
	return r->stream ? 0 : -ENOMEM;
}

static int send_result(const char *text)
{
	int fd = open(REPORT_CHANNEL, O_WRONLY | O_NOCTTY | O_CLOEXEC);
	char *line;
	int len, err = 0;

	if (fd < 0)
		return -errno;
	len = asprintf(&line, "result %s\n", text);
	if (len < 0) {
		close(fd);
		return -ENOMEM;
	}
	/* One write for the line: the terminal layer keeps two writers apart. */
	if (write(fd, line, (size_t)len) != len)
		err = errno ? -errno : -EIO;
	free(line);
	close(fd);
	return err;
}

int report_send(struct report *r, int print, int result)
{
	int err = 0;

	if (fclose(r->stream) != 0)
		return -ENOMEM;
	if (print) {
		printf("%s\n", r->text);
		fflush(stdout);
	}
	if (result) {
		err = send_result(r->text);
		if (err)
			fprintf(stderr, "%s: %s\n", REPORT_CHANNEL, strerror(-err));
	}
	free(r->text);
	return err;
}
