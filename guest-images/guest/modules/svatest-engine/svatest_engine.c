// SPDX-License-Identifier: GPL-2.0-only
/*
 * Driver of Stallbox's SVA test engine (docs/test-engine.md): registers its queues with uacce,
 * each bound to the address space of the process that opened it.
 *
 * For Linux 6.12 and later, up to 7.3 at the least.
 */
#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/iopoll.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/uacce.h>

#include "svatest_engine.h"

#define SVATEST_VENDOR_ID 0x5342
#define SVATEST_DEVICE_ID 0x7e57

/* Fields are indented below their registers. */
/* clang-format off */
#define SVATEST_REGISTERS	0	/* BAR */
#define SVATEST_PAGES		2	/* BAR */
#define SVATEST_PAGE_BYTES	SZ_64K
#define SVATEST_QUEUES_MAX	256

#define SVATEST_ID		0x000
#define SVATEST_ID_VALUE	0x54415653
#define SVATEST_VERSION		0x004
#define SVATEST_CAPABILITY	0x008
#define   CAPABILITY_QUEUES	GENMASK(15, 0)
#define   CAPABILITY_PRI	BIT(16)
#define   CAPABILITY_ENABLED	BIT(18)
#define SVATEST_CONTROL		0x010
#define   CONTROL_RESET		BIT(0)

#define SVATEST_QUEUE(n)	(0x1000 + 0x80 * (n))
#define QUEUE_CONTROL		0x00
#define   QUEUE_ENABLE		BIT(0)
#define QUEUE_STATUS		0x04
#define   STATUS_BUSY		BIT(1)
#define   STATUS_FAILED		BIT(2)
#define   STATUS_FAILURE	GENMASK(15, 8)
#define QUEUE_PASID		0x08
#define   PASID_VALID		BIT(31)
#define QUEUE_GEOMETRY		0x0c
#define QUEUE_SQ_BASE		0x10
#define QUEUE_CQ_BASE		0x18
#define QUEUE_INTERVAL		0x20
#define QUEUE_RATE		0x24
#define QUEUE_CQ_TAIL		0x30
#define QUEUE_CQ_HEAD		0x34
/* clang-format on */

#define VECTOR_FAILURE 0
#define VECTOR_QUEUE(n) ((n) + 1)

#define SVATEST_NO_PRI                                                                             \
	"no SVA: this kernel's arm-smmu-v3 does not handle page requests (PRI); it needs Stallbox's patch, or the engine fault=stall\n"

/*
 * How long a queue may take to drain. Its accesses end when the kernel has answered their page
 * faults, so this is the patience with a kernel that does not.
 */
#define DRAIN_US (10 * USEC_PER_SEC)
#define DRAIN_POLL_US 20

struct svatest {
	struct pci_dev *pdev;
	void __iomem *regs;
	phys_addr_t pages;
	unsigned int queues;
	struct uacce_device *uacce;
	spinlock_t lock; /* used, open */
	DECLARE_BITMAP(used, SVATEST_QUEUES_MAX);
	struct svatest_queue *open[SVATEST_QUEUES_MAX];
};

struct svatest_queue {
	struct svatest *engine;
	struct uacce_queue *uacce;
	unsigned int number;
	bool set;
};

static u32 queue_read(struct svatest_queue *q, u32 reg)
{
	return readl(q->engine->regs + SVATEST_QUEUE(q->number) + reg);
}

static void queue_write(struct svatest_queue *q, u32 reg, u32 value)
{
	writel(value, q->engine->regs + SVATEST_QUEUE(q->number) + reg);
}

static void queue_write64(struct svatest_queue *q, u32 reg, u64 value)
{
	queue_write(q, reg, lower_32_bits(value));
	queue_write(q, reg + 4, upper_32_bits(value));
}

static irqreturn_t svatest_queue_irq(int irq, void *data)
{
	struct svatest_queue *q = data;

	wake_up_interruptible(&q->uacce->wait);
	return IRQ_HANDLED;
}

/* A queue has failed: who waits for its completions is to look at its status. */
static irqreturn_t svatest_failure_irq(int irq, void *data)
{
	struct svatest *engine = data;
	unsigned int n;

	spin_lock(&engine->lock);
	for_each_set_bit(n, engine->used, engine->queues) {
		struct svatest_queue *q = engine->open[n];
		u32 status;

		if (!q)
			continue;
		status = queue_read(q, QUEUE_STATUS);
		if (!(status & STATUS_FAILED))
			continue;
		dev_warn_ratelimited(&engine->pdev->dev, "queue %u failed, reason %lu\n", n,
				     FIELD_GET(STATUS_FAILURE, status));
		wake_up_interruptible(&q->uacce->wait);
	}
	spin_unlock(&engine->lock);
	return IRQ_HANDLED;
}

/* True if nothing of the queue is under way any more. */
static bool svatest_drain(struct svatest_queue *q)
{
	u32 status;

	queue_write(q, QUEUE_CONTROL, 0);
	return !read_poll_timeout(queue_read, status, !(status & STATUS_BUSY), DRAIN_POLL_US,
				  DRAIN_US, false, q, QUEUE_STATUS);
}

static int svatest_get_queue(struct uacce_device *uacce, unsigned long pasid,
			     struct uacce_queue *uq)
{
	struct svatest *engine = uacce->priv;
	struct svatest_queue *q;
	unsigned int n;
	int ret;

	q = kzalloc(sizeof(*q), GFP_KERNEL);
	if (!q)
		return -ENOMEM;
	spin_lock_irq(&engine->lock);
	n = find_first_zero_bit(engine->used, engine->queues);
	if (n < engine->queues)
		set_bit(n, engine->used);
	spin_unlock_irq(&engine->lock);
	if (n >= engine->queues) {
		ret = -EBUSY;
		goto free;
	}

	q->engine = engine;
	q->uacce = uq;
	q->number = n;
	/* uacce does this only after we are done, but an interrupt can come before. */
	init_waitqueue_head(&uq->wait);
	ret = request_irq(pci_irq_vector(engine->pdev, VECTOR_QUEUE(n)), svatest_queue_irq, 0,
			  "svatest", q);
	if (ret)
		goto release;
	queue_write(q, QUEUE_PASID, PASID_VALID | pasid);
	spin_lock_irq(&engine->lock);
	engine->open[n] = q;
	spin_unlock_irq(&engine->lock);
	uq->priv = q;
	return 0;

release:
	spin_lock_irq(&engine->lock);
	clear_bit(n, engine->used);
	spin_unlock_irq(&engine->lock);
free:
	kfree(q);
	return ret;
}

static void svatest_put_queue(struct uacce_queue *uq)
{
	struct svatest_queue *q = uq->priv;
	struct svatest *engine = q->engine;
	bool drained = svatest_drain(q);

	spin_lock_irq(&engine->lock);
	engine->open[q->number] = NULL;
	spin_unlock_irq(&engine->lock);
	synchronize_irq(pci_irq_vector(engine->pdev, VECTOR_FAILURE));
	free_irq(pci_irq_vector(engine->pdev, VECTOR_QUEUE(q->number)), q);
	if (drained) {
		spin_lock_irq(&engine->lock);
		clear_bit(q->number, engine->used);
		spin_unlock_irq(&engine->lock);
	} else {
		/* Never given away again: what it waits for belongs to a process that is gone. */
		dev_err(&engine->pdev->dev, "queue %u does not drain; it is lost\n", q->number);
	}
	kfree(q);
}

static int svatest_start_queue(struct uacce_queue *uq)
{
	struct svatest_queue *q = uq->priv;
	u32 capability = readl(q->engine->regs + SVATEST_CAPABILITY);

	if (!q->set)
		return -EINVAL;
	/* Where uacce did not ask before: the first page that is not there would be an error. */
	if (capability & CAPABILITY_PRI && !(capability & CAPABILITY_ENABLED)) {
		dev_err_once(&q->engine->pdev->dev, SVATEST_NO_PRI);
		return -EOPNOTSUPP;
	}
	queue_write(q, QUEUE_CONTROL, QUEUE_ENABLE);
	if (!(queue_read(q, QUEUE_STATUS) & STATUS_FAILED))
		return 0;
	/* Settings that the device does not have. */
	queue_write(q, QUEUE_CONTROL, 0);
	return -EINVAL;
}

static void svatest_stop_queue(struct uacce_queue *uq)
{
	svatest_drain(uq->priv);
}

static int svatest_is_q_updated(struct uacce_queue *uq)
{
	struct svatest_queue *q = uq->priv;

	return queue_read(q, QUEUE_CQ_TAIL) != queue_read(q, QUEUE_CQ_HEAD) ||
	       queue_read(q, QUEUE_STATUS) & STATUS_FAILED;
}

static int svatest_get_available_instances(struct uacce_device *uacce)
{
	struct svatest *engine = uacce->priv;

	return engine->queues - bitmap_weight(engine->used, engine->queues);
}

static int svatest_mmap(struct uacce_queue *uq, struct vm_area_struct *vma,
			struct uacce_qfile_region *region)
{
	struct svatest_queue *q = uq->priv;
	size_t bytes = vma->vm_end - vma->vm_start;
	phys_addr_t page = q->engine->pages + (phys_addr_t)q->number * SVATEST_PAGE_BYTES;

	if (region->type != UACCE_QFRT_MMIO || bytes > SVATEST_PAGE_BYTES)
		return -EINVAL;
	vm_flags_set(vma, VM_IO);
	vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
	return remap_pfn_range(vma, vma->vm_start, page >> PAGE_SHIFT, bytes, vma->vm_page_prot);
}

static long svatest_ioctl(struct uacce_queue *uq, unsigned int cmd, unsigned long arg)
{
	struct svatest_queue *q = uq->priv;
	struct svatest_queue_setup setup;

	if (cmd != SVATEST_CMD_SET_QUEUE)
		return -EINVAL;
	if (uq->state != UACCE_Q_INIT)
		return -EBUSY;
	if (copy_from_user(&setup, (void __user *)arg, sizeof(setup)))
		return -EFAULT;
	/* The device checks the values; they must only fit into their fields. */
	if (setup.ring_log2 > 0xff || setup.depth > 0xff || setup.access_log2 > 0xff)
		return -EINVAL;
	queue_write(q, QUEUE_GEOMETRY,
		    setup.ring_log2 | setup.depth << 8 | setup.access_log2 << 16);
	queue_write64(q, QUEUE_SQ_BASE, setup.sq);
	queue_write64(q, QUEUE_CQ_BASE, setup.cq);
	queue_write(q, QUEUE_INTERVAL, setup.interval_ns);
	queue_write(q, QUEUE_RATE, setup.rate);
	setup.queue = q->number;
	if (copy_to_user((void __user *)arg, &setup, sizeof(setup)))
		return -EFAULT;
	q->set = true;
	return 0;
}

static const struct uacce_ops svatest_uacce_ops = {
	.get_available_instances = svatest_get_available_instances,
	.get_queue = svatest_get_queue,
	.put_queue = svatest_put_queue,
	.start_queue = svatest_start_queue,
	.stop_queue = svatest_stop_queue,
	.is_q_updated = svatest_is_q_updated,
	.mmap = svatest_mmap,
	.ioctl = svatest_ioctl,
};

static int svatest_register(struct svatest *engine, bool pri)
{
	struct uacce_interface interface = {
		.name = "svatest",
		.flags = UACCE_DEV_SVA,
		.ops = &svatest_uacce_ops,
	};
	struct device *dev = &engine->pdev->dev;
	struct uacce_device *uacce;
	int ret;

	uacce = uacce_alloc(dev, &interface);
	if (IS_ERR(uacce))
		return PTR_ERR(uacce);
	/* Up to 6.15 uacce asks here whether page faults can be handled; later, open() does. */
	if (!(uacce->flags & UACCE_DEV_SVA)) {
		if (pri)
			dev_err(dev, SVATEST_NO_PRI);
		else
			dev_err(dev,
				"no SVA: the IOMMU does not take this function's page faults; it needs dma-can-stall in firmware and an IOMMU that stalls\n");
		uacce_remove(uacce);
		return -EOPNOTSUPP;
	}
	uacce->priv = engine;
	uacce->api_ver = "svatest_v1";
	uacce->algs = "copy\nfill\ncompare\ncrc\nadd\nchase\nstrided\n";
	uacce->qf_pg_num[UACCE_QFRT_MMIO] = SVATEST_PAGE_BYTES >> PAGE_SHIFT;
	uacce->qf_pg_num[UACCE_QFRT_DUS] = 0;
	engine->uacce = uacce;
	ret = uacce_register(uacce);
	if (ret)
		uacce_remove(uacce);
	return ret;
}

static int svatest_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct device *dev = &pdev->dev;
	struct svatest *engine;
	u32 capability;
	int ret;

	engine = devm_kzalloc(dev, sizeof(*engine), GFP_KERNEL);
	if (!engine)
		return -ENOMEM;
	engine->pdev = pdev;
	spin_lock_init(&engine->lock);
	pci_set_drvdata(pdev, engine);

	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	engine->regs = pcim_iomap(pdev, SVATEST_REGISTERS, 0);
	if (!engine->regs)
		return -ENOMEM;
	engine->pages = pci_resource_start(pdev, SVATEST_PAGES);
	if (readl(engine->regs + SVATEST_ID) != SVATEST_ID_VALUE ||
	    readl(engine->regs + SVATEST_VERSION) >> 16 != 1)
		return -ENODEV;
	capability = readl(engine->regs + SVATEST_CAPABILITY);
	engine->queues = min(FIELD_GET(CAPABILITY_QUEUES, capability), SVATEST_QUEUES_MAX);

	ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;
	/*
	 * Not pci_enable_atomic_ops_to_root(): that wants a root port that completes AtomicOps,
	 * and an integrated endpoint has none.
	 */
	pcie_capability_set_word(pdev, PCI_EXP_DEVCTL2, PCI_EXP_DEVCTL2_ATOMIC_REQ);
	pci_set_master(pdev);
	writel(CONTROL_RESET, engine->regs + SVATEST_CONTROL);

	ret = pci_alloc_irq_vectors(pdev, VECTOR_QUEUE(engine->queues),
				    VECTOR_QUEUE(engine->queues), PCI_IRQ_MSIX);
	if (ret < 0)
		return ret;
	ret = request_irq(pci_irq_vector(pdev, VECTOR_FAILURE), svatest_failure_irq, 0,
			  "svatest-failure", engine);
	if (ret)
		goto vectors;
	ret = svatest_register(engine, capability & CAPABILITY_PRI);
	if (ret)
		goto irq;
	return 0;

irq:
	free_irq(pci_irq_vector(pdev, VECTOR_FAILURE), engine);
vectors:
	pci_free_irq_vectors(pdev);
	pci_clear_master(pdev);
	return ret;
}

static void svatest_remove(struct pci_dev *pdev)
{
	struct svatest *engine = pci_get_drvdata(pdev);

	uacce_remove(engine->uacce);
	free_irq(pci_irq_vector(pdev, VECTOR_FAILURE), engine);
	pci_free_irq_vectors(pdev);
	pci_clear_master(pdev);
}

static const struct pci_device_id svatest_ids[] = {
	{ PCI_DEVICE(SVATEST_VENDOR_ID, SVATEST_DEVICE_ID) },
	{},
};
MODULE_DEVICE_TABLE(pci, svatest_ids);

static struct pci_driver svatest_driver = {
	.name = "svatest",
	.id_table = svatest_ids,
	.probe = svatest_probe,
	.remove = svatest_remove,
};
module_pci_driver(svatest_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Stallbox SVA test engine");
