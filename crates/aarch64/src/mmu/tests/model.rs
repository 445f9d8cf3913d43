//! The walker against a second one, which works from the manual's tables of index bits rather than
//! from arithmetic on granules.

use proptest::prelude::*;

use super::super::testing::{MAIR, RAM, TestBus};
use super::super::walk::Access;
use crate::{Bus, Cpu, CpuConfig, Size};

/// Highest and lowest bit of the address that index the table of each level (DDI 0487, *Translation
/// table lookup levels*), and the lowest start level.
fn index_bits(granule: u32, level: usize) -> (u32, u32) {
    let table: [(u32, u32); 4] = match granule {
        4 => [(47, 39), (38, 30), (29, 21), (20, 12)],
        16 => [(47, 47), (46, 36), (35, 25), (24, 14)],
        _ => [(63, 63), (47, 42), (41, 29), (28, 16)],
    };
    table[level]
}

/// Start level by TnSZ (the manual's tables of start levels for each granule).
fn start_level(granule: u32, tsz: u32) -> usize {
    match (granule, tsz) {
        (4, 16..=24) => 0,
        (4, 25..=33) => 1,
        (4, _) => 2,
        (16, 16) => 0,
        (16, 17..=27) => 1,
        (16, 28..=38) => 2,
        (64, 16..=21) => 1,
        (64, 22..=34) => 2,
        _ => 3,
    }
}

#[derive(Clone, Debug)]
struct Setup {
    granule: u32,
    tsz: u32,
    upper: bool,
    output_bits: u32,
    tbi: bool,
    wxn: bool,
    va: u64,
    access: Access,
    el: u8,
    /// Words of the pool of tables, by index.
    words: Vec<u64>,
}

fn bits(value: u64, high: u32, low: u32) -> u64 {
    (value >> low) & ((1_u128 << (high - low + 1)) - 1) as u64
}

/// Physical address, or fault status code.
fn model(setup: &Setup, bus: &mut TestBus, base: u64) -> Result<u64, u32> {
    let s = setup;
    let top = if s.tbi { 55 } else { 63 };
    let input_top = 64 - s.tsz;
    let expected_above = if s.upper {
        bits(u64::MAX, top, input_top)
    } else {
        0
    };
    if bits(s.va, top, input_top) != expected_above {
        return Err(0x04);
    }
    let mut table = base;
    let (mut no_el0, mut no_write, mut no_uxn, mut no_pxn) = (false, false, false, false);
    for level in start_level(s.granule, s.tsz)..4 {
        let (high, low) = index_bits(s.granule, level);
        let index = bits(s.va, high.min(input_top - 1), low);
        let word = bus
            .read(0, table + index * 8, Size::Double)
            .map_err(|_| 0x14 + level as u32)?;
        let kind = word & 3;
        let page_low = index_bits(s.granule, 3).1;
        if level < 3 && kind == 3 {
            table = bits(word, 47, page_low) << page_low;
            if table >= 1 << s.output_bits {
                return Err(level as u32);
            }
            no_el0 |= bits(word, 61, 61) == 1;
            no_write |= bits(word, 62, 62) == 1;
            no_uxn |= bits(word, 60, 60) == 1;
            no_pxn |= bits(word, 59, 59) == 1;
            continue;
        }
        let block = match (s.granule, level) {
            (4, 1 | 2) | (16 | 64, 2) => kind == 1,
            (_, 3) => kind == 3,
            _ => false,
        };
        if !block {
            return Err(0x04 + level as u32);
        }
        let out = bits(word, 47, low) << low;
        if out >= 1 << s.output_bits {
            return Err(level as u32);
        }
        if bits(word, 10, 10) == 0 {
            return Err(0x08 + level as u32);
        }
        let user = bits(word, 6, 6) == 1 && !no_el0;
        let writable = bits(word, 7, 7) == 0 && !no_write;
        let uxn = bits(word, 54, 54) == 1 || no_uxn;
        let pxn = bits(word, 53, 53) == 1 || no_pxn;
        let allowed = match (s.el, s.access) {
            (0, Access::Read) => user,
            (0, Access::Write) => user && writable,
            (0, Access::Execute) => !(uxn || s.wxn && user && writable),
            (_, Access::Read) => true,
            (_, Access::Write) => writable,
            (_, Access::Execute) => !(pxn || writable && (user || s.wxn)),
        };
        if !allowed {
            return Err(0x0c + level as u32);
        }
        return Ok(out + bits(s.va, low - 1, 0));
    }
    unreachable!("level 3 has no tables")
}

const POOL_PAGES: u64 = 8;

/// A descriptor whose address is more likely than not in the pool.
fn word() -> impl Strategy<Value = u64> {
    let address = prop_oneof![
        8 => (0..POOL_PAGES).prop_map(|n| RAM.start + n * 0x1_0000),
        1 => any::<u64>().prop_map(|a| a & 0x0000_ffff_ffff_f000),
    ];
    let kind = prop_oneof![8 => Just(3_u64), 2 => Just(1), 1 => Just(0), 1 => Just(2)];
    (address, kind, any::<u64>(), prop::bool::weighted(0.9)).prop_map(
        |(address, kind, rest, af)| {
            let attributes = rest & 0x0070_0000_0000_0bdc | u64::from(af) << 10;
            // Table restrictions now and then only, or nothing would be permitted.
            let table = if rest & 3 == 0 {
                rest & 0x7800_0000_0000_0000
            } else {
                0
            };
            address | kind | attributes | table
        },
    )
}

prop_compose! {
    fn setup()(
        granule in prop::sample::select(vec![4_u32, 16, 64]),
        tsz in prop_oneof![4 => Just(16_u32), 6 => 16_u32..=39],
        upper in any::<bool>(),
        output_bits in prop::sample::select(vec![32_u32, 36, 40, 42, 44, 48]),
        tbi in any::<bool>(),
        wxn in any::<bool>(),
        access in prop::sample::select(vec![Access::Read, Access::Write, Access::Execute]),
        el in 0_u8..2,
        raw_va in any::<u64>(),
        canonical in prop::bool::weighted(0.95),
        words in prop::collection::vec(word(), 64),
    ) -> Setup {
        let below = raw_va & (u64::MAX >> tsz);
        let va = match (canonical, upper) {
            (true, true) => below | u64::MAX << (64 - tsz),
            (true, false) => below,
            // Keeps bit 55, which chooses the half.
            (false, _) => raw_va & !(1 << 55) | u64::from(upper) << 55,
        };
        Setup { granule, tsz, upper, output_bits, tbi, wxn, va, access, el, words }
    }
}

fn registers(s: &Setup) -> Cpu {
    let mut cpu = Cpu::new(CpuConfig::default());
    let tg0 = match s.granule {
        4 => 0,
        16 => 2,
        _ => 1,
    };
    let tg1 = match s.granule {
        4 => 2,
        16 => 1,
        _ => 3,
    };
    let ips = [32, 36, 40, 42, 44, 48]
        .iter()
        .position(|&b| b == s.output_bits)
        .unwrap() as u64;
    let tbi = if s.tbi { 3 } else { 0 };
    let tsz = u64::from(s.tsz);
    cpu.state.sys.tcr = tsz | tsz << 16 | tg0 << 14 | tg1 << 30 | ips << 32 | tbi << 37;
    cpu.state.sys.ttbr0 = RAM.start;
    cpu.state.sys.ttbr1 = RAM.start;
    cpu.state.sys.mair = MAIR;
    cpu.state.sys.sctlr |= 1 | if s.wxn { 1 << 19 } else { 0 };
    cpu.translation_control_changed();
    cpu
}

/// Fills the entries that this address and random others would use, table by table.
fn fill(s: &Setup, bus: &mut TestBus) {
    let mut words = s.words.iter().cycle().copied();
    for page in 0..POOL_PAGES {
        let table = RAM.start + page * 0x1_0000;
        for level in 0..4 {
            let (high, low) = index_bits(s.granule, level);
            let index = bits(s.va, high.min(63 - s.tsz), low.min(63 - s.tsz));
            bus.set_word(table + index * 8, words.next().unwrap_or(0));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn walker_agrees_with_the_model(s in setup()) {
        let mut bus = TestBus::default();
        fill(&s, &mut bus);
        let mut cpu = registers(&s);

        let expected = model(&s, &mut bus, RAM.start);
        let actual = cpu
            .translate(&mut bus, s.va, s.access, s.el)
            .map(|hit| hit.pa)
            .map_err(|fault| fault.status_code());

        prop_assert_eq!(actual, expected);
        // Again, from the TLB.
        let again = cpu.translate(&mut bus, s.va, s.access, s.el).map(|hit| hit.pa);
        prop_assert_eq!(again.map_err(|fault| fault.status_code()), expected);
    }

    #[test]
    fn any_control_registers_and_tables_are_survived(
        tcr in any::<u64>(),
        ttbr in any::<u64>(),
        sctlr in any::<u64>(),
        mair in any::<u64>(),
        vas in prop::collection::vec(any::<u64>(), 8),
        words in prop::collection::vec(any::<u64>(), 64),
        el in 0_u8..2,
    ) {
        let mut bus = TestBus::default();
        for (i, word) in words.iter().enumerate() {
            bus.set_word(RAM.start + (i as u64) * 0x208, *word);
        }
        let mut cpu = Cpu::new(CpuConfig::default());
        cpu.state.sys.tcr = tcr;
        cpu.state.sys.ttbr0 = ttbr;
        cpu.state.sys.ttbr1 = RAM.start;
        cpu.state.sys.sctlr = sctlr;
        cpu.state.sys.mair = mair;
        cpu.translation_control_changed();
        cpu.state.set_el(el, el != 0);
        for va in vas {
            use crate::mmu::AccessType::*;
            for kind in [Normal, Unprivileged, Atomic, AcquireRelease] {
                let _ = cpu.load(&mut bus, va, Size::Double, kind);
                let _ = cpu.store(&mut bus, va, Size::Word, va, kind);
                let _ = cpu.load_quad(&mut bus, va, kind);
                let _ = cpu.store_quad(&mut bus, va, 1, kind);
            }
            let _ = cpu.load_pair(&mut bus, va);
            let _ = cpu.store_pair(&mut bus, va, 2);
            let _ = cpu.fetch_address(&mut bus, va);
            let _ = cpu.zero_block(&mut bus, va);
            let _ = cpu.address_translate(&mut bus, va, el, true);
            cpu.invalidate_tlb(crate::mmu::TlbScope::Va { va, asid: Some(va as u16) });
        }
    }
}
