// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/uacce_ctrl with the faults that reviewers found in the first proposal, kept on purpose, to
 * be shown. Do not use it for anything else; uacce_ctrl.c is the other variant.
 *
 * The faults:
 *  1. Pages do not count against RLIMIT_MEMLOCK, nor are they seen in VmLck or VmPin.
 *  2. A second pin at the same start takes the place of the first, whose pages stay pinned until
 *     the next boot.
 *  3. Where only a part of the range can be pinned, that part stays pinned until the next boot,
 *     and ioctl() returns its number of pages, which is no error to a caller that looks for one.
 *  4. Neither a size of zero nor an end past the last address is refused.
 *  5. Nothing keeps a range pinned while a device works on it. (The other variant neither, and
 *     says what that means.)
 *
 * All else is as it should be, so that what goes wrong can be told apart.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/xarray.h>

#include "uacce_ctrl.h"

/* An open file. */
struct uacce_pins {
	struct mutex lock;    /* of ranges */
	struct xarray ranges; /* struct uacce_pin by number of the first page */
};

struct uacce_pin {
	unsigned long first; /* page number */
	unsigned long nr_pages;
	struct page **pages;
};

static void uacce_range_to_pages(const struct uacce_pin_range *range, unsigned long *first,
				 unsigned long *nr_pages)
{
	/* Fault 4. */
	*first = range->addr >> PAGE_SHIFT;
	*nr_pages = ((range->addr + range->size - 1) >> PAGE_SHIFT) - *first + 1;
}

static long uacce_pin(struct uacce_pins *pins, const struct uacce_pin_range *range)
{
	struct uacce_pin *pin;
	long ret = -ENOMEM;
	void *old;

	pin = kzalloc(sizeof(*pin), GFP_KERNEL);
	if (!pin)
		return -ENOMEM;
	uacce_range_to_pages(range, &pin->first, &pin->nr_pages);
	/* Fault 1. */
	pin->pages = vmalloc_array(pin->nr_pages, sizeof(*pin->pages));
	/* Fault 4 at a page's start is lucky here: vmalloc(0) warns and fails. */
	if (!pin->pages)
		goto free;
	ret = pin_user_pages_fast(pin->first << PAGE_SHIFT, pin->nr_pages,
				  FOLL_LONGTERM | FOLL_WRITE, pin->pages);
	/* Fault 3. */
	if (ret != pin->nr_pages)
		goto free;
	/* Fault 2. */
	old = xa_store(&pins->ranges, pin->first, pin, GFP_KERNEL);
	if (xa_is_err(old)) {
		unpin_user_pages(pin->pages, pin->nr_pages);
		ret = xa_err(old);
		goto free;
	}
	return 0;

free:
	vfree(pin->pages);
	kfree(pin);
	return ret;
}

static void uacce_drop(struct uacce_pin *pin)
{
	unpin_user_pages(pin->pages, pin->nr_pages);
	vfree(pin->pages);
	kfree(pin);
}

static long uacce_unpin(struct uacce_pins *pins, const struct uacce_pin_range *range)
{
	unsigned long first, nr_pages;
	struct uacce_pin *pin;

	uacce_range_to_pages(range, &first, &nr_pages);
	pin = xa_load(&pins->ranges, first);
	if (!pin)
		return -ENODEV;
	if (pin->nr_pages != nr_pages)
		return -EINVAL;
	xa_erase(&pins->ranges, first);
	/* Fault 5. */
	uacce_drop(pin);
	return 0;
}

static long uacce_ctrl_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct uacce_pins *pins = file->private_data;
	struct uacce_pin_range range;
	long ret;

	if (cmd != UACCE_CMD_PIN && cmd != UACCE_CMD_UNPIN)
		return -ENOTTY;
	if (copy_from_user(&range, (void __user *)arg, sizeof(range)))
		return -EFAULT;
	mutex_lock(&pins->lock);
	ret = cmd == UACCE_CMD_PIN ? uacce_pin(pins, &range) : uacce_unpin(pins, &range);
	mutex_unlock(&pins->lock);
	return ret;
}

static int uacce_ctrl_open(struct inode *inode, struct file *file)
{
	struct uacce_pins *pins = kzalloc(sizeof(*pins), GFP_KERNEL);

	if (!pins)
		return -ENOMEM;
	mutex_init(&pins->lock);
	xa_init(&pins->ranges);
	file->private_data = pins;
	return 0;
}

static int uacce_ctrl_release(struct inode *inode, struct file *file)
{
	struct uacce_pins *pins = file->private_data;
	struct uacce_pin *pin;
	unsigned long first;

	xa_for_each(&pins->ranges, first, pin)
		uacce_drop(pin);
	xa_destroy(&pins->ranges);
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
};
module_misc_device(uacce_ctrl);

MODULE_DESCRIPTION("Pins user pages, with the faults of the first proposal");
MODULE_LICENSE("GPL");
