//! MSI and MSI-X as `drivers/pci/msi` programs them, and the way of a message to memory.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use stallbox_timeline::{Span, Timeline};

use super::*;
use crate::dma::{DmaAbort, DmaAttrs, DmaFuture, DmaPort, Op};
use crate::pcie::capability::Message;
use crate::pcie::message::MessageSender;
use crate::pcie::{RequesterId, Slot};

const ITS: u64 = 0x0808_0040;

fn message(data: u32) -> Message {
    Message { address: ITS, data }
}

/// `msi_capability_init` with four vectors: address, data, then enable; all masked until each is
/// requested.
fn enable_msi(config: &mut ConfigSpace, mask: u32) -> u16 {
    let msi = find_capability(config, 0x05).unwrap();
    let _ = write16(config, 0x04, 0x0006);
    let _ = write32(config, msi + 0x10, mask);
    let _ = write32(config, msi + 0x04, ITS as u32);
    let _ = write32(config, msi + 0x08, (ITS >> 32) as u32);
    let _ = write16(config, msi + 0x0c, 0x0040);
    // Enable, and Multiple Message Enable of 4.
    assert!(write16(config, msi + 0x02, 0x0021).msi_changed);
    msi
}

#[test]
fn msi_announces_64_bits_masking_and_its_vectors() {
    let mut config = function();
    let msi = find_capability(&config, 0x05).unwrap();
    assert_eq!(read16(&config, msi + 0x02), 0x0184);
    let _ = write16(&mut config, msi + 0x02, 0xffff);
    assert_eq!(read16(&config, msi + 0x02), 0x01f5);
    let _ = write32(&mut config, msi + 0x04, !0);
    assert_eq!(read32(&config, msi + 0x04), !3);
    let _ = write32(&mut config, msi + 0x0c, !0);
    assert_eq!(read32(&config, msi + 0x0c), 0xffff);
    let _ = write32(&mut config, msi + 0x10, !0);
    assert_eq!(
        read32(&config, msi + 0x10),
        0xf,
        "four vectors have four mask bits"
    );
    let _ = write32(&mut config, msi + 0x14, !0);
    assert_eq!(read32(&config, msi + 0x14), 0, "pending is read-only");
}

#[test]
fn the_vector_replaces_the_low_bits_of_the_data() {
    let mut config = function();
    assert_eq!(config.raise_msi(0), None, "disabled");
    let msi = enable_msi(&mut config, 0);
    assert_eq!(config.raise_msi(0), Some(message(0x40)));
    assert_eq!(config.raise_msi(3), Some(message(0x43)));
    let _ = write16(&mut config, msi + 0x0c, 0x0047);
    assert_eq!(config.raise_msi(1), Some(message(0x45)));
    // One message for all: none of the data's bits is the function's.
    let _ = write16(&mut config, msi + 0x02, 0x0001);
    assert_eq!(config.raise_msi(3), Some(message(0x47)));
    // More than was asked for.
    let _ = write16(&mut config, msi + 0x02, 0x0071);
    assert_eq!(config.raise_msi(7), Some(message(0x47)));
}

#[test]
fn a_masked_vector_is_pending_and_sent_once_when_unmasked() {
    let mut config = function();
    let msi = enable_msi(&mut config, 0xe);
    assert_eq!(config.raise_msi(2), None);
    assert_eq!(config.raise_msi(2), None);
    assert_eq!(config.raise_msi(1), None);
    assert_eq!(config.raise_msi(0), Some(message(0x40)));
    assert_eq!(read32(&config, msi + 0x14), 0x6);
    let effects = write32(&mut config, msi + 0x10, 0xa);
    assert_eq!(effects.messages, [message(0x42)]);
    assert_eq!(read32(&config, msi + 0x14), 0x2);
    config.capability_mut::<Msi>().unwrap().withdraw(1);
    assert_eq!(write32(&mut config, msi + 0x10, 0).messages, []);
}

#[test]
fn pending_vectors_wait_for_enable_and_bus_master_too() {
    let mut config = function();
    let msi = enable_msi(&mut config, 0xf);
    assert_eq!(config.raise_msi(1), None);
    let _ = write16(&mut config, 0x04, 0x0002);
    assert_eq!(write32(&mut config, msi + 0x10, 0).messages, []);
    assert_eq!(config.raise_msi(0), None, "an MSI is a memory write");
    let _ = write16(&mut config, msi + 0x02, 0x0020);
    assert_eq!(write16(&mut config, 0x04, 0x0006).messages, []);
    assert_eq!(
        write16(&mut config, msi + 0x02, 0x0021).messages,
        [message(0x41)]
    );
}

#[test]
fn all_32_vectors_can_be_masked() {
    let mut config = ConfigSpace::new(Identity::default()).with_capability(Msi::new(5));
    let _ = write32(&mut config, 0x50, !0);
    assert_eq!(read32(&config, 0x50), !0);
    let _ = write16(&mut config, 0x04, 0x0004);
    let _ = write16(&mut config, 0x42, 0x0051);
    assert_eq!((config.raise_msi(31), config.raise_msi(0)), (None, None));
    let sent = write32(&mut config, 0x50, 0).messages;
    assert_eq!(sent.iter().map(|m| m.data).collect::<Vec<_>>(), [0, 31]);
}

fn write_table(config: &mut ConfigSpace, offset: u64, value: u64) -> Effects {
    let at = u64::from(MSIX_TABLE) + offset;
    config
        .write_msix(MSIX_BAR, at, &value.to_le_bytes()[..4])
        .unwrap()
}

fn read_behind(config: &ConfigSpace, offset: u64) -> Option<u64> {
    let mut data = [0; 8];
    config
        .read_msix(MSIX_BAR, offset, &mut data)
        .then_some(u64::from_le_bytes(data))
}

#[test]
fn msix_announces_where_its_table_is() {
    let mut config = function();
    let msix = find_capability(&config, 0x11).unwrap();
    assert_eq!(read16(&config, msix + 0x02), 2, "three entries");
    assert_eq!(read32(&config, msix + 0x04), 0x2004);
    assert_eq!(read32(&config, msix + 0x08), 0x3004);
    let _ = write16(&mut config, msix + 0x02, 0xffff);
    assert_eq!(read16(&config, msix + 0x02), 0xc002);
}

/// `msix_capability_init`: enable with the function masked, fill the table, unmask.
#[test]
fn msix_vectors_have_their_own_address_data_and_mask() {
    let mut config = function();
    let msix = find_capability(&config, 0x11).unwrap();
    let _ = write16(&mut config, 0x04, 0x0006);
    assert_eq!(config.raise_msix(1), None, "disabled");
    let _ = write16(&mut config, msix + 0x02, 0xc000);
    assert_eq!(
        read_behind(&config, 0x2018),
        Some(0x1_0000_0000),
        "masked at reset"
    );
    for (entry, data) in [(0, 100), (1, 101)] {
        let _ = write_table(&mut config, entry * 16, ITS);
        let _ = write_table(&mut config, entry * 16 + 4, ITS >> 32);
        let _ = write_table(&mut config, entry * 16 + 8, data);
        let _ = write_table(&mut config, entry * 16 + 12, 0xffff_fffe);
    }
    assert_eq!(
        read_behind(&config, 0x2018),
        Some(101),
        "reserved bits read zero"
    );
    assert_eq!(config.raise_msix(1), None, "Function Mask");
    assert_eq!(read_behind(&config, 0x3000), Some(0b010));
    assert_eq!(
        write16(&mut config, msix + 0x02, 0x8000).messages,
        [message(101)]
    );
    assert_eq!(read_behind(&config, 0x3000), Some(0));
    assert_eq!(config.raise_msix(0), Some(message(100)));

    assert_eq!(write_table(&mut config, 12, 1).messages, []);
    assert_eq!((config.raise_msix(0), config.raise_msix(2)), (None, None));
    assert_eq!(read_behind(&config, 0x3000), Some(0b101));
    assert_eq!(write_table(&mut config, 12, 0).messages, [message(100)]);
    assert_eq!(read_behind(&config, 0x3000), Some(0b100));
    assert_eq!(config.raise_msix(3), None, "no such vector");
}

#[test]
fn what_is_neither_table_nor_pending_bits_is_the_functions_own() {
    let mut config = function();
    assert_eq!(read_behind(&config, 0x1ff8), None);
    assert_eq!(read_behind(&config, 0x2030), None);
    assert_eq!(read_behind(&config, 0x3008), None);
    assert!(!config.read_msix(2, 0x2000, &mut [0; 4]));
    assert_eq!(config.write_msix(MSIX_BAR, 0x2030, &[0; 4]), None);
    assert_eq!(config.write_msix(MSIX_BAR, u64::MAX, &[0; 4]), None);
    assert_eq!(
        config.write_msix(MSIX_BAR, 0x3000, &[0xff; 8]),
        Some(Effects::default())
    );
    assert_eq!(
        read_behind(&config, 0x3000),
        Some(0),
        "pending bits are read-only"
    );
}

/// A memory system that takes its time, and refuses odd data.
struct Memory {
    timeline: Timeline,
    written: RefCell<Vec<(u64, Vec<u8>)>>,
    under_way: Cell<u32>,
}

impl DmaPort for Memory {
    fn access<'a>(&'a self, attrs: DmaAttrs, address: u64, op: Op<'a>) -> DmaFuture<'a> {
        let Op::Write(buffer) = op else {
            unreachable!("messages are writes")
        };
        assert_eq!(attrs, DmaAttrs::REQUESTER);
        Box::pin(async move {
            assert_eq!(
                self.under_way.replace(1),
                0,
                "one message overtakes another"
            );
            // The first is the slowest.
            let slow = 10 - self.written.borrow().len() as u64;
            self.timeline.sleep(Span::from_ns(slow)).await;
            self.under_way.set(0);
            self.written.borrow_mut().push((address, buffer.to_vec()));
            if buffer[0] & 1 != 0 {
                Err(DmaAbort { address })
            } else {
                Ok(())
            }
        })
    }
}

#[test]
fn messages_are_written_in_order_and_equal_ones_that_wait_merge() {
    let timeline = Timeline::new();
    let memory = Rc::new(Memory {
        timeline: timeline.clone(),
        written: RefCell::default(),
        under_way: Cell::new(0),
    });
    let sender = MessageSender::new(
        &timeline,
        &Slot {
            requester: RequesterId(8),
            dma: memory.clone(),
        },
    );
    for data in [2, 1, 4, 1] {
        sender.send(message(data));
    }
    assert!(memory.written.borrow().is_empty(), "not inside the call");
    timeline.advance_to(timeline.now() + Span::from_ns(100));
    let data: Vec<u8> = memory
        .written
        .borrow()
        .iter()
        .map(|(_, bytes)| bytes[0])
        .collect();
    assert_eq!(data, [2, 1, 4]);
    assert_eq!(memory.written.borrow()[0], (ITS, vec![2, 0, 0, 0]));
    assert_eq!(sender.aborted(), 1);

    sender.send(message(6));
    timeline.run_ready();
    sender.send(message(6));
    sender.send(message(8));
    sender.discard();
    timeline.advance_to(timeline.now() + Span::from_ns(100));
    assert_eq!(memory.written.borrow().len(), 4, "only the one under way");
    assert_eq!(timeline.live_tasks(), 0);
    sender.send(message(6));
    timeline.advance_to(timeline.now() + Span::from_ns(100));
    assert_eq!(memory.written.borrow().len(), 5);
}
