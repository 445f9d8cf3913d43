// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Runs the program whose name it was called by; links in /bin carry the names. */
#include <stdio.h>
#include <string.h>

#include "programs.h"

static const struct {
	const char *name;
	int (*main)(int argc, char **argv);
} programs[] = {
	{ "init", init_main },
	{ "zipsva", zipsva_main },
	{ "faultbench", faultbench_main },
	{ "svatest", svatest_main },
	{ "zipabuse", zipabuse_main },
	{ "zipgone", zipgone_main },
	{ "pinbench", pinbench_main },
	{ "pintest", pintest_main },
};

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

int main(int argc, char **argv)
{
	/* "guest zipsva ..." works too, where there are no links. */
	for (int skip = 0; skip < 2 && skip < argc; skip++)
		for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
			if (!strcmp(base_name(argv[skip]), programs[i].name))
				return programs[i].main(argc - skip, argv + skip);

	fprintf(stderr, "usage: PROGRAM ..., where PROGRAM is one of");
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		fprintf(stderr, " %s", programs[i].name);
	fprintf(stderr, "\n");
	return EXIT_USAGE;
}
