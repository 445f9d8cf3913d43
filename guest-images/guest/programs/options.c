// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Columns of the left half of --help. */
#define LEFT_MAX 64

#define HELP "help"

/* --- what --help prints --- */

/* 65536 is 64K. */
static void print_bytes(FILE *f, size_t bytes)
{
	if (bytes && bytes % (1u << 20) == 0)
		fprintf(f, "%zuM", bytes >> 20);
	else if (bytes && bytes % (1u << 10) == 0)
		fprintf(f, "%zuK", bytes >> 10);
	else
		fprintf(f, "%zu", bytes);
}

static void print_number(FILE *f, const struct option_row *row, size_t number)
{
	if (row->kind == OPTION_NUMBER)
		fprintf(f, "%zu", number);
	else
		print_bytes(f, number);
}

static bool has_range(const struct option_row *row)
{
	return row->kind == OPTION_NUMBER || row->kind == OPTION_BYTES || row->kind == OPTION_SIZES;
}

static void print_range(FILE *f, const struct option_row *row)
{
	if (!has_range(row))
		return;
	if (row->most < UINT_MAX) {
		fprintf(f, ", ");
		print_number(f, row, row->least);
		fprintf(f, " to ");
		print_number(f, row, row->most);
	} else if (row->least) {
		fprintf(f, ", at least ");
		print_number(f, row, row->least);
	}
}

static void print_default(FILE *f, const struct option_row *row)
{
	if (row->text) {
		fprintf(f, " (%s)", row->text);
	} else if (row->kind == OPTION_WORD) {
		for (unsigned i = 0; row->words[i].name; i++)
			if (row->words[i].value == row->number)
				fprintf(f, " (%s)", row->words[i].name);
	} else if (has_range(row)) {
		fprintf(f, " (");
		print_number(f, row, row->number);
		fprintf(f, ")");
	}
}

/* Words that need no help are named in the option's own line. */
static bool is_explained(const struct word *words)
{
	return words[0].help;
}

static int left_of(const struct option_row *row, char *left)
{
	int length = snprintf(left, LEFT_MAX, "--%s", row->name);

	if (row->argument)
		length += snprintf(left + length, LEFT_MAX - length, " %s", row->argument);
	if (row->kind != OPTION_WORD)
		return length;
	if (is_explained(row->words))
		return length + snprintf(left + length, LEFT_MAX - length, " NAME");
	for (unsigned i = 0; row->words[i].name; i++)
		length += snprintf(left + length, LEFT_MAX - length, "%s%s", i ? "|" : " ",
				   row->words[i].name);
	return length;
}

/* `help` below `help`, from the same column on. */
static void print_help(FILE *f, const char *help, int column)
{
	for (; *help; help++) {
		fputc(*help, f);
		if (*help == '\n')
			fprintf(f, "%*s", column, "");
	}
}

static void print_row(FILE *f, const struct option_row *row, int width)
{
	char left[LEFT_MAX];

	left_of(row, left);
	fprintf(f, "  %-*s  ", width, left);
	print_help(f, row->help, width + 4);
	print_range(f, row);
	print_default(f, row);
	fprintf(f, "\n");
	if (row->kind != OPTION_WORD || !is_explained(row->words))
		return;
	for (unsigned i = 0; row->words[i].name; i++) {
		fprintf(f, "  %-*s    %-11s", width, "", row->words[i].name);
		print_help(f, row->words[i].help, width + 17);
		fprintf(f, "\n");
	}
}

static const struct word *operand_at(const struct program *p, unsigned index)
{
	return p->operands ? p->operands(index) : NULL;
}

static void print_usage(FILE *f, const struct program *p)
{
	const struct word *word = operand_at(p, 0);
	const bool explained = word && word->help;
	char left[LEFT_MAX];
	int width = 0;

	fprintf(f, "usage: %s", p->name);
	if (explained) {
		fprintf(f, p->operand_optional ? " [" : " ");
		for (const char *c = p->operand; *c; c++)
			fputc(toupper(*c), f);
		fprintf(f, p->operand_optional ? "]" : "");
	} else {
		for (unsigned i = 0; (word = operand_at(p, i)); i++)
			fprintf(f, "%c%s", i ? '|' : ' ', word->name);
	}
	for (unsigned i = 0; i < p->row_count; i++) {
		int length = left_of(&p->rows[i], left);

		if (p->rows[i].required)
			fprintf(f, " %s", left);
		width = length > width ? length : width;
	}
	for (unsigned i = 0; explained && (word = operand_at(p, i)); i++) {
		int length = (int)strlen(word->name);

		width = length > width ? length : width;
	}
	fprintf(f, " [options]\n");
	for (unsigned i = 0; explained && (word = operand_at(p, i)); i++) {
		fprintf(f, "  %-*s  ", width, word->name);
		print_help(f, word->help, width + 4);
		fprintf(f, "\n");
	}
	if (explained)
		fprintf(f, "options:\n");
	for (unsigned i = 0; i < p->row_count; i++)
		print_row(f, &p->rows[i], width);
	fprintf(f, "%s", p->closing);
}

/* --- what is refused --- */

__attribute__((format(printf, 2, 3))) static int refuse(const struct program *p, const char *format,
							...)
{
	va_list args;

	fprintf(stderr, "%s: ", p->name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	print_usage(stderr, p);
	return -1;
}

int options_refuse(const struct program *p, const char *option, const char *rule)
{
	return refuse(p, "--%s: %s", option, rule);
}

/* --- arguments --- */

/* A number that begins `text` and ends at `end`; after it one of `units` may stand. */
static bool read_number(const char *text, const char *units, char **end, size_t *value)
{
	const char *unit;

	errno = 0;
	/* strtoul takes a sign, and makes a large number of it. */
	if (text[0] < '0' || text[0] > '9')
		return false;
	*value = strtoul(text, end, 0);
	if (errno)
		return false;
	unit = **end ? strchr(units, **end) : NULL;
	if (!unit)
		return true;
	++*end;
	return !__builtin_mul_overflow(*value, (size_t)1 << 10 * (unit - units + 1), value);
}

static bool is_in_range(const struct option_row *row, size_t number)
{
	return number >= row->least && number <= row->most;
}

static bool read_whole(const struct option_row *row, const char *text, const char *units,
		       size_t *value)
{
	char *end;

	return read_number(text, units, &end, value) && !*end && is_in_range(row, *value);
}

static bool read_sizes(const struct option_row *row, const char *text, struct sizes *sizes)
{
	sizes->count = 0;
	for (;;) {
		char *end;

		if (sizes->count == SIZES_MAX ||
		    !read_number(text, "KM", &end, &sizes->at[sizes->count]) ||
		    !is_in_range(row, sizes->at[sizes->count]))
			return false;
		sizes->count++;
		if (!*end)
			return true;
		if (*end != ',')
			return false;
		text = end + 1;
	}
}

static int refuse_word(const struct program *p, const struct option_row *row, const char *text)
{
	char list[256];
	int length = 0;

	for (unsigned i = 0; row->words[i].name; i++) {
		const char *between = !i ? "" : row->words[i + 1].name ? ", " : " or ";

		length += snprintf(list + length, sizeof(list) - (size_t)length, "%s%s", between,
				   row->words[i].name);
	}
	return refuse(p, "--%s %s: not %s", row->name, text, list);
}

/* Puts the argument `text` into its field. */
static int take(const struct program *p, const struct option_row *row, const char *text,
		void *options)
{
	void *field = (char *)options + row->offset;
	const char *wrong;
	size_t value;

	switch (row->kind) {
	case OPTION_FLAG:
		*(bool *)field = !row->set;
		return 0;
	case OPTION_NUMBER:
		if (!read_whole(row, text, "", &value))
			return refuse(p, "--%s %s: a number from %zu to %zu", row->name, text,
				      row->least, row->most);
		*(unsigned *)field = (unsigned)value;
		return 0;
	case OPTION_BYTES:
		if (!read_whole(row, text, "KM", &value))
			return refuse(p,
				      "--%s %s: a number of bytes from %zu to %zu, or with K or M",
				      row->name, text, row->least, row->most);
		if (row->unit && value % row->unit)
			return refuse(p, "--%s %s: not a multiple of %u", row->name, text,
				      row->unit);
		*(size_t *)field = value;
		return 0;
	case OPTION_SIZES:
		if (!read_sizes(row, text, field))
			return refuse(p,
				      "--%s %s: up to %u numbers of bytes from %zu to %zu, or with "
				      "K or M, and commas between them",
				      row->name, text, SIZES_MAX, row->least, row->most);
		return 0;
	case OPTION_TEXT:
		*(const char **)field = text;
		return 0;
	case OPTION_WORD:
		for (unsigned i = 0; row->words[i].name; i++) {
			if (!strcmp(row->words[i].name, text)) {
				*(unsigned *)field = row->words[i].value;
				return 0;
			}
		}
		return refuse_word(p, row, text);
	case OPTION_OTHER:
		wrong = row->take(text, options);
		return wrong ? refuse(p, "--%s %s: %s", row->name, text, wrong) : 0;
	}
	return -1;
}

static void take_default(const struct option_row *row, void *options)
{
	void *field = (char *)options + row->offset;

	switch (row->kind) {
	case OPTION_FLAG:
		*(bool *)field = row->set;
		break;
	case OPTION_NUMBER:
	case OPTION_WORD:
		*(unsigned *)field = (unsigned)row->number;
		break;
	case OPTION_BYTES:
		*(size_t *)field = row->number;
		break;
	case OPTION_SIZES:
		read_sizes(row, row->text, field);
		break;
	case OPTION_TEXT:
		*(const char **)field = row->text;
		break;
	case OPTION_OTHER:
		/* The program's own. */
		break;
	}
}

/* --- the command line --- */

static const struct option_row *find_row(const struct program *p, const char *name, size_t length)
{
	for (unsigned i = 0; i < p->row_count; i++)
		if (!strncmp(p->rows[i].name, name, length) && !p->rows[i].name[length])
			return &p->rows[i];
	return NULL;
}

/* The option of the word *argv, and its argument, which may be the next word: how many words. */
static int take_option(const struct program *p, char **argv, void *options)
{
	const char *name = argv[0] + 2, *value = strchr(name, '=');
	size_t length = value ? (size_t)(value - name) : strlen(name);
	const struct option_row *row = find_row(p, name, length);
	int words = 1;

	if (!strcmp(name, HELP)) {
		print_usage(stdout, p);
		exit(EXIT_SUCCESS);
	}
	if (!row)
		return refuse(p, "--%.*s: there is no such option", (int)length, name);
	if (value)
		value++;
	if (row->kind == OPTION_FLAG && value)
		return refuse(p, "--%s: takes no argument", row->name);
	if (row->kind != OPTION_FLAG && !value) {
		value = argv[words++];
		if (!value)
			return refuse(p, "--%s: an argument is missing", row->name);
	}
	return take(p, row, value, options) < 0 ? -1 : words;
}

static int find_operand(const struct program *p, const char *name)
{
	const struct word *word;

	for (int i = 0; (word = operand_at(p, (unsigned)i)); i++)
		if (!strcmp(word->name, name))
			return i;
	return -1;
}

int options_parse(const struct program *p, int argc, char **argv, void *options)
{
	const char *operand = NULL;
	bool only_operands = false;
	int found = 0;

	for (unsigned i = 0; i < p->row_count; i++)
		take_default(&p->rows[i], options);
	for (int i = 1; i < argc;) {
		int words = 1;

		if (only_operands || argv[i][0] != '-' || !argv[i][1]) {
			if (operand || !p->operand)
				return refuse(p, "%s: one word too many", argv[i]);
			operand = argv[i];
		} else if (!strcmp(argv[i], "--")) {
			only_operands = true;
		} else if (strncmp(argv[i], "--", 2)) {
			return refuse(p, "%s: there is no such option", argv[i]);
		} else {
			words = take_option(p, &argv[i], options);
			if (words < 0)
				return -1;
		}
		i += words;
	}
	if (operand) {
		found = find_operand(p, operand);
		if (found < 0)
			return refuse(p, "there is no %s %s", p->operand, operand);
	} else if (p->operand && !p->operand_optional) {
		return refuse(p, "the %s is missing", p->operand);
	} else {
		while (operand_at(p, (unsigned)found))
			found++;
	}
	for (unsigned i = 0; i < p->row_count; i++) {
		const struct option_row *row = &p->rows[i];

		if (row->required && !*(const char **)((char *)options + row->offset))
			return refuse(p, "--%s is missing", row->name);
	}
	return found;
}
