//! The lane tricks against plain loops; loads and stores that fault. Whole instructions are compared
//! with an outside CPU by the differential tests.

use super::execute;
use super::lanes::{
    add, broadcast, element, elements, evens, insert, non_zero, not_below, not_less, odds,
    reverse_within, sign_extend, spread, spread_signed, sub, transpose, unzip, zip,
};
use crate::bus::{Bus, BusError, Size};
use crate::cpu::{Cpu, CpuConfig};
use crate::decode::simd::{decode, decode_load_store};
use crate::exception::Exception;
use proptest::prelude::*;

/// A vector of elements.
fn pack(log2: u8, elements: impl IntoIterator<Item = u64>) -> u128 {
    elements
        .into_iter()
        .zip(0..)
        .fold(0, |value, (new, index)| insert(value, log2, index, new))
}

fn list(value: u128, log2: u8, width: u8) -> Vec<u64> {
    elements(value, log2, width).collect()
}

proptest! {
    #[test]
    fn elements_and_insert_are_inverse(value: u128, new: u64, log2 in 0u8..4, index in 0u8..16) {
        let index = index >> log2;
        prop_assert_eq!(pack(log2, list(value, log2, 4)), value);
        let changed = insert(value, log2, index, new);
        prop_assert_eq!(element(changed, log2, index), element(new.into(), log2, 0));
        prop_assert_eq!(insert(changed, log2, index, element(value, log2, index)), value);
        let copies = broadcast(new, log2);
        prop_assert!(elements(copies, log2, 4).all(|lane| lane == element(new.into(), log2, 0)));
    }

    #[test]
    fn sums_and_comparisons_stay_inside_their_lanes(a: u128, b: u128, same: u128, log2 in 0u8..4) {
        // Some lanes alike, to meet equality.
        let b = if same & 1 == 0 { b } else { b & same | a & !same };
        let mask = |lane: u64| element(lane.into(), log2, 0);
        let signed = |lane: u64| sign_extend(lane, 8 << log2);
        let all = |condition: bool| mask(u64::from(condition).wrapping_neg());
        let each = |f: &dyn Fn(u64, u64) -> u64| {
            pack(log2, list(a, log2, 4).into_iter().zip(list(b, log2, 4)).map(|(a, b)| f(a, b)))
        };
        prop_assert_eq!(add(log2, a, b), each(&|a, b| mask(a.wrapping_add(b))));
        prop_assert_eq!(sub(log2, a, b), each(&|a, b| mask(a.wrapping_sub(b))));
        prop_assert_eq!(non_zero(log2, a ^ b), each(&|a, b| all(a != b)));
        prop_assert_eq!(not_below(log2, a, b), each(&|a, b| all(a >= b)));
        prop_assert_eq!(not_less(log2, a, b), each(&|a, b| all(signed(a) >= signed(b))));
    }

    #[test]
    fn packing_and_spreading_follow_the_elements(value: u128, log2 in 0u8..4) {
        let all = list(value, log2, 4);
        let half = pack(log2, all.iter().copied().step_by(2));
        prop_assert_eq!(u128::from(evens(value, log2)), half);
        let half = pack(log2, all.iter().copied().skip(1).step_by(2));
        prop_assert_eq!(u128::from(odds(value, log2)), half);
        if log2 < 3 {
            let low = || elements(value, log2, 3);
            prop_assert_eq!(spread(value as u64, log2), pack(log2 + 1, low()));
            let signed = low().map(|lane| sign_extend(lane, 8 << log2) as u64);
            prop_assert_eq!(spread_signed(value as u64, log2), pack(log2 + 1, signed));
        }
    }

    #[test]
    fn permutations_follow_the_elements(a: u128, b: u128, log2 in 0u8..4, full: bool) {
        let width = 3 + u8::from(full);
        prop_assume!(log2 < width);
        let (x, y) = (list(a, log2, width), list(b, log2, width));
        let both: Vec<u64> = x.iter().chain(&y).copied().collect();
        let cut = |value: u128| list(value, log2, width);
        for odd in [false, true] {
            let skip = usize::from(odd);
            let unzipped: Vec<_> = both.iter().copied().skip(skip).step_by(2).collect();
            prop_assert_eq!(cut(unzip(a, b, log2, width, odd)), unzipped);
            let zipped: Vec<_> = x.iter().zip(&y).flat_map(|(&x, &y)| [x, y]).collect();
            let half = zipped.len() / 2;
            prop_assert_eq!(cut(zip(a, b, log2, width, odd)), &zipped[skip * half..][..half]);
            let pairs = x.chunks(2).zip(y.chunks(2));
            let transposed: Vec<_> = pairs.flat_map(|(x, y)| [x[skip], y[skip]]).collect();
            prop_assert_eq!(cut(transpose(a, b, log2, odd)), transposed);
        }
    }

    #[test]
    fn reversal_stays_inside_containers(value: u128, log2 in 0u8..3, container in 1u8..4) {
        prop_assume!(log2 < container);
        let mut all = list(value, log2, 4);
        all.chunks_mut(1 << (container - log2)).for_each(<[u64]>::reverse);
        prop_assert_eq!(reverse_within(value, log2, container), pack(log2, all));
    }
}

/// RAM from 0x1000 to 0x2000, nothing else. The MMU is off: everything is Device memory, where an
/// unaligned access faults.
struct Ram([u8; 0x1000]);

const RAM: u64 = 0x1000;

impl Ram {
    fn range(&self, address: u64, bytes: u64) -> Result<std::ops::Range<usize>, BusError> {
        let start = address.checked_sub(RAM).ok_or(BusError)? as usize;
        let range = start..start + bytes as usize;
        if range.end <= self.0.len() {
            Ok(range)
        } else {
            Err(BusError)
        }
    }
}

impl Bus for Ram {
    fn read(&mut self, _: u64, address: u64, size: Size) -> Result<u64, BusError> {
        let mut bytes = [0; 8];
        let range = self.range(address, size.bytes())?;
        bytes[..range.len()].copy_from_slice(&self.0[range]);
        Ok(u64::from_le_bytes(bytes))
    }

    fn write(&mut self, _: u64, address: u64, size: Size, value: u64) -> Result<(), BusError> {
        let range = self.range(address, size.bytes())?;
        let bytes = range.len();
        self.0[range].copy_from_slice(&value.to_le_bytes()[..bytes]);
        Ok(())
    }

    fn read_pair(&mut self, when: u64, address: u64) -> Result<u128, BusError> {
        let low = self.read(when, address, Size::Double)?;
        let high = self.read(when, address + 8, Size::Double)?;
        Ok(u128::from(high) << 64 | u128::from(low))
    }

    fn write_pair(&mut self, when: u64, address: u64, value: u128) -> Result<(), BusError> {
        self.write(when, address, Size::Double, value as u64)?;
        self.write(when, address + 8, Size::Double, (value >> 64) as u64)
    }

    fn is_ram(&self, address: u64) -> bool {
        self.range(address, 1).is_ok()
    }

    fn sysreg_read(&mut self, _: u64, _: u16) -> Option<u64> {
        None
    }

    fn sysreg_write(&mut self, _: u64, _: u16, _: u64) -> Option<()> {
        None
    }

    fn irq(&self) -> bool {
        false
    }

    fn fiq(&self) -> bool {
        false
    }

    fn attention(&mut self) -> bool {
        false
    }
}

fn machine() -> (Cpu, Ram) {
    let mut cpu = Cpu::new(CpuConfig::default());
    // CPACR_EL1.FPEN: nothing is trapped.
    cpu.state.sys.cpacr = 3 << 20;
    (cpu, Ram(std::array::from_fn(|index| index as u8)))
}

/// Executes a word at address zero.
fn run(cpu: &mut Cpu, bus: &mut Ram, word: u32) -> Result<(), Exception> {
    let insn = if word >> 25 & 7 == 7 {
        decode(word)
    } else {
        decode_load_store(word)
    };
    execute(cpu, bus, insn.expect("allocated"))
}

#[test]
fn disabled_fp_traps_even_a_move() {
    let (mut cpu, mut bus) = machine();
    cpu.state.sys.cpacr = 0;
    // fmov d0, d1
    let exception = run(&mut cpu, &mut bus, 0x1e60_4020).unwrap_err();
    assert_eq!(exception.syndrome >> 26, 0x07);
    assert_eq!(exception.syndrome & 0x1ff_ffff, 0x1e0_0000);
}

#[test]
fn faulting_load_changes_no_register() {
    let (mut cpu, mut bus) = machine();
    cpu.state.v = [1; 32];
    for (word, base) in [
        // ldp q0, q1, [x2], #32: the second half is beyond the end of memory.
        (0xacc1_0440, RAM + 0xff0),
        // ldp d0, d1, [x2, #16]!
        (0x6dc1_0440, RAM + 0xfe8),
        // ld4 {v0.16b-v3.16b}, [x2], #64
        (0x4cdf_0040, RAM + 0xfd0),
        // ld2 {v0.s, v1.s}[1], [x2], #8
        (0x0dff_9040, RAM + 0xffc),
        // ld3r {v0.2d-v2.2d}, [x2], #24
        (0x4ddf_ec40, RAM + 0xff0),
        // ldr b0, [x2], #1
        (0x3c40_1440, 0),
    ] {
        cpu.state.x[2] = base;
        run(&mut cpu, &mut bus, word).expect_err("nothing answers");
        assert_eq!((cpu.state.v, cpu.state.x[2]), ([1; 32], base), "{word:08x}");
    }
}

#[test]
fn structure_elements_need_only_their_own_alignment() {
    let (mut cpu, mut bus) = machine();
    cpu.state.x[2] = RAM + 4;
    // ldr q0, [x2]: an alignment fault, as this is Device memory.
    let exception = run(&mut cpu, &mut bus, 0x3dc0_0040).unwrap_err();
    assert_eq!(exception.syndrome & 0x3f, 0x21);
    // ld1 {v0.4s}, [x2], #16
    run(&mut cpu, &mut bus, 0x4cdf_7840).expect("aligned to words");
    assert_eq!(cpu.state.v[0], 0x1312_1110_0f0e_0d0c_0b0a_0908_0706_0504);
    assert_eq!(cpu.state.x[2], RAM + 0x14);
    // st1 {v0.8h}, [x2]
    cpu.state.x[2] = RAM + 0x102;
    run(&mut cpu, &mut bus, 0x4c00_7440).expect("aligned to halves");
    assert_eq!(
        bus.0[0x101..0x113],
        [
            1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 0x12
        ]
    );
    // st1 {v0.8h}, [x2] at an odd address
    cpu.state.x[2] = RAM + 0x103;
    run(&mut cpu, &mut bus, 0x4c00_7440).expect_err("not aligned to halves");
}

#[test]
fn literal_counts_from_the_instruction() {
    let (mut cpu, mut bus) = machine();
    cpu.state.pc = RAM + 0x20;
    // ldr q5, .-16
    run(&mut cpu, &mut bus, 0x9cff_ff85).expect("memory");
    assert_eq!(cpu.state.v[5], 0x1f1e_1d1c_1b1a_1918_1716_1514_1312_1110);
}

#[test]
fn saturation_outside_a_scalar_does_not_count() {
    let (mut cpu, mut bus) = machine();
    (cpu.state.v[1], cpu.state.v[2]) = (u128::MAX << 8 | 1, u128::MAX << 8 | 1);
    // uqadd b0, b1, b2
    run(&mut cpu, &mut bus, 0x7e22_0c20).expect("no memory");
    assert_eq!((cpu.state.v[0], cpu.state.fpsr), (2, 0));
    // uqadd v0.8b, v1.8b, v2.8b
    run(&mut cpu, &mut bus, 0x2e22_0c20).expect("no memory");
    assert_eq!(
        (cpu.state.v[0], cpu.state.fpsr),
        (0xffff_ffff_ffff_ff02, 1 << 27)
    );
}
