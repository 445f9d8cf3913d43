// SPDX-License-Identifier: GPL-2.0
/* Provokes what a kernel reports of itself: insmod provoke.ko how=NAME, or, built in,
 * echo NAME > /sys/module/provoke/parameters/how. */
#include <linux/module.h>
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irq_work.h>
#include <linux/kfence.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/rwsem.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

static unsigned int seconds = 5;
module_param(seconds, uint, 0600);

static noinline void spin(void)
{
	unsigned int ms;

	for (ms = 0; ms < seconds * 1000; ms++)
		udelay(1000);
}

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);
static DEFINE_SPINLOCK(spin_a);
static DEFINE_SPINLOCK(spin_b);
static DEFINE_RAW_SPINLOCK(raw);
static DECLARE_RWSEM(semaphore);
static void __rcu *pointer;

static void provoke_warn(void)
{
	WARN(1, "as asked for\n");
}

static void provoke_warn_on(void)
{
	WARN_ON(1);
}

static void provoke_bug(void)
{
	BUG();
}

static void provoke_null(void)
{
	*(volatile int *)8 = 0;
}

static void provoke_poison(void)
{
	*(volatile int *)0xdead000000000108UL = 0;
}

static void provoke_panic(void)
{
	panic("as asked for");
}

static volatile int deep;

static noinline int provoke_recursion(int n)
{
	volatile char filler[512];

	filler[n & 511] = n;
	deep = filler[0];
	return provoke_recursion(n + 1) + filler[n & 511];
}

static void provoke_stack(void)
{
	provoke_recursion(0);
}

static void provoke_atomic(void)
{
	preempt_disable();
	msleep(10);
	preempt_enable();
}

static void provoke_sleeping(void)
{
	preempt_disable();
	might_sleep();
	preempt_enable();
}

static void provoke_bad_page(void)
{
	struct page *page = alloc_page(GFP_KERNEL);

	page->mapping = (void *)8;
	__free_page(page);
}

static void provoke_soft_lockup(void)
{
	preempt_disable();
	spin();
	preempt_enable();
}

static void provoke_rcu_stall(void)
{
	rcu_read_lock();
	spin();
	rcu_read_unlock();
}

static int expedite(void *unused)
{
	synchronize_rcu_expedited();
	return 0;
}

static void provoke_rcu_expedited(void)
{
	kthread_run(expedite, NULL, "expedite");
	msleep(1);
	preempt_disable();
	rcu_read_lock();
	spin();
	rcu_read_unlock();
	preempt_enable();
}

static int hang(void *unused)
{
	set_current_state(TASK_UNINTERRUPTIBLE);
	schedule();
	return 0;
}

static int hang_in_io(void *unused)
{
	set_current_state(TASK_UNINTERRUPTIBLE);
	io_schedule();
	return 0;
}

static int hang_on_mutex(void *unused)
{
	mutex_lock(&first);
	return 0;
}

static void provoke_hung_task(void)
{
	kthread_run(hang, NULL, "hung");
	msleep(seconds * 1000);
}

static void provoke_hung_io(void)
{
	kthread_run(hang_in_io, NULL, "hung");
	msleep(seconds * 1000);
}

static void provoke_hung_mutex(void)
{
	mutex_lock(&first);
	kthread_run(hang_on_mutex, NULL, "hung");
	msleep(seconds * 1000);
	mutex_unlock(&first);
}

static void nothing(struct work_struct *work)
{
}
static DECLARE_WORK(work, nothing);

static void provoke_workqueue(void)
{
	preempt_disable();
	queue_work_on(smp_processor_id(), system_wq, &work);
	spin();
	preempt_enable();
}

static void provoke_hard_lockup(void)
{
	local_irq_disable();
	spin();
	local_irq_enable();
}

static irqreturn_t not_mine(int irq, void *unused)
{
	return IRQ_NONE;
}

static void provoke_irq(void)
{
	int irq = irq_alloc_desc(0);
	int count;

	irq_set_chip_and_handler(irq, &dummy_irq_chip, handle_simple_irq);
	irq_clear_status_flags(irq, IRQ_NOREQUEST);
	if (request_irq(irq, not_mine, 0, "provoke", NULL))
		return;
	for (count = 0; count < 100001; count++) {
		local_irq_disable();
		generic_handle_irq(irq);
		local_irq_enable();
	}
}

static void provoke_out_of_bounds(void)
{
	volatile char *buffer = kmalloc(123, GFP_KERNEL);

	buffer[123] = 1;
	kfree((void *)buffer);
}

static void provoke_after_free(void)
{
	volatile char *buffer = kmalloc(64, GFP_KERNEL);

	kfree((void *)buffer);
	buffer[8] = 1;
}

static void provoke_double_free(void)
{
	void *buffer = kmalloc(64, GFP_KERNEL);
	void *volatile again = buffer;

	kfree(buffer);
	kfree(again);
}

static void provoke_kfence(void)
{
	int tries;

	for (tries = 0; tries < 3000; tries++) {
		volatile char *buffer = kmalloc(64, GFP_KERNEL);
		bool sampled = is_kfence_address((void *)buffer);

		kfree((void *)buffer);
		if (sampled) {
			deep = buffer[8];
			return;
		}
		msleep(1);
	}
	pr_info("nothing was sampled\n");
}

static volatile int index = 9;
static volatile int table[4];

static void provoke_bounds(void)
{
	deep = table[index];
}

static void provoke_shift(void)
{
	volatile int bits = 35;

	deep = deep << bits;
}

static void provoke_circular(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);
	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

static void provoke_recursive(void)
{
	struct mutex two[2];
	int each;

	for (each = 0; each < 2; each++)
		mutex_init(&two[each]);
	mutex_lock(&two[0]);
	mutex_lock(&two[1]);
	mutex_unlock(&two[1]);
	mutex_unlock(&two[0]);
}

static void irq_side(struct irq_work *irq_work)
{
	raw_spin_lock(&raw);
	raw_spin_unlock(&raw);
}

static void provoke_inconsistent(void)
{
	static struct irq_work irq_work = IRQ_WORK_INIT_HARD(irq_side);

	raw_spin_lock(&raw);
	raw_spin_unlock(&raw);
	irq_work_queue(&irq_work);
	msleep(10);
}

static DEFINE_RAW_SPINLOCK(inner);

static void provoke_irq_order(void)
{
	static struct irq_work irq_work = IRQ_WORK_INIT_HARD(irq_side);

	/* raw is taken in interrupts, inner with interrupts on; then inner within raw. */
	irq_work_queue(&irq_work);
	msleep(10);
	raw_spin_lock(&inner);
	raw_spin_unlock(&inner);
	raw_spin_lock_irq(&raw);
	raw_spin_lock(&inner);
	raw_spin_unlock(&inner);
	raw_spin_unlock_irq(&raw);
}

static void provoke_irq_inversion(void)
{
	static struct irq_work irq_work = IRQ_WORK_INIT_HARD(irq_side);

	raw_spin_lock_irq(&raw);
	raw_spin_lock(&inner);
	raw_spin_unlock(&inner);
	raw_spin_unlock_irq(&raw);
	raw_spin_lock(&inner);
	raw_spin_unlock(&inner);
	irq_work_queue(&irq_work);
	msleep(10);
}

static void provoke_rcu_usage(void)
{
	deep = rcu_dereference(pointer) != NULL;
}

static void provoke_imbalance(void)
{
	up_read(&semaphore);
}

struct with_lock {
	spinlock_t lock;
};

static void provoke_freed_lock(void)
{
	struct with_lock *it = kmalloc(sizeof(*it), GFP_KERNEL);

	spin_lock_init(&it->lock);
	spin_lock(&it->lock);
	kfree(it);
	preempt_enable();
}

static int exit_with_lock(void *unused)
{
	mutex_lock(&first);
	return 0;
}

static void provoke_held_at_exit(void)
{
	kthread_run(exit_with_lock, NULL, "holder");
	msleep(10);
}

static void provoke_held_at_return(void)
{
	mutex_lock(&first);
}

static void provoke_wait_context(void)
{
	raw_spin_lock(&raw);
	spin_lock(&spin_a);
	spin_unlock(&spin_a);
	raw_spin_unlock(&raw);
}

static void provoke_nested(void)
{
	mutex_lock_nest_lock(&first, &second);
	mutex_unlock(&first);
}

static void provoke_spin_recursion(void)
{
	spin_lock(&spin_b);
	spin_lock(&spin_b);
}

#define CASE(name)                                                                                 \
	{                                                                                          \
#name, provoke_##name                                                              \
	}

static const struct {
	const char *name;
	void (*act)(void);
} cases[] = {
	CASE(warn),	     CASE(warn_on),	   CASE(bug),
	CASE(null),	     CASE(poison),	   CASE(panic),
	CASE(stack),	     CASE(atomic),	   CASE(sleeping),
	CASE(bad_page),	     CASE(soft_lockup),	   CASE(rcu_stall),
	CASE(rcu_expedited), CASE(hung_task),	   CASE(hung_io),
	CASE(hung_mutex),    CASE(workqueue),	   CASE(hard_lockup),
	CASE(irq),	     CASE(out_of_bounds),  CASE(after_free),
	CASE(double_free),   CASE(kfence),	   CASE(bounds),
	CASE(shift),	     CASE(circular),	   CASE(recursive),
	CASE(inconsistent),  CASE(irq_order),	   CASE(irq_inversion),
	CASE(rcu_usage),     CASE(imbalance),	   CASE(freed_lock),
	CASE(held_at_exit),  CASE(held_at_return), CASE(wait_context),
	CASE(nested),	     CASE(spin_recursion),
};

static int provoke(const char *how, const struct kernel_param *unused)
{
	int each;

	for (each = 0; each < ARRAY_SIZE(cases); each++)
		if (sysfs_streq(how, cases[each].name)) {
			cases[each].act();
			return 0;
		}
	return -EINVAL;
}

static const struct kernel_param_ops operations = { .set = provoke };
module_param_cb(how, &operations, NULL, 0200);

static int __init provoke_init(void)
{
	return 0;
}
module_init(provoke_init);
MODULE_DESCRIPTION("provoke");
MODULE_LICENSE("GPL");
