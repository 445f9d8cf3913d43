// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The guest programs share one static binary, /init: each would otherwise bring its own C library,
 * and the guest unpacks every byte of the initramfs on an emulated CPU.
 */
#ifndef STALLBOX_PROGRAMS_H
#define STALLBOX_PROGRAMS_H

int init_main(int argc, char **argv);
int zipsva_main(int argc, char **argv);
int faultbench_main(int argc, char **argv);
int svatest_main(int argc, char **argv);
int zipabuse_main(int argc, char **argv);
int zipgone_main(int argc, char **argv);
int pinbench_main(int argc, char **argv);
int pintest_main(int argc, char **argv);

#define EXIT_USAGE 2

#endif
