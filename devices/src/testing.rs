//! What the devices' tests and fuzzers have in common: a memory that can abort, stall and take its
//! time.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

use stallbox_timeline::{Notify, Span, Timeline};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::dma::{DmaAbort, DmaAttrs, DmaFuture, DmaPort, Op, Pasid, fetch_add_result};

/// Where interrupts are sent, beyond RAM.
pub(crate) const MSI_ADDRESS: u64 = 0x8_0000_0040;

/// A transaction that came out of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) pasid: Option<u32>,
    pub(crate) address: u64,
    pub(crate) length: usize,
    pub(crate) write: bool,
    pub(crate) at_ns: u64,
}

pub(crate) struct Memory {
    pub(crate) ram: GuestMemoryMmap<()>,
    timeline: Timeline,
    pub(crate) latency: Cell<Span>,
    pub(crate) log: RefCell<Vec<Access>>,
    pub(crate) aborts: RefCell<Vec<Range<u64>>>,
    stalls: RefCell<Vec<Range<u64>>>,
    pub(crate) stalled: Cell<u32>,
    released: Notify,
    pub(crate) msis: RefCell<Vec<u32>>,
}

impl Memory {
    pub(crate) fn new(timeline: &Timeline, bytes: u64) -> Rc<Memory> {
        let ranges = [(GuestAddress(0), bytes as usize)];
        Rc::new(Memory {
            ram: GuestMemoryMmap::from_ranges(&ranges).expect("RAM"),
            timeline: timeline.clone(),
            latency: Cell::new(Span::from_ns(100)),
            log: RefCell::default(),
            aborts: RefCell::default(),
            stalls: RefCell::default(),
            stalled: Cell::new(0),
            released: Notify::new(),
            msis: RefCell::default(),
        })
    }

    pub(crate) fn stall(&self, range: Range<u64>) {
        self.stalls.borrow_mut().push(range);
    }

    pub(crate) fn release(&self) {
        self.stalls.borrow_mut().clear();
        self.released.notify_all();
    }

    async fn pass(
        &self,
        attrs: DmaAttrs,
        address: u64,
        length: usize,
        write: bool,
    ) -> Result<(), DmaAbort> {
        self.log.borrow_mut().push(Access {
            pasid: attrs.pasid.map(|Pasid(pasid)| pasid),
            address,
            length,
            write,
            at_ns: self.timeline.now().as_ns(),
        });
        self.timeline.sleep(self.latency.get()).await;
        let hit = |ranges: &Vec<Range<u64>>| {
            let end = address.saturating_add(length as u64);
            let hits = ranges.iter().filter(|r| r.start < end && address < r.end);
            hits.map(|range| range.start.max(address)).min()
        };
        while hit(&self.stalls.borrow()).is_some() {
            self.stalled.set(self.stalled.get() + 1);
            self.released.notified().await;
            self.stalled.set(self.stalled.get() - 1);
        }
        let abort = hit(&self.aborts.borrow());
        abort.map_or(Ok(()), |address| Err(DmaAbort { address }))
    }
}

impl DmaPort for Memory {
    fn access<'a>(&'a self, attrs: DmaAttrs, address: u64, op: Op<'a>) -> DmaFuture<'a> {
        Box::pin(async move {
            self.pass(attrs, address, op.bytes(), op.is_write()).await?;
            let at = GuestAddress(address);
            let done = match op {
                Op::Read(buffer) => self.ram.read_slice(buffer, at),
                Op::Write(buffer) if address == MSI_ADDRESS => {
                    let data = buffer.try_into().expect("an MSI is 4 bytes");
                    self.msis.borrow_mut().push(u32::from_le_bytes(data));
                    Ok(())
                }
                Op::Write(buffer) => self.ram.write_slice(buffer, at),
                Op::FetchAdd { operand, before } => self
                    .ram
                    .read_slice(before, at)
                    .and_then(|()| self.ram.write_slice(&fetch_add_result(before, operand), at)),
            };
            done.map_err(|_| DmaAbort { address })
        })
    }
}
