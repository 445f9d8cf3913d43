// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The command line of a program, from one table: what is accepted, the defaults, what --help prints
 * and what is said of an option that is refused.
 *
 * A program has a `struct options` of its own; a row of its table names the field that the option
 * sets. Numbers are decimal or begin with 0x; K or M may follow a number of bytes. An argument is the
 * next word, or follows after =. The last of several wins.
 */
#ifndef STALLBOX_OPTIONS_H
#define STALLBOX_OPTIONS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A word that can be chosen. */
struct word {
	const char *name;
	const char *help; /* NULL: the name says it */
	unsigned value;	  /* of OPTION_WORD */
};

#define SIZES_MAX 8u

/* What OPTION_SIZES sets. */
struct sizes {
	unsigned count;
	size_t at[SIZES_MAX];
};

enum option_kind {
	OPTION_FLAG,   /* bool: the default, and when given its opposite */
	OPTION_NUMBER, /* unsigned */
	OPTION_BYTES,  /* size_t */
	OPTION_SIZES,  /* struct sizes: numbers of bytes with commas between them */
	OPTION_TEXT,   /* const char * */
	OPTION_WORD,   /* an enumeration, or unsigned: the value of one of `words` */
	OPTION_OTHER,  /* what `take` makes of it */
};

struct option_row {
	const char *name;     /* without its hyphens */
	const char *argument; /* as --help has it; of a word and a flag NULL */
	const char *help;     /* lines after the first are continued below it */
	enum option_kind kind;
	bool required; /* a text that has no default */
	bool set;      /* default of a flag */
	unsigned unit; /* 0, or what a number of bytes must be a multiple of */
	size_t offset; /* of the field in struct options */
	size_t least, most;
	size_t number;	  /* default of a number, of bytes and of a word */
	const char *text; /* default of a text and of sizes; of others as --help has it, or NULL */
	const struct word *words; /* the last has no name */
	/* NULL, or what is wrong with it. */
	const char *(*take)(const char *text, void *options);
};

/* Versions of clang-format differ on what follows. */
/* clang-format off */

/* The offset of a field, which must have this type. */
#define FIELD_OF(type, field) \
	_Generic(((struct options *)0)->field, type: offsetof(struct options, field))
/* As an enumeration's type depends on the enumeration, only its size can be looked at. */
#define FIELD_OF_WORD(field) \
	(offsetof(struct options, field) / \
	 (sizeof(((struct options *)0)->field) == sizeof(unsigned)))

#define EXPLAINED(word, about) { .name = word, .help = about }

/* Rows of the table. */
#define FLAG(option, field, otherwise, about) { \
	.name = option, .help = about, .kind = OPTION_FLAG, \
	.offset = FIELD_OF(bool, field), .set = otherwise }
#define NUMBER(option, field, from, to, otherwise, about) { \
	.name = option, .argument = "N", .help = about, .kind = OPTION_NUMBER, \
	.offset = FIELD_OF(unsigned, field), .least = from, .most = to, .number = otherwise }
#define BYTES(option, field, from, to, otherwise, about) { \
	.name = option, .argument = "BYTES", .help = about, .kind = OPTION_BYTES, \
	.offset = FIELD_OF(size_t, field), .least = from, .most = to, .number = otherwise }
#define TEXT(option, field, what, otherwise, about) { \
	.name = option, .argument = what, .help = about, .kind = OPTION_TEXT, \
	.offset = FIELD_OF(const char *, field), .text = otherwise }
#define REQUIRED_TEXT(option, field, what, about) { \
	.name = option, .argument = what, .help = about, .kind = OPTION_TEXT, \
	.offset = FIELD_OF(const char *, field), .required = true }
#define WORD(option, field, choice, otherwise, about) { \
	.name = option, .help = about, .kind = OPTION_WORD, \
	.offset = FIELD_OF_WORD(field), .words = choice, .number = otherwise }

/* clang-format on */

struct program {
	const char *name;
	/* What the word that is no option is called, such as "case"; NULL: there is none. */
	const char *operand;
	bool operand_optional;
	/* Which there are: by index, NULL after the last. */
	const struct word *(*operands)(unsigned index);
	const struct option_row *rows;
	unsigned row_count;
	const char *closing; /* the last lines of --help: what is printed, exit statuses */
};

/*
 * Fills `options` with the defaults, then with what the command line says. Returns the operand's
 * index, or the number of operands if none is given and that is right. What makes no sense is told on
 * stderr with the option and the usage, and -1 returned. --help is printed, and the process ends.
 */
int options_parse(const struct program *p, int argc, char **argv, void *options);

/* The usage, on stderr, after "NAME: --OPTION: RULE": for rules about more than one option. */
int options_refuse(const struct program *p, const char *option, const char *rule);

#endif
