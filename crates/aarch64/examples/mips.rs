//! Guest instructions per second of loops in guest code, MMU on.
//!
//! `cargo run --release -p stallbox-aarch64 --example mips [MILLIONS]`

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the host's clock"
)]

use std::time::Instant;

use stallbox_aarch64::{Bus, BusError, Cpu, CpuConfig, Exit, Size};

const RAM_BASE: u64 = 0x4000_0000;
const RAM_BYTES: usize = 16 << 20;
const TABLE: u64 = RAM_BASE + 0x80_0000;

/// Maps the first GiB of RAM onto itself as Normal memory; data at 0x40200000, stack below
/// 0x40100000.
const PROLOGUE: &[u32] = &[
    0xd280_1fe0, // mov x0, #0xff
    0xd518_a200, // msr mair_el1, x0
    0xd280_0320, // mov x0, #0x19
    0xf2a0_1000, // movk x0, #0x80, lsl #16
    0xf2c0_0040, // movk x0, #0x2, lsl #32
    0xd518_2040, // msr tcr_el1, x0
    0xd2a8_1000, // mov x0, #0x40800000
    0xd518_2000, // msr ttbr0_el1, x0
    0xd503_3fdf, // isb
    0xd538_1000, // mrs x0, sctlr_el1
    0xb240_0000, // orr x0, x0, #0x1
    0xd518_1000, // msr sctlr_el1, x0
    0xd503_3fdf, // isb
    0xd2a8_0209, // mov x9, #0x40100000
    0x9100_013f, // mov sp, x9
    0xd2a8_040a, // mov x10, #0x40200000
];

const INTEGER: &[u32] = &[
    0x8b02_0021, // loop: add x1, x1, x2
    0xca41_0c63, // eor x3, x3, x1, lsr #3
    0x9100_4484, // add x4, x4, #0x11
    0x9240_1c65, // and x5, x3, #0xff
    0xeb04_00bf, // cmp x5, x4
    0x9a84_30a6, // csel x6, x5, x4, lo
    0xf100_0400, // subs x0, x0, #0x1
    0x54ff_ff21, // b.ne loop
];

const MIXED: &[u32] = &[
    0x9400_000d, // loop: bl function
    0xf940_0541, // ldr x1, [x10, #8]
    0x8b00_0021, // add x1, x1, x0
    0xf900_0541, // str x1, [x10, #8]
    0x9240_1c22, // and x2, x1, #0xff
    0x3862_6943, // ldrb w3, [x10, x2]
    0x3400_0043, // cbz w3, 1f
    0x9100_0484, // add x4, x4, #0x1
    0xf841_0545, // 1: ldr x5, [x10], #16
    0x9273_f94a, // and x10, x10, #~0x1000
    0x4b05_00c6, // sub w6, w6, w5
    0x371f_fea6, // tbnz w6, #3, loop
    0x17ff_fff4, // b loop
    0xa9bf_7bfd, // function: stp x29, x30, [sp, #-16]!
    0x9100_03fd, // mov x29, sp
    0x9100_0400, // add x0, x0, #0x1
    0xa8c1_7bfd, // ldp x29, x30, [sp], #16
    0xd65f_03c0, // ret
];

struct Ram(Vec<u8>);

impl Ram {
    #[inline(always)]
    fn slot<const N: usize>(&mut self, address: u64) -> Result<&mut [u8; N], BusError> {
        let offset = address.wrapping_sub(RAM_BASE) as usize;
        let slot = self
            .0
            .get_mut(offset..)
            .and_then(|rest| rest.first_chunk_mut());
        slot.ok_or(BusError)
    }
}

impl Bus for Ram {
    #[inline(always)]
    fn read(&mut self, _when: u64, address: u64, size: Size) -> Result<u64, BusError> {
        Ok(match size {
            Size::Byte => u64::from(u8::from_le_bytes(*self.slot(address)?)),
            Size::Half => u64::from(u16::from_le_bytes(*self.slot(address)?)),
            Size::Word => u64::from(u32::from_le_bytes(*self.slot(address)?)),
            Size::Double => u64::from_le_bytes(*self.slot(address)?),
        })
    }

    #[inline(always)]
    fn write(&mut self, _when: u64, address: u64, size: Size, v: u64) -> Result<(), BusError> {
        match size {
            Size::Byte => *self.slot(address)? = (v as u8).to_le_bytes(),
            Size::Half => *self.slot(address)? = (v as u16).to_le_bytes(),
            Size::Word => *self.slot(address)? = (v as u32).to_le_bytes(),
            Size::Double => *self.slot(address)? = v.to_le_bytes(),
        }
        Ok(())
    }

    #[inline(always)]
    fn read_pair(&mut self, _when: u64, address: u64) -> Result<u128, BusError> {
        Ok(u128::from_le_bytes(*self.slot(address)?))
    }

    #[inline(always)]
    fn write_pair(&mut self, _when: u64, address: u64, value: u128) -> Result<(), BusError> {
        *self.slot(address)? = value.to_le_bytes();
        Ok(())
    }

    fn is_ram(&self, address: u64) -> bool {
        (RAM_BASE..RAM_BASE + RAM_BYTES as u64).contains(&address)
    }

    fn sysreg_read(&mut self, _when: u64, _register: u16) -> Option<u64> {
        None
    }

    fn sysreg_write(&mut self, _when: u64, _register: u16, _value: u64) -> Option<()> {
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

#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark measures the host, outside the world"
)]
fn measure(name: &str, code: &[u32], instructions: u64) {
    let mut ram = Ram(vec![0; RAM_BYTES]);
    let words = PROLOGUE.iter().chain(code);
    for (address, &word) in (RAM_BASE..).step_by(4).zip(words) {
        *ram.slot(address).expect("the code fits") = word.to_le_bytes();
    }
    // Level 1, second GiB: a valid block, Access flag, attributes 0 of MAIR_EL1.
    *ram.slot(TABLE + 8).expect("the table fits") = (RAM_BASE | 1 << 10 | 1).to_le_bytes();
    let mut cpu = Cpu::new(CpuConfig::default());
    cpu.state.pc = RAM_BASE;

    assert_eq!(cpu.run(&mut ram, 100), Exit::Budget);
    let began = Instant::now();
    // As an engine does: slices of a few thousand instructions.
    while cpu.retired < instructions {
        assert_eq!(cpu.run(&mut ram, 10_000), Exit::Budget);
    }
    let seconds = began.elapsed().as_secs_f64();

    let code_end = RAM_BASE + 4 * (PROLOGUE.len() + code.len()) as u64;
    assert!(
        (RAM_BASE..code_end).contains(&cpu.state.pc),
        "stuck at {:#x}",
        cpu.state.pc
    );
    println!("{name:9} {:6.1} MIPS", instructions as f64 / seconds / 1e6);
}

/// Blocks of four instructions strewn over 2 MiB, as many as a kernel keeps warm.
fn scattered() -> Vec<u32> {
    const BLOCKS: u32 = 2000;
    const SPACE: u32 = 256;
    let place = |block: u32| block * SPACE + block.wrapping_mul(0x9e37_79b9) % (SPACE - 4);
    let mut words = vec![0; (BLOCKS * SPACE) as usize];
    for block in 0..BLOCKS {
        let start = place(block);
        let next = place((block + 1) % BLOCKS);
        let code = [
            0x9100_0421,                                             // add x1, x1, #1
            0xca01_0042,                                             // eor x2, x2, x1
            0x8b02_0063,                                             // add x3, x3, x2
            0x1400_0000 | next.wrapping_sub(start + 3) & 0x3ff_ffff, // b
        ];
        words[start as usize..][..4].copy_from_slice(&code);
    }
    words
}

fn main() {
    let millions = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(300);
    measure("integer", INTEGER, millions * 1_000_000);
    measure("mixed", MIXED, millions * 1_000_000);
    measure("scattered", &scattered(), millions * 1_000_000);
}
