// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The columns in which the kernel takes pages away: to swap, and back to their files. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pinbench_reclaim.h"

#define ZRAM "/sys/block/zram0/"
#define DISK "/dev/zram0"
#define DISK_BYTES (64u << 20)
#define FILES "/tmp/pinbench"
#define GROUPS "/sys/fs/cgroup/"
#define GROUP GROUPS "pinbench/"

const char *const swap_counters[] = { "pswpout", "swpout_zero", "pswpin", "swpin_zero", NULL };
const char *const file_counters[] = { "pgsteal_file", "pgscan_file", "workingset_refault_file",
				      "pgactivate", NULL };
const char *const memcg_counters[] = { "pgsteal_anon", "pgscan_anon", "pswpout", "swpout_zero",
				       "pswpin",       "swpin_zero",  NULL };

static const char *no_disk(char *why, size_t size)
{
	int err;

	if (access(ZRAM "disksize", W_OK) < 0)
		return because(why, size, "no " ZRAM " (CONFIG_ZRAM)");
	err = put_number(ZRAM "disksize", DISK_BYTES);
	if (err)
		return because(why, size, ZRAM "disksize: %s", strerror(-err));
	return NULL;
}

/* --- swap: MADV_PAGEOUT to a zram disk --- */

/* mm/swapfile.c: read_swap_header; include/linux/swap.h: union swap_header, version 1. */
static int make_swap(const char *device, size_t bytes)
{
	static uint8_t header[PAGE];
	const uint32_t words[3] = { 1, (uint32_t)(bytes / PAGE - 1), 0 };
	int fd = open(device, O_WRONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	memcpy(header + 1024, words, sizeof(words));
	memcpy(header + PAGE - 10, "SWAPSPACE2", 10);
	if (write(fd, header, sizeof(header)) != sizeof(header))
		err = errno ? -errno : -EIO;
	close(fd);
	return err;
}

const char *no_swap(char *why, size_t size)
{
	const char *reason = no_disk(why, size);
	int err;

	if (reason)
		return reason;
	err = make_swap(DISK, DISK_BYTES);
	if (err)
		return because(why, size, DISK ": %s", strerror(-err));
	if (swapon(DISK, 0) < 0)
		return because(why, size, "swapon " DISK ": %s", strerror(errno));
	return NULL;
}

int step_swap(struct cell *cell, unsigned region, struct step *step)
{
	int err = advise(&cell->bystander, region, MADV_PAGEOUT);

	if (err)
		return cell_failed(cell, "MADV_PAGEOUT", -err);
	/* The kernel refuses locked and hugetlb mappings (mm/madvise.c: can_madv_lru_vma). */
	step->error = advise(&cell->memory, region, MADV_PAGEOUT);
	return 0;
}

/* --- memcg: reclaim in the process's control group --- */

static const char *mount_groups(char *why, size_t size)
{
	int err;

	if (mount("cgroup2", GROUPS, "cgroup2", MS_NOSUID | MS_NODEV, NULL) < 0 && errno != EBUSY)
		return because(why, size, "cgroup2 on " GROUPS ": %s", strerror(errno));
	err = put_text(GROUPS "cgroup.subtree_control", "+memory");
	if (err)
		return because(why, size, "the memory controller: %s (CONFIG_MEMCG)",
			       strerror(-err));
	return NULL;
}

const char *no_groups(char *why, size_t size)
{
	const char *reason = no_swap(why, size);

	return reason ? reason : mount_groups(why, size);
}

int enter_group(struct cell *cell)
{
	int err = 0;

	if (mkdir(GROUP, 0755) < 0 && errno != EEXIST)
		err = -errno;
	if (!err)
		err = put_number(GROUP "cgroup.procs", (uint64_t)getpid());
	return err ? cell_failed(cell, GROUP, err) : 0;
}

void leave_group(struct cell *cell)
{
	(void)cell;
	put_number(GROUPS "cgroup.procs", (uint64_t)getpid());
	rmdir(GROUP);
}

/*
 * Each step asks for half of what the group has. Not by memory.high, which comes to the same reclaim
 * (mm/memcontrol.c: memory_high_write) but lets processes of the group sleep for seconds.
 */
int step_memcg(struct cell *cell, unsigned region, struct step *step)
{
	const int64_t have = get_number(GROUP "memory.current");
	int err;

	(void)region;
	(void)step;
	if (have < 0)
		return cell_failed(cell, GROUP "memory.current", -EIO);
	err = put_number(GROUP "memory.reclaim", (uint64_t)have / 2);
	/* EAGAIN: less than that could be had. */
	return err && err != -EAGAIN ? cell_failed(cell, GROUP "memory.reclaim", err) : 0;
}

/* --- file: clean pages of a file are dropped, by MADV_PAGEOUT --- */

/* Busybox makes the file system; it is in the image anyway. */
static int make_file_system(void)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, STDOUT_FILENO);
		/* zram has sectors of a page, and a block cannot be smaller. */
		execl("/bin/busybox", "mke2fs", "-b", "4096", DISK, (char *)NULL);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

const char *no_files(char *why, size_t size)
{
	const char *reason = no_disk(why, size);
	int err;

	if (reason)
		return reason;
	err = make_file_system();
	if (err)
		return because(why, size, "busybox mke2fs " DISK ": %s", strerror(-err));
	mkdir(FILES, 0755);
	if (mount(DISK, FILES, "ext2", MS_NOSUID | MS_NODEV, NULL) < 0)
		return because(why, size, "ext2 on " DISK ": %s (CONFIG_EXT2_FS)", strerror(errno));
	return NULL;
}

/* A file of zeros on the disk, of which no page is in memory. */
static int make_file(const char *path, size_t bytes)
{
	static const uint8_t zeros[PAGE];
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int err = 0;

	if (fd < 0)
		return -errno;
	for (size_t at = 0; at < bytes && !err; at += PAGE)
		if (write(fd, zeros, PAGE) != PAGE)
			err = errno ? -errno : -EIO;
	if (!err && fsync(fd) < 0)
		err = -errno;
	if (!err)
		err = -posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

int enter_file(struct cell *cell)
{
	const size_t bytes = (size_t)cell->memory.regions * cell->memory.slots * PAGE;
	int fd;

	cell->file = make_file(FILES "/memory", bytes);
	fd = make_file(FILES "/bystander", bytes);
	if (cell->file < 0 || fd < 0)
		return cell_failed(cell, "a file in " FILES, cell->file < 0 ? cell->file : fd);
	return make_bystander(cell, fd, false);
}

/* Only of sources: they are the file's. */
int step_file(struct cell *cell, unsigned region, struct step *step)
{
	const size_t bytes = (size_t)cell->memory.slots * PAGE;

	if (madvise(source_of(&cell->bystander, region, 0), bytes, MADV_PAGEOUT) < 0)
		return cell_failed(cell, "MADV_PAGEOUT", -errno);
	if (madvise(source_of(&cell->memory, region, 0), bytes, MADV_PAGEOUT) < 0)
		step->error = errno;
	return 0;
}
