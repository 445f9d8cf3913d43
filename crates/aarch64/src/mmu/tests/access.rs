//! What reaches the bus: sizes, page crossing, devices.

use super::super::testing::{DEVICE, DeviceAccess, KERNEL_DEVICE, KERNEL_RW, KERNEL_RX, Machine};
use super::{KERNEL_VA, PAGE};
use crate::Size;
use crate::leave::Leave;
use crate::mmu::AccessType::Normal;

/// Two pages that are neighbours by virtual address only.
fn two_pages() -> Machine {
    let mut m = Machine::new();
    m.map(KERNEL_VA, 3, PAGE | KERNEL_RW);
    m.map(KERNEL_VA + 0x1000, 3, (PAGE + 0x5000) | KERNEL_RW);
    m
}

#[test]
fn every_size_and_offset_reads_what_was_written() {
    let mut m = two_pages();
    for size in [Size::Byte, Size::Half, Size::Word, Size::Double] {
        for offset in 0xfe8..0x1010 {
            let va = KERNEL_VA + offset;
            for filled in [KERNEL_VA + 0xfe0, KERNEL_VA + 0x1000] {
                for word in 0..6 {
                    let at = filled + word * 8;
                    m.cpu
                        .store(&mut m.bus, at, Size::Double, u64::MAX, Normal)
                        .unwrap();
                }
            }
            let value = 0x1122_3344_5566_7788 & (u64::MAX >> (64 - size.bytes() * 8));

            m.cpu.store(&mut m.bus, va, size, value, Normal).unwrap();

            assert_eq!(m.cpu.load(&mut m.bus, va, size, Normal), Ok(value));
            let byte = |m: &mut Machine, va| m.cpu.load(&mut m.bus, va, Size::Byte, Normal);
            for i in 0..size.bytes() {
                assert_eq!(byte(&mut m, va + i), Ok(value >> (i * 8) & 0xff));
            }
            assert_eq!(byte(&mut m, va - 1), Ok(0xff));
            assert_eq!(byte(&mut m, va + size.bytes()), Ok(0xff));
        }
    }
}

#[test]
fn wide_accesses_agree_with_bytes_at_every_offset() {
    let mut m = two_pages();
    let value = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128;
    for offset in 0xfe0..0x1010 {
        let va = KERNEL_VA + offset;

        m.cpu.store_quad(&mut m.bus, va, value, Normal).unwrap();
        assert_eq!(m.cpu.load_pair(&mut m.bus, va), Ok(value));
        m.cpu.store_pair(&mut m.bus, va, !value).unwrap();
        assert_eq!(m.cpu.load_quad(&mut m.bus, va, Normal), Ok(!value));
        for i in 0..16 {
            let byte = m.cpu.load(&mut m.bus, va + i, Size::Byte, Normal);
            assert_eq!(byte, Ok((!value >> (i * 8)) as u64 & 0xff));
        }
    }
}

#[test]
fn fault_on_the_second_page_names_its_first_byte_and_writes_nothing() {
    let mut m = Machine::new();
    m.map(KERNEL_VA, 3, PAGE | KERNEL_RW);
    m.map(KERNEL_VA + 0x1000, 3, (PAGE + 0x5000) | KERNEL_RX);
    m.bus.set_word(PAGE + 0xff8, 0x55);

    let outcome = m.cpu.store(
        &mut m.bus,
        KERNEL_VA + 0xffc,
        Size::Double,
        u64::MAX,
        Normal,
    );
    assert_eq!(m.taken(outcome), (0x9600_004f, KERNEL_VA + 0x1000));
    let outcome = m.cpu.store_pair(&mut m.bus, KERNEL_VA + 0xff8, u128::MAX);
    assert_eq!(m.taken(outcome), (0x9600_004f, KERNEL_VA + 0x1000));
    let outcome = m
        .cpu
        .store_quad(&mut m.bus, KERNEL_VA + 0xff1, u128::MAX, Normal);
    assert_eq!(m.taken(outcome), (0x9600_004f, KERNEL_VA + 0x1000));

    assert_eq!(
        (m.bus.word(PAGE + 0xff0), m.bus.word(PAGE + 0xff8)),
        (0, 0x55)
    );
}

#[test]
fn fault_on_the_first_page_goes_before_the_second() {
    let mut m = Machine::new();
    m.map(KERNEL_VA, 3, 0);

    let outcome = m
        .cpu
        .load(&mut m.bus, KERNEL_VA + 0xffd, Size::Word, Normal);

    assert_eq!(m.taken(outcome), (0x9600_0007, KERNEL_VA + 0xffd));
}

#[test]
fn device_sees_single_accesses_of_the_size_asked_for() {
    let mut m = Machine::new();
    m.map(KERNEL_VA, 3, DEVICE.start | KERNEL_DEVICE);
    m.cpu
        .store(&mut m.bus, KERNEL_VA + 4, Size::Word, 0x1_2345_6789, Normal)
        .unwrap();
    m.cpu
        .load(&mut m.bus, KERNEL_VA + 2, Size::Half, Normal)
        .unwrap();
    m.cpu
        .store_pair(&mut m.bus, KERNEL_VA + 0x10, 7 << 64 | 5)
        .unwrap();
    m.cpu.load_pair(&mut m.bus, KERNEL_VA + 0x28).unwrap();

    let at = |offset, bytes, written| DeviceAccess {
        address: DEVICE.start + offset,
        bytes,
        written,
    };
    assert_eq!(
        m.bus.accesses,
        [
            at(4, 4, Some(0x2345_6789)),
            at(2, 2, None),
            at(0x10, 16, Some(7 << 64 | 5)),
            at(0x28, 8, None),
            at(0x30, 8, None),
        ]
    );
    assert_eq!(m.cpu.leave, Leave::Look);
}

#[test]
fn ram_does_not_count_as_device_even_where_it_is_mapped_so() {
    let mut m = Machine::new();
    m.map(KERNEL_VA, 3, PAGE | KERNEL_DEVICE);

    for _ in 0..2 {
        m.cpu
            .store(&mut m.bus, KERNEL_VA + 8, Size::Double, 3, Normal)
            .unwrap();
        assert_eq!(
            m.cpu.load(&mut m.bus, KERNEL_VA + 8, Size::Double, Normal),
            Ok(3)
        );
    }

    assert_eq!(m.cpu.leave, Leave::No);
}

#[test]
fn zeroing_covers_the_block_and_no_more() {
    let mut m = Machine::new();
    m.map(KERNEL_VA, 3, PAGE | KERNEL_RW);
    for word in 0..24 {
        m.bus.set_word(PAGE + word * 8, u64::MAX);
    }

    m.cpu.zero_block(&mut m.bus, KERNEL_VA + 0x7f).unwrap();
    m.cpu.zero_block(&mut m.bus, KERNEL_VA + 0x40).unwrap();

    for word in 0..24 {
        let zeroed = (8..16).contains(&word);
        assert_eq!(m.bus.word(PAGE + word * 8) == 0, zeroed, "word {word}");
    }
}

#[test]
fn access_that_wraps_around_the_address_space_does_not_panic() {
    let mut m = Machine::new();
    m.map(u64::MAX, 3, PAGE | KERNEL_RW);
    m.map(0, 3, PAGE | KERNEL_RW);

    m.cpu
        .store(
            &mut m.bus,
            u64::MAX - 2,
            Size::Double,
            0x0807_0605_0403_0201,
            Normal,
        )
        .unwrap();

    assert_eq!(m.bus.word(PAGE) & 0xff_ffff_ffff, 0x08_0706_0504);
}
