//! Decoded code, kept by block, and the loop that runs it.
//!
//! A block is a run of instructions within one 4 KiB page, up to a branch or
//! [`BLOCK_INSNS_MAX`]. It is found by physical address, so that mapping a page elsewhere or again
//! costs no decoding and can do no harm: guests announce new code by IC instructions, which name
//! what they make stale, as the architecture asks of them (DDI 0487, *Caches and memory hierarchy*,
//! *Synchronization and coherency issues between data and instruction accesses*). In front lies a
//! table by virtual address, whose entries hold under one [`Cpu::mmu_generation`] only.
//!
//! A run that ends within a block, because its budget is spent, goes on at a new block that starts
//! there: what is executed never depends on how runs were divided.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::mem;

use crate::bus::{Bus, Size};
use crate::cpu::{Cpu, Exit};
use crate::decode::decode;
use crate::exception::Exception;
use crate::exec::{Flow, Op, lower, step};
use crate::leave::Leave;
use crate::mmu::status;

/// Instructions in a block at most. A power of two: the length is packed into [`Block`].
const BLOCK_INSNS_MAX: usize = 1 << Block::LENGTH_BITS;
const _: () = assert!(INSNS_MAX < 1 << (32 - Block::LENGTH_BITS));
/// Decoded instructions kept at most (8 MiB); then all are dropped, as a guest whose hot code is
/// larger than this spends little of its time decoding anyway. Tests get there sooner.
const INSNS_MAX: usize = if cfg!(test) { 1 << 8 } else { 1 << 19 };
/// Pages of code at most, for the same reason: their indices take 4 KiB each.
const PAGES_MAX: usize = 2048;
/// Stale pages remembered until the block at work ends; more make everything stale.
const STALE_PAGES_MAX: usize = 64;
/// Entries of the table by virtual address (384 KiB). A kernel and a process keep tens of thousands
/// of blocks warm; a miss costs several times a hit even when the larger table falls out of L1.
const JUMPS: usize = 1 << 14;
const PAGE_BYTES: u64 = 4096;
const WORDS_PER_PAGE: usize = PAGE_BYTES as usize / 4;

/// Where a block's instructions are: the index of the first, and how many less one. Zero is no
/// block, since index 0 is not used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Block(u32);

impl Block {
    const LENGTH_BITS: u32 = 6;

    fn new(start: usize, len: usize) -> Self {
        debug_assert!(start > 0 && start < 1 << (32 - Self::LENGTH_BITS));
        debug_assert!(len > 0 && len <= BLOCK_INSNS_MAX);
        Self((start << Self::LENGTH_BITS | (len - 1)) as u32)
    }

    #[inline(always)]
    fn start(self) -> usize {
        (self.0 >> Self::LENGTH_BITS) as usize
    }

    #[inline(always)]
    fn len(self) -> usize {
        (self.0 as usize & (BLOCK_INSNS_MAX - 1)) + 1
    }
}

/// The block at a virtual address, under one generation of the translation.
#[derive(Clone, Copy)]
struct Jump {
    pc: u64,
    generation: u64,
    block: Block,
}

/// No PC is odd.
const NO_JUMP: Jump = Jump {
    pc: 1,
    generation: 0,
    block: Block(0),
};

/// Page numbers spread well enough by a multiplication; the standard hasher is slower, and seeded.
#[derive(Default)]
struct PageHasher(u64);

impl Hasher for PageHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 / golden ratio; the table takes its index from the low bits, its tag from the top.
        self.0 = (self.0 ^ number)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(32);
    }
}

/// The blocks that start at each word of a page.
type PageIndex = Box<[Block; WORDS_PER_PAGE]>;

/// All decoded code of one CPU.
pub(crate) struct BlockCache {
    ops: Vec<Op>,
    pages: HashMap<u64, PageIndex, BuildHasherDefault<PageHasher>>,
    jumps: Box<[Jump; JUMPS]>,
    generation: u64,
}

impl Default for BlockCache {
    fn default() -> Self {
        Self {
            ops: vec![Op::Undefined],
            pages: HashMap::default(),
            jumps: Box::new([NO_JUMP; JUMPS]),
            generation: 0,
        }
    }
}

/// What instruction cache maintenance has made stale.
#[derive(Clone, Debug, Default)]
pub(crate) enum CodeInvalidation {
    #[default]
    Nothing,
    Pages(Vec<u64>),
    Everything,
}

impl Cpu {
    /// IC IVAU for the line at a physical address, or IC IALLU: code there may have changed. It is
    /// seen from the next block on; the caller ends the one at work.
    pub fn invalidate_code(&mut self, pa: Option<u64>) {
        self.leave = Leave::Look;
        let Some(pa) = pa else {
            self.code_invalidation = CodeInvalidation::Everything;
            return;
        };
        let page = pa / PAGE_BYTES;
        match &mut self.code_invalidation {
            CodeInvalidation::Everything => {}
            CodeInvalidation::Nothing => {
                self.code_invalidation = CodeInvalidation::Pages(vec![page]);
            }
            // Maintenance goes through a page line by line.
            CodeInvalidation::Pages(pages) if pages.last() == Some(&page) => {}
            CodeInvalidation::Pages(pages) if pages.len() < STALE_PAGES_MAX => pages.push(page),
            CodeInvalidation::Pages(_) => self.code_invalidation = CodeInvalidation::Everything,
        }
    }

    /// Runs until `budget` instructions are retired or the outside must act. An instruction that
    /// takes an exception counts as retired.
    ///
    /// Interrupts are looked at when it begins and after whatever in it can change them; from
    /// outside they change only between runs. [`Bus::attention`] is asked after each access to
    /// something other than RAM and after system instructions, and goes before [`Exit::Budget`];
    /// with any other exit, the caller must ask it. [`Bus::wants_stop`] is asked after each block.
    pub fn run<B: Bus>(&mut self, bus: &mut B, budget: u64) -> Exit {
        self.slice_start_retired = self.retired;
        let end = self.retired.saturating_add(budget);
        let mut cache = self.blocks.take().unwrap_or_default();
        let exit = self.run_blocks(bus, &mut cache, end);
        self.blocks = Some(cache);
        exit
    }

    fn run_blocks<B: Bus>(&mut self, bus: &mut B, cache: &mut BlockCache, end: u64) -> Exit {
        self.block_pc = self.state.pc;
        self.synchronize(bus, cache);
        loop {
            if self.retired >= end {
                return Exit::Budget;
            }
            let block = match cache.find(self, bus) {
                // An instruction abort has priority over the Illegal Execution state.
                Ok(_) if self.state.pstate.il => Err(Exception::illegal_state()),
                found => found,
            };
            let block = match block {
                Ok(block) => block,
                Err(exception) => {
                    self.retired += 1;
                    self.take_synchronous(exception);
                    self.synchronize(bus, cache);
                    continue;
                }
            };
            let ops = &cache.ops[block.start()..][..block.len()];
            let budget = usize::try_from(end - self.retired).unwrap_or(usize::MAX);
            let ops = ops.get(..budget).unwrap_or(ops);
            self.run_block(bus, ops);
            match self.leave {
                Leave::No if bus.wants_stop() => return Exit::Attention,
                Leave::No => {}
                Leave::Exit(exit) => return exit,
                Leave::Look if bus.wants_stop() || bus.attention() => return Exit::Attention,
                Leave::Look if self.retired < end => self.synchronize(bus, cache),
                Leave::Look => return Exit::Budget,
            }
        }
    }

    /// Looks at what may have changed: stale code, interrupts, the translation of code.
    fn synchronize<B: Bus>(&mut self, bus: &mut B, cache: &mut BlockCache) {
        self.leave = Leave::No;
        cache.invalidate(mem::take(&mut self.code_invalidation));
        if let Some(interrupt) = self.interrupt_pending(bus) {
            self.take_interrupt(interrupt);
        }
        cache.generation = self.mmu_generation();
        self.block_pc = self.state.pc;
    }

    /// Runs instructions that follow each other in memory, the first of them at the PC, as far as
    /// they go. Leaves the PC at what comes next, and in [`Cpu::leave`] whether it comes at once.
    #[inline(always)]
    fn run_block<B: Bus>(&mut self, bus: &mut B, ops: &[Op]) {
        let start = self.state.pc;
        let mut pc = start;
        let stopped = 'block: {
            for op in ops {
                self.state.pc = pc;
                match step(self, bus, op) {
                    Ok(Flow::Next) => pc = pc.wrapping_add(4),
                    stopped => break 'block stopped,
                }
            }
            self.state.pc = pc;
            self.retired += ops.len() as u64;
            self.block_pc = pc;
            return;
        };
        self.retired += pc.wrapping_sub(start) / 4 + 1;
        match stopped {
            Ok(Flow::Jump) => {}
            Ok(Flow::Next | Flow::Leave) => self.state.pc = pc.wrapping_add(4),
            Err(exception) => {
                self.take_synchronous(exception);
                self.leave = Leave::Look;
            }
        }
        self.block_pc = self.state.pc;
    }
}

impl BlockCache {
    /// The block at the PC.
    #[inline(always)]
    fn find<B: Bus>(&mut self, cpu: &mut Cpu, bus: &mut B) -> Result<Block, Exception> {
        let jump = &self.jumps[jump_index(cpu.state.pc)];
        if jump.pc == cpu.state.pc && jump.generation == self.generation {
            Ok(jump.block)
        } else {
            self.find_by_address(cpu, bus)
        }
    }

    #[inline(never)]
    fn find_by_address<B: Bus>(&mut self, cpu: &mut Cpu, bus: &mut B) -> Result<Block, Exception> {
        let pc = cpu.state.pc;
        let pa = cpu.fetch_address(bus, pc)?;
        let (page, word) = (pa / PAGE_BYTES, (pa % PAGE_BYTES) as usize / 4);
        let known = self
            .pages
            .get(&page)
            .map(|index| index[word])
            .filter(|&b| b != Block(0));
        let block = match known {
            Some(block) => block,
            None => {
                let block = self.decode_block(cpu, bus, pa)?;
                let index = self.pages.entry(page);
                index.or_insert_with(|| Box::new([Block(0); WORDS_PER_PAGE]))[word] = block;
                block
            }
        };
        self.jumps[jump_index(pc)] = Jump {
            pc,
            generation: self.generation,
            block,
        };
        Ok(block)
    }

    fn decode_block<B: Bus>(
        &mut self,
        cpu: &Cpu,
        bus: &mut B,
        pa: u64,
    ) -> Result<Block, Exception> {
        if self.ops.len() + BLOCK_INSNS_MAX > INSNS_MAX || self.pages.len() >= PAGES_MAX {
            self.invalidate(CodeInvalidation::Everything);
        }
        let start = self.ops.len();
        let page_end = pa - pa % PAGE_BYTES + PAGE_BYTES;
        for address in (pa..page_end).step_by(4).take(BLOCK_INSNS_MAX) {
            let Ok(word) = bus.read(cpu.when(), address, Size::Word) else {
                break;
            };
            let insn = decode(word as u32);
            self.ops.push(lower(&insn));
            if insn.ends_block() {
                break;
            }
        }
        let len = self.ops.len() - start;
        if len == 0 {
            return Err(Exception::instruction_abort(status::EXTERNAL, cpu.state.pc));
        }
        Ok(Block::new(start, len))
    }

    fn invalidate(&mut self, stale: CodeInvalidation) {
        match stale {
            CodeInvalidation::Nothing => {}
            // The instructions themselves stay behind until everything goes.
            CodeInvalidation::Pages(pages) => {
                let mut found = false;
                for page in pages {
                    found |= self.pages.remove(&page).is_some();
                }
                if found {
                    self.jumps.fill(NO_JUMP);
                }
            }
            CodeInvalidation::Everything => {
                self.ops.truncate(1);
                self.pages.clear();
                self.jumps.fill(NO_JUMP);
            }
        }
    }
}

#[inline(always)]
fn jump_index(pc: u64) -> usize {
    (pc >> 2 ^ pc >> 16) as usize % JUMPS
}
