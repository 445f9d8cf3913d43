//! Random test cases: what instructions, on what state.

use crate::case::{CROSS_BYTES, Case, END_BYTES, State};
use crate::prepared;
use crate::rng::Rng;
use crate::table::{Encoding, Group};
use crate::values;

/// What a case exercises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Focus {
    /// Armv8.0 with CRC32, everything mixed.
    Base,
    /// The atomics of Armv8.1, mixed with the rest.
    Lse,
    /// Words drawn from the data-processing spaces at large, unallocated ones included.
    Wild,
}

/// FPCR's fields in Armv8.0: AHP, DN, FZ, RMode.
const FPCR_BITS: u64 = 0x07c0_0000;

pub(crate) fn random_fpcr(rng: &mut Rng) -> u32 {
    let bits = (rng.next() & FPCR_BITS) as u32;
    match rng.below(4) {
        0 => 0,
        1 => bits & 0x00c0_0000,
        // Flush-to-zero hides denormals: not too often.
        2 => bits & !(1 << 24),
        _ => bits,
    }
}

pub(crate) fn random_state(rng: &mut Rng) -> State {
    let mut state = State::ZERO;
    for i in 0..32 {
        // Equal operands matter to comparisons.
        state.x[i] = if i > 0 && rng.percent(10) {
            state.x[rng.index(i)]
        } else {
            values::integer(rng)
        };
        state.v[i] = values::vector(rng, &state.v[..i]);
    }
    state.nzcv = (rng.next() as u32) & 0xf000_0000;
    state.tpidr = rng.next();
    state.fpcr = random_fpcr(rng);
    // Often clear, to see every flag being set; or with the flag that nearly all work sets, since
    // an emulator may take short cuts where nothing can change any more.
    state.fpsr = match rng.below(4) {
        0 => rng.next() as u32 & crate::case::FPSR_BITS,
        1 => 0x10,
        _ => 0,
    };
    let mut fill = |bytes: &mut [u8]| {
        for chunk in bytes.chunks_exact_mut(8) {
            chunk.copy_from_slice(&values::integer(rng).to_le_bytes());
        }
    };
    fill(&mut state.cross[..CROSS_BYTES]);
    fill(&mut state.end[..END_BYTES]);
    state
}

/// A case in the making.
pub(crate) struct Draft<'a> {
    pub rng: &'a mut Rng,
    pub case: Case,
    /// Registers with prepared values (bit 31: SP), not written by anything else.
    reserved: u32,
    /// Of those, the ones not in use yet.
    pool: Vec<u32>,
    /// How many words the case will have.
    pub length: usize,
    /// Positions that branches so far may lead to, as bits.
    pub landings: u64,
    /// First position that a loop may go back to: memory operands are prepared for one access.
    pub settled: usize,
}

impl Draft<'_> {
    /// A register that may be written; with 31, either SP or XZR, by what the field means.
    pub(crate) fn destination(&mut self) -> u32 {
        loop {
            let register = self.rng.below(32) as u32;
            if self.reserved >> register & 1 == 0 {
                return register;
            }
        }
    }

    /// Any register.
    pub(crate) fn source(&mut self) -> u32 {
        self.rng.below(32) as u32
    }

    /// Whether anything may write this register.
    pub(crate) fn writable(&self, register: u32) -> bool {
        self.reserved >> register & 1 == 0
    }

    /// A register or, as 31, SP, which will hold `value` when this instruction runs.
    pub(crate) fn base(&mut self, value: u64) -> Option<u32> {
        let register = self.pool.pop()?;
        self.case.state.x[register as usize] = value;
        Some(register)
    }

    /// The same, but never 31.
    pub(crate) fn operand(&mut self, value: u64) -> Option<u32> {
        let at = self.pool.iter().rposition(|&register| register != 31)?;
        let register = self.pool.remove(at);
        self.case.state.x[register as usize] = value;
        Some(register)
    }

    /// Position of the next word.
    pub(crate) fn position(&self) -> usize {
        self.case.words.len()
    }

    pub(crate) fn push(&mut self, word: u32) {
        self.case.words.push(word);
    }

    /// Adds a word beyond the planned number.
    pub(crate) fn push_extra(&mut self, word: u32) {
        self.length += 1;
        self.push(word);
    }
}

/// Cases by the number: the `index`th case of a seed is always the same.
pub(crate) struct Generator {
    seed: u64,
    integer: Vec<Encoding>,
    fp_scalar: Vec<Encoding>,
    simd_integer: Vec<Encoding>,
    simd_fp: Vec<Encoding>,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Generator {
        let all = crate::table::encodings();
        let of = |group| all.iter().filter(|e| e.group == group).cloned().collect();
        Generator {
            seed,
            integer: of(Group::Integer),
            fp_scalar: of(Group::FpScalar),
            simd_integer: of(Group::SimdInteger),
            simd_fp: of(Group::SimdFp),
        }
    }

    /// Makes a case to be placed in `slot`.
    pub(crate) fn case(&self, focus: Focus, index: u64, slot: u32) -> Case {
        let mut rng = Rng::new(self.seed, index * 4 + focus as u64);
        let state = random_state(&mut rng);
        if focus == Focus::Wild {
            let words = (0..1 + rng.below(6))
                .map(|_| self.wild_word(&mut rng))
                .collect();
            return Case { slot, words, state };
        }
        let length = 6 + rng.index(11);
        let prepared_percent = match focus {
            Focus::Lse => 60,
            _ => rng.pick(&[8, 8, 20, 60]),
        };
        let prepared: Vec<bool> = {
            let mut left = 6;
            let mut choose = |_| {
                let yes = left > 0 && rng.percent(prepared_percent);
                left -= u32::from(yes);
                yes
            };
            (0..length).map(&mut choose).collect()
        };
        // Three registers for each prepared instruction, so that one is left for a loop's counter;
        // X30 stays free for BL.
        let loops = rng.percent(15);
        let wanted = 3 * prepared.iter().filter(|&&p| p).count() + 2 * usize::from(loops);
        let mut pool: Vec<u32> = (0..32).filter(|&register| register != 30).collect();
        for i in 0..pool.len() {
            let other = i + rng.index(pool.len() - i);
            pool.swap(i, other);
        }
        pool.truncate(wanted);
        let reserved = pool.iter().fold(0, |mask, register| mask | 1 << register);
        let mostly = rng.pick(&[
            None,
            Some(Group::Integer),
            Some(Group::Integer),
            Some(Group::FpScalar),
            Some(Group::FpScalar),
            Some(Group::SimdInteger),
            Some(Group::SimdFp),
            Some(Group::SimdFp),
        ]);
        let mut draft = Draft {
            rng: &mut rng,
            case: Case {
                slot,
                words: Vec::new(),
                state,
            },
            reserved,
            pool,
            length,
            landings: 0,
            settled: 0,
        };
        for prepared in prepared {
            if prepared {
                prepared::instruction(&mut draft, focus == Focus::Lse);
            } else {
                self.tabled(&mut draft, mostly);
            }
        }
        if loops {
            prepared::close_loop(&mut draft);
        }
        draft.case
    }

    /// A word from the spaces for data processing: anything, or an instruction with a bit or two
    /// turned over, which is nearer to the borders of what is allocated.
    fn wild_word(&self, rng: &mut Rng) -> u32 {
        let all = [
            &self.integer,
            &self.fp_scalar,
            &self.simd_integer,
            &self.simd_fp,
        ];
        loop {
            let word = if rng.percent(50) {
                let space = rng.pick(&[0b1000, 0b1001, 0b0101, 0b1101, 0b0111, 0b1111]);
                rng.next() as u32 & !(0xf << 25) | space << 25
            } else {
                let encodings = rng.pick(&all);
                let encoding = &encodings[rng.index(encodings.len())];
                let Some(word) = encoding.apply(rng.next() as u32) else {
                    continue;
                };
                word ^ 1 << rng.below(32) ^ rng.pick(&[0, 1]) << rng.below(32)
            };
            if is_data_processing(word) && !crate::known::excludes_data_processing(word) {
                return word;
            }
        }
    }

    /// An instruction that needs nothing but registers.
    fn tabled(&self, draft: &mut Draft, mostly: Option<Group>) {
        let group = mostly.filter(|_| draft.rng.percent(80)).unwrap_or_else(|| {
            draft.rng.pick(&[
                Group::Integer,
                Group::FpScalar,
                Group::SimdInteger,
                Group::SimdFp,
            ])
        });
        let encodings = match group {
            Group::Integer => &self.integer,
            Group::FpScalar => &self.fp_scalar,
            Group::SimdInteger => &self.simd_integer,
            Group::SimdFp => &self.simd_fp,
        };
        let encoding = &encodings[draft.rng.index(encodings.len())];
        // Rare choices of fields are unallocated, never all of them.
        loop {
            let mut word = draft.rng.next() as u32;
            if let Some(low) = encoding.written {
                word = word & !(31 << low) | draft.destination() << low;
            }
            if let Some(word) = encoding.apply(word) {
                return draft.push(word);
            }
        }
    }
}

/// Whether bits 28 to 25 are 100x, x101 or x111: the spaces for data processing.
fn is_data_processing(word: u32) -> bool {
    matches!(
        word >> 25 & 0xf,
        0b1000 | 0b1001 | 0b0101 | 0b1101 | 0b0111 | 0b1111
    )
}
