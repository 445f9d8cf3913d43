/*
 * Runs short AArch64 instruction sequences from given register states and reports what became of
 * them. Built freestanding, so that every register of the process, TPIDR_EL0 included, belongs to
 * the case at work.
 *
 * stdin:  batches; a 32-bit count, then that many `struct given`.
 * stdout: for each batch, that many `struct outcome`.
 *
 * The whole loop lives in a signal handler. Every case ends with a signal: the BRK behind its last
 * instruction, or whatever an instruction raised before. The handler copies the state out of the
 * signal frame, puts the next case's state into it and returns there, so no register is needed for
 * the runner itself. A signal also clears the exclusive monitor, so each case starts with it open.
 */

typedef unsigned int u32;
typedef unsigned long u64;
typedef unsigned __int128 u128;

#define CODE_BASE 0x40000000UL
#define CODE_BYTES 0x200000UL
#define SLOT_WORDS 32
#define WORDS_MAX 24
#define BRK_FILL 0xd420b560u /* BRK #0x5ab */

#define DATA_BASE 0x50000000UL
#define PAGE 0x1000UL
/* Two writable pages, one read-only page, then nothing. */
#define WINDOW_CROSS (DATA_BASE + PAGE - 256)
#define WINDOW_CROSS_BYTES 512
#define WINDOW_END (DATA_BASE + 2 * PAGE - 128)
#define WINDOW_END_BYTES 128
#define READ_ONLY (DATA_BASE + 2 * PAGE)

struct state {
	u64 x[31];
	u64 sp;
	u128 v[32];
	u64 nzcv;
	u64 tpidr;
	u32 fpcr;
	u32 fpsr;
	u64 reserved;
	u128 cross[WINDOW_CROSS_BYTES / 16];
	u128 end[WINDOW_END_BYTES / 16];
};

struct given {
	u32 slot;
	u32 words;
	u32 reserved[2];
	u32 code[WORDS_MAX];
	struct state state;
};

struct outcome {
	u32 signal;
	u32 reserved;
	u64 pc;
	u64 address;
	u64 reserved2;
	struct state state;
};

/* The signal frame, as the arm64 kernel lays it out. */
struct siginfo {
	int signo;
	int error;
	int code;
	int pad;
	u64 address;
};

struct fpsimd {
	u32 magic;
	u32 size;
	u32 fpsr;
	u32 fpcr;
	u128 v[32];
};

struct ucontext {
	u64 flags;
	u64 link;
	u64 stack[3];
	u64 mask;
	unsigned char unused[120];
	u64 align;
	u64 fault_address;
	u64 x[31];
	u64 sp;
	u64 pc;
	u64 pstate;
	u64 align2;
	struct fpsimd fpsimd;
};

_Static_assert(__builtin_offsetof(struct ucontext, fault_address) == 176, "sigcontext");
_Static_assert(__builtin_offsetof(struct ucontext, fpsimd) == 464, "reserved area");

#define FPSIMD_MAGIC 0x46508001u

struct sigaction {
	void (*handler)(int, struct siginfo *, struct ucontext *);
	u64 flags;
	void (*restorer)(void);
	u64 mask;
};

struct sigaltstack {
	void *sp;
	int flags;
	u64 size;
};

#define SYS_READ 63
#define SYS_WRITE 64
#define SYS_EXIT 94
#define SYS_SETITIMER 103
#define SYS_SIGALTSTACK 132
#define SYS_RT_SIGACTION 134
#define SYS_MMAP 222
#define SYS_MPROTECT 226

static long call(long number, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	register u64 x0 __asm__("x0") = a;
	register u64 x1 __asm__("x1") = b;
	register u64 x2 __asm__("x2") = c;
	register u64 x3 __asm__("x3") = d;
	register u64 x4 __asm__("x4") = e;
	register u64 x5 __asm__("x5") = f;
	register long x8 __asm__("x8") = number;
	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5), "r"(x8)
			 : "memory");
	return (long)x0;
}

static void quit(int status)
{
	for (;;)
		call(SYS_EXIT, status, 0, 0, 0, 0, 0);
}

#define BATCH_MAX 512
/* A batch takes some hundredth of a second. */
#define BATCH_SECONDS 60
static struct given givens[BATCH_MAX];
static struct outcome outcomes[BATCH_MAX];
static u32 count;
static u32 current;
static u128 alternate_stack[4096];

static void read_all(void *to, u64 bytes)
{
	char *p = to;
	while (bytes) {
		long n = call(SYS_READ, 0, (u64)p, bytes, 0, 0, 0);
		if (n == 0)
			quit(0);
		if (n < 0)
			quit(2);
		p += n;
		bytes -= n;
	}
}

static void write_all(const void *from, u64 bytes)
{
	const char *p = from;
	while (bytes) {
		long n = call(SYS_WRITE, 1, (u64)p, bytes, 0, 0, 0);
		if (n <= 0)
			quit(3);
		p += n;
		bytes -= n;
	}
}

static void copy(u128 *to, const u128 *from, u32 bytes)
{
	for (u32 i = 0; i < bytes / 16; i++)
		to[i] = from[i];
}

static void next_batch(void)
{
	read_all(&count, sizeof count);
	if (count == 0 || count > BATCH_MAX)
		quit(4);
	read_all(givens, count * sizeof givens[0]);
	for (u32 i = 0; i < count; i++) {
		if (givens[i].slot >= CODE_BYTES / (4 * SLOT_WORDS) || givens[i].words > WORDS_MAX)
			quit(5);
		u32 *code = (u32 *)CODE_BASE + givens[i].slot * SLOT_WORDS;
		for (u32 w = 0; w < SLOT_WORDS; w++)
			code[w] = w < givens[i].words ? givens[i].code[w] : BRK_FILL;
		/* 32 bytes is no larger than any cache's line in use, so no line is missed. */
		for (u32 w = 0; w < SLOT_WORDS; w += 8)
			__asm__ volatile("dc cvau, %0\n\tdsb ish\n\tic ivau, %0"
					 :
					 : "r"(code + w)
					 : "memory");
	}
	__asm__ volatile("dsb ish\n\tisb" : : : "memory");
	current = 0;
	/* SIGALRM is not caught: a batch that hangs ends the process instead. */
	u64 timer[4] = { 0, 0, BATCH_SECONDS, 0 };
	call(SYS_SETITIMER, 0, (u64)timer, 0, 0, 0, 0);
}

static void handler(int signal, struct siginfo *info, struct ucontext *frame)
{
	static int started;
	if (frame->fpsimd.magic != FPSIMD_MAGIC)
		quit(6);
	if (started) {
		struct outcome *out = &outcomes[current];
		struct state *s = &out->state;
		out->signal = signal;
		out->pc = frame->pc;
		out->address = signal == 7 || signal == 11 ? info->address : 0;
		for (int i = 0; i < 31; i++)
			s->x[i] = frame->x[i];
		s->sp = frame->sp;
		s->nzcv = frame->pstate & 0xf0000000u;
		s->fpcr = frame->fpsimd.fpcr;
		s->fpsr = frame->fpsimd.fpsr;
		copy(s->v, frame->fpsimd.v, sizeof s->v);
		__asm__ volatile("mrs %0, tpidr_el0" : "=r"(s->tpidr));
		copy(s->cross, (const u128 *)WINDOW_CROSS, sizeof s->cross);
		copy(s->end, (const u128 *)WINDOW_END, sizeof s->end);
		current++;
		if (current == count) {
			u64 stop[4] = { 0, 0, 0, 0 };
			call(SYS_SETITIMER, 0, (u64)stop, 0, 0, 0, 0);
			write_all(outcomes, count * sizeof outcomes[0]);
			next_batch();
		}
	} else {
		started = 1;
		next_batch();
	}
	const struct given *in = &givens[current];
	const struct state *s = &in->state;
	for (int i = 0; i < 31; i++)
		frame->x[i] = s->x[i];
	frame->sp = s->sp;
	frame->pc = CODE_BASE + in->slot * SLOT_WORDS * 4;
	frame->pstate = (frame->pstate & ~0xf0000000UL) | s->nzcv;
	frame->fpsimd.fpcr = s->fpcr;
	frame->fpsimd.fpsr = s->fpsr;
	copy(frame->fpsimd.v, s->v, sizeof s->v);
	__asm__ volatile("msr tpidr_el0, %0" : : "r"(s->tpidr));
	copy((u128 *)WINDOW_CROSS, s->cross, sizeof s->cross);
	copy((u128 *)WINDOW_END, s->end, sizeof s->end);
}

__asm__("restorer: mov x8, #139\n\tsvc #0\n"
	".globl _start\n"
	"_start: mov x29, #0\n\tmov x30, #0\n\tbl start\n");
extern void restorer(void);

static void map(u64 base, u64 bytes, int protection)
{
	/* MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS */
	if (call(SYS_MMAP, base, bytes, protection, 0x32, -1UL, 0) != (long)base)
		quit(7);
}

void start(void)
{
	static const int signals[] = { 4, 5, 7, 8, 11 };
	map(CODE_BASE, CODE_BYTES, 7);
	map(DATA_BASE, 3 * PAGE, 3);
	for (u64 i = 0; i < PAGE; i++)
		((unsigned char *)READ_ONLY)[i] = i * 37 + 11;
	if (call(SYS_MPROTECT, READ_ONLY, PAGE, 1, 0, 0, 0) != 0)
		quit(8);
	struct sigaltstack stack = { alternate_stack, 0, sizeof alternate_stack };
	if (call(SYS_SIGALTSTACK, (u64)&stack, 0, 0, 0, 0, 0) != 0)
		quit(9);
	for (u32 i = 0; i < sizeof signals / sizeof signals[0]; i++) {
		/* SA_SIGINFO | SA_ONSTACK | SA_RESTORER */
		struct sigaction action = { handler, 0x4 | 0x08000000 | 0x04000000, restorer, 0 };
		if (call(SYS_RT_SIGACTION, signals[i], (u64)&action, 0, 8, 0, 0) != 0)
			quit(10);
	}
	__asm__ volatile("brk #0");
}
