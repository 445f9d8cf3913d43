// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Process 1 of the Stallbox guest.
 *
 * It mounts the kernel's file systems, runs one command and switches the machine off. Every
 * instruction of it is emulated, so it is one small static program and not a shell script.
 *
 * The control channel, /dev/ttyS1 (absent under other emulators, and then silently not used):
 *
 *   ready                  init is up, the command is about to start
 *   result {...}           written by programs: one line of JSON that Stallbox keeps
 *   exit N                 the command has ended; N is its exit status, or 128 + signal
 *
 * The command is the shell script /stallbox/command, which Stallbox hands over in a second
 * initramfs archive. Without one there is an interactive shell on the console.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "programs.h"

#define COMMAND "/stallbox/command"
#define CONTROL "/dev/ttyS1"

static void say(const char *text)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		return; /* no console: nobody to tell */
}

static void mount_on(const char *what, const char *where, const char *options)
{
	/* Already there from the archive for all but the nested ones. */
	mkdir(where, 0755);
	if (mount(what, where, what, MS_NOSUID | MS_NOEXEC, options) == 0)
		return;
	/* DEVTMPFS_MOUNT does not act on an initramfs, but a caller's kernel may differ. */
	if (errno != EBUSY && errno != ENODEV) {
		say("init: cannot mount ");
		say(where);
		say("\n");
	}
}

/*
 * The console by its own name: /dev/console cannot be a controlling terminal, and without one
 * Ctrl-C does nothing.
 */
static int open_console(void)
{
	char path[64] = "/dev/";
	char names[48];
	const char *name = "ttyS0";
	int fd = open("/sys/class/tty/console/active", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		ssize_t len = read(fd, names, sizeof(names) - 1);

		close(fd);
		if (len > 1) {
			/* "ttyS0 ttyAMA0\n": the last one is /dev/console. */
			names[len - 1] = '\0';
			name = strrchr(names, ' ');
			name = name ? name + 1 : names;
		}
	}
	strncat(path, name, sizeof(path) - strlen(path) - 1);
	fd = open(path, O_RDWR | O_NOCTTY);
	return fd >= 0 ? fd : open("/dev/console", O_RDWR | O_NOCTTY);
}

static int open_control(void)
{
	struct termios raw;
	/* O_NONBLOCK so that a missing carrier cannot hold the boot up. */
	int fd = open(CONTROL, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -1;
	if (tcgetattr(fd, &raw) < 0) {
		/* The driver reserves the name even where there is no such UART. */
		close(fd);
		return -1;
	}
	cfmakeraw(&raw);
	raw.c_cflag |= CLOCAL;
	cfsetspeed(&raw, B115200);
	tcsetattr(fd, TCSANOW, &raw);
	fcntl(fd, F_SETFL, 0);
	/* Kept open until the end: the settings hold for every program that opens it later. */
	return fd;
}

static void control_write(int fd, const char *line)
{
	size_t len = strlen(line);

	while (fd >= 0 && len > 0) {
		ssize_t done = write(fd, line, len);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return;
		line += done;
		len -= (size_t)done;
	}
}

static void control_exit(int fd, unsigned status)
{
	char line[] = "exit 000\n";
	char *digits = line + 5;
	unsigned n = 0;

	if (status >= 100)
		digits[n++] = (char)('0' + status / 100);
	if (status >= 10)
		digits[n++] = (char)('0' + status / 10 % 10);
	digits[n++] = (char)('0' + status % 10);
	digits[n++] = '\n';
	digits[n] = '\0';
	control_write(fd, line);
}

static pid_t start(int console, const char *script)
{
	static char *const env[] = {
		"PATH=/bin:/sbin:/usr/bin:/usr/sbin", "HOME=/root", "TERM=vt100", "USER=root", NULL,
	};
	char *const argv[] = { "sh", (char *)script, NULL };
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	/* A process group of its own, in the foreground of this process's session. */
	setpgid(0, 0);
	signal(SIGTTOU, SIG_IGN);
	tcsetpgrp(console, getpid());
	signal(SIGTTOU, SIG_DFL);
	dup2(console, STDIN_FILENO);
	dup2(console, STDOUT_FILENO);
	dup2(console, STDERR_FILENO);
	if (console > STDERR_FILENO)
		close(console);
	execve("/bin/sh", argv, env);
	say("init: cannot run /bin/sh\n");
	_exit(127);
}

static unsigned wait_for(pid_t child)
{
	for (;;) {
		int status;
		pid_t pid = wait(&status);

		if (pid < 0 && errno == ECHILD)
			return 127;
		if (pid != child)
			continue; /* an orphan of the command */
		if (WIFEXITED(status))
			return (unsigned)WEXITSTATUS(status);
		return 128u + (unsigned)WTERMSIG(status);
	}
}

/* What still runs would keep device queues open while the drivers shut down. */
static void end_the_rest(void)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	int tries;

	if (kill(-1, SIGKILL) < 0)
		return;
	for (tries = 0; tries < 1000; tries++) {
		pid_t pid = waitpid(-1, NULL, WNOHANG);

		if (pid < 0)
			return;
		if (pid == 0)
			nanosleep(&pause, NULL);
	}
	say("init: some processes did not end\n");
}

int init_main(int argc, char **argv)
{
	int console, control;
	unsigned status;
	pid_t child;

	(void)argc;
	(void)argv;
	if (getpid() != 1) {
		say("init: this is the guest's process 1 and ends with a power-off; not run\n");
		return EXIT_USAGE;
	}

	mount_on("devtmpfs", "/dev", NULL);
	mount_on("proc", "/proc", NULL);
	mount_on("sysfs", "/sys", NULL);
	mount_on("debugfs", "/sys/kernel/debug", NULL);
	mount_on("tracefs", "/sys/kernel/tracing", NULL);
	mount_on("devpts", "/dev/pts", "mode=0620,ptmxmode=0666");
	/* Not noexec: programs are brought here to be run. */
	mkdir("/tmp", 01777);
	mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID, "mode=1777");
	sethostname("stallbox", 8);

	console = open_console();
	if (console >= 0) {
		dup2(console, STDIN_FILENO);
		dup2(console, STDOUT_FILENO);
		dup2(console, STDERR_FILENO);
		if (console <= STDERR_FILENO)
			console = fcntl(console, F_DUPFD, STDERR_FILENO + 1);
		fcntl(console, F_SETFD, FD_CLOEXEC);
		/*
		 * The session is this process's, which never ends: the end of a session's leader hangs up its
		 * terminal, and output that is still on its way is lost (disassociate_ctty).
		 */
		setsid();
		ioctl(console, TIOCSCTTY, 1);
	}
	control = open_control();
	control_write(control, "ready\n");

	child = start(console, access(COMMAND, R_OK) == 0 ? COMMAND : NULL);
	status = child > 0 ? wait_for(child) : 127;

	/* The console first: its last line belongs to the command. */
	if (console >= 0)
		tcdrain(console);
	control_exit(control, status);
	if (control >= 0)
		tcdrain(control);
	end_the_rest();
	sync();
	reboot(RB_POWER_OFF);
	/* Process 1 must not return; without PSCI there is nothing left to do but wait. */
	for (;;)
		pause();
}
