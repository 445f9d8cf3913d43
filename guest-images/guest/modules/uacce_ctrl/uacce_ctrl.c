// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/uacce_ctrl: pins user pages, so that a device which shares the process's address space
 * finds them in place. The variant without the faults of the first proposal.
 *
 * Rules:
 *  - A pin takes all pages that [addr, addr + size) touches, for long (FOLL_LONGTERM), or none.
 *  - Pins belong to the open file. They end by UACCE_CMD_UNPIN or when the file is released,
 *    which the end of a process brings about too.
 *  - A range that touches a page pinned through the same file is refused (EEXIST). Two files may
 *    pin the same page; each counts.
 *  - The file serves the address space that opened it; others, such as a child after fork() or
 *    the program after execve(), are refused (EPERM).
 *  - Pages count against RLIMIT_MEMLOCK beside mlock()ed ones (VmLck) until they are unpinned,
 *    unless the caller has CAP_IPC_LOCK; and they show in VmPin.
 *  - Memory that may not be written is pinned for reading.
 *
 * What a pin promises is about pages, not about mappings: munmap(), mprotect() or a second fork's
 * copy still change what an address means. A device that works on a range which is unpinned
 * meanwhile goes through the page table as before, and takes an IO page fault should the page move:
 * with shared virtual addressing, unpinning early costs time and never data. So there is nothing
 * to wait for here; nor could there be, because this device does not know the queues.
 */
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/maple_tree.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/overflow.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "uacce_ctrl.h"

/* An open file. */
struct uacce_pins {
	struct mm_struct *mm;
	struct mutex lock;	  /* of ranges */
	struct maple_tree ranges; /* struct uacce_pin by page number */
};

struct uacce_pin {
	unsigned long first; /* page number */
	unsigned long nr_pages;
	struct page *pages[];
};

static int uacce_range_to_pages(const struct uacce_pin_range *range, unsigned long *first,
				unsigned long *nr_pages)
{
	u64 addr = untagged_addr(range->addr);
	u64 end;

	if (!range->size || check_add_overflow(addr, range->size, &end))
		return -EINVAL;
	if (!access_ok((void __user *)(unsigned long)addr, range->size))
		return -EFAULT;
	*first = addr >> PAGE_SHIFT;
	*nr_pages = ((end - 1) >> PAGE_SHIFT) - *first + 1;
	return 0;
}

/* How many pages from @addr on belong to a mapping that may not be written. */
static unsigned long uacce_readonly_pages(unsigned long addr)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	unsigned long nr_pages = 0;

	mmap_read_lock(mm);
	vma = vma_lookup(mm, addr);
	if (vma && !(vma->vm_flags & VM_WRITE))
		nr_pages = (vma->vm_end - addr) >> PAGE_SHIFT;
	mmap_read_unlock(mm);
	return nr_pages;
}

/* All of the range's pages, or an error and none. */
static int uacce_pin_pages(struct uacce_pin *pin)
{
	unsigned long done = 0;

	while (done < pin->nr_pages) {
		unsigned long addr = (pin->first + done) << PAGE_SHIFT;
		unsigned long left = min_t(unsigned long, pin->nr_pages - done, INT_MAX);
		int ret = pin_user_pages_fast(addr, left, FOLL_LONGTERM | FOLL_WRITE,
					      pin->pages + done);

		if (ret == -EFAULT) {
			left = min(left, uacce_readonly_pages(addr));
			if (left)
				ret = pin_user_pages_fast(addr, left, FOLL_LONGTERM,
							  pin->pages + done);
		}
		if (ret <= 0) {
			unpin_user_pages(pin->pages, done);
			return ret ?: -EFAULT;
		}
		done += ret;
	}
	return 0;
}

static void uacce_drop(struct uacce_pins *pins, struct uacce_pin *pin)
{
	unpin_user_pages(pin->pages, pin->nr_pages);
	atomic64_sub(pin->nr_pages, &pins->mm->pinned_vm);
	account_locked_vm(pins->mm, pin->nr_pages, false);
	kvfree(pin);
}

static long uacce_pin(struct uacce_pins *pins, const struct uacce_pin_range *range)
{
	unsigned long first, nr_pages, index;
	struct uacce_pin *pin;
	int ret;

	ret = uacce_range_to_pages(range, &first, &nr_pages);
	if (ret)
		return ret;
	index = first;
	if (mt_find(&pins->ranges, &index, first + nr_pages - 1))
		return -EEXIST;
	if (nr_pages > totalram_pages())
		return -ENOMEM;

	/* First the limit: it bounds what the list of pages may take. */
	ret = account_locked_vm(pins->mm, nr_pages, true);
	if (ret)
		return ret;
	pin = kvmalloc(struct_size(pin, pages, nr_pages), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!pin) {
		ret = -ENOMEM;
		goto unaccount;
	}
	pin->first = first;
	pin->nr_pages = nr_pages;
	ret = uacce_pin_pages(pin);
	if (ret)
		goto free;
	ret = mtree_insert_range(&pins->ranges, first, first + nr_pages - 1, pin, GFP_KERNEL);
	if (ret)
		goto unpin;
	atomic64_add(nr_pages, &pins->mm->pinned_vm);
	return 0;

unpin:
	unpin_user_pages(pin->pages, nr_pages);
free:
	kvfree(pin);
unaccount:
	account_locked_vm(pins->mm, nr_pages, false);
	return ret;
}

static long uacce_unpin(struct uacce_pins *pins, const struct uacce_pin_range *range)
{
	unsigned long first, nr_pages;
	struct uacce_pin *pin;
	int ret;

	ret = uacce_range_to_pages(range, &first, &nr_pages);
	if (ret)
		return ret;
	pin = mtree_load(&pins->ranges, first);
	if (!pin || pin->first != first)
		return -ENODEV;
	if (pin->nr_pages != nr_pages)
		return -EINVAL;
	mtree_erase(&pins->ranges, first);
	uacce_drop(pins, pin);
	return 0;
}

static long uacce_ctrl_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct uacce_pins *pins = file->private_data;
	struct uacce_pin_range range;
	long ret;

	if (cmd != UACCE_CMD_PIN && cmd != UACCE_CMD_UNPIN)
		return -ENOTTY;
	if (pins->mm != current->mm)
		return -EPERM;
	if (copy_from_user(&range, (void __user *)arg, sizeof(range)))
		return -EFAULT;
	ret = mutex_lock_killable(&pins->lock);
	if (ret)
		return ret;
	ret = cmd == UACCE_CMD_PIN ? uacce_pin(pins, &range) : uacce_unpin(pins, &range);
	mutex_unlock(&pins->lock);
	return ret;
}

static int uacce_ctrl_open(struct inode *inode, struct file *file)
{
	struct uacce_pins *pins = kzalloc(sizeof(*pins), GFP_KERNEL_ACCOUNT);

	if (!pins)
		return -ENOMEM;
	mutex_init(&pins->lock);
	mt_init(&pins->ranges);
	/* Only the structure: the address space itself may end before the file does. */
	pins->mm = current->mm;
	mmgrab(pins->mm);
	file->private_data = pins;
	return 0;
}

static int uacce_ctrl_release(struct inode *inode, struct file *file)
{
	struct uacce_pins *pins = file->private_data;
	struct uacce_pin *pin;
	unsigned long index = 0;

	while ((pin = mt_find(&pins->ranges, &index, ULONG_MAX))) {
		uacce_drop(pins, pin);
		cond_resched();
	}
	mtree_destroy(&pins->ranges);
	mmdrop(pins->mm);
	kfree(pins);
	return 0;
}

static const struct file_operations uacce_ctrl_fops = {
	.owner = THIS_MODULE,
	.open = uacce_ctrl_open,
	.release = uacce_ctrl_release,
	.unlocked_ioctl = uacce_ctrl_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice uacce_ctrl = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "uacce_ctrl",
	.fops = &uacce_ctrl_fops,
	.mode = 0666, /* RLIMIT_MEMLOCK decides */
};
module_misc_device(uacce_ctrl);

MODULE_DESCRIPTION("Pins user pages for devices with shared virtual addressing");
MODULE_LICENSE("GPL");
