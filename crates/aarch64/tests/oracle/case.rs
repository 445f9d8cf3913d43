//! A test case, its outcome, and how both travel to and from the runner (`oracle/runner.c`).

/// Where instruction sequences are placed, [`SLOT_BYTES`] apart.
pub(crate) const CODE_BASE: u64 = 0x4000_0000;
pub(crate) const CODE_BYTES: u64 = 0x20_0000;
pub(crate) const SLOT_WORDS: usize = 32;
pub(crate) const SLOT_BYTES: u64 = 4 * SLOT_WORDS as u64;
/// Longest sequence.
pub(crate) const WORDS_MAX: usize = 24;
/// What the rest of a slot is filled with: ends a sequence.
pub(crate) const BRK_FILL: u32 = 0xd420_b560;

/// Two pages for data, then a page that can only be read, then nothing.
pub(crate) const DATA_BASE: u64 = 0x5000_0000;
pub(crate) const PAGE: u64 = 0x1000;
pub(crate) const READ_ONLY: u64 = DATA_BASE + 2 * PAGE;
/// Bytes to either side of the border between the two pages; part of the state.
pub(crate) const CROSS: u64 = DATA_BASE + PAGE - 256;
pub(crate) const CROSS_BYTES: usize = 512;
/// The last bytes that can be written; part of the state.
pub(crate) const END: u64 = READ_ONLY - END_BYTES as u64;
pub(crate) const END_BYTES: usize = 128;

/// The bits of FPSR that an implementation without AArch32 has.
pub(crate) const FPSR_BITS: u32 = 0x0800_009f;

/// Byte of the read-only page.
pub(crate) fn read_only_byte(offset: u64) -> u8 {
    (offset * 37 + 11) as u8
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// X0 to X30, then SP.
    pub x: [u64; 32],
    pub v: [u128; 32],
    pub nzcv: u32,
    pub tpidr: u64,
    pub fpcr: u32,
    pub fpsr: u32,
    pub cross: [u8; CROSS_BYTES],
    pub end: [u8; END_BYTES],
}

impl State {
    pub(crate) const ZERO: State = State {
        x: [0; 32],
        v: [0; 32],
        nzcv: 0,
        tpidr: 0,
        fpcr: 0,
        fpsr: 0,
        cross: [0; CROSS_BYTES],
        end: [0; END_BYTES],
    };

    /// The bytes of the state's memory at `address`, if they are part of it.
    pub(crate) fn memory(&mut self, address: u64, bytes: usize) -> Option<&mut [u8]> {
        let within = |base: u64, length: usize| {
            let offset = address.checked_sub(base)? as usize;
            (offset + bytes <= length).then_some(offset)
        };
        if let Some(offset) = within(CROSS, CROSS_BYTES) {
            return Some(&mut self.cross[offset..offset + bytes]);
        }
        let offset = within(END, END_BYTES)?;
        Some(&mut self.end[offset..offset + bytes])
    }

    const BYTES: usize = 32 * 8 + 32 * 16 + 32 + CROSS_BYTES + END_BYTES;

    fn write(&self, to: &mut Vec<u8>) {
        self.x.iter().for_each(|x| to.extend(x.to_le_bytes()));
        self.v.iter().for_each(|v| to.extend(v.to_le_bytes()));
        to.extend(u64::from(self.nzcv).to_le_bytes());
        to.extend(self.tpidr.to_le_bytes());
        to.extend(self.fpcr.to_le_bytes());
        to.extend(self.fpsr.to_le_bytes());
        to.extend([0; 8]);
        to.extend(self.cross);
        to.extend(self.end);
    }

    fn read(from: &mut Reader) -> State {
        let mut state = State::ZERO;
        state.x.iter_mut().for_each(|x| *x = from.double());
        state
            .v
            .iter_mut()
            .for_each(|v| *v = u128::from_le_bytes(from.take()));
        state.nzcv = from.double() as u32;
        state.tpidr = from.double();
        state.fpcr = from.word();
        state.fpsr = from.word();
        from.double();
        state.cross = from.take();
        state.end = from.take();
        state
    }
}

#[derive(Clone)]
pub(crate) struct Case {
    /// Which place in the code area.
    pub slot: u32,
    pub words: Vec<u32>,
    pub state: State,
}

impl Case {
    pub(crate) fn code_address(&self) -> u64 {
        CODE_BASE + u64::from(self.slot) * SLOT_BYTES
    }

    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.slot.to_le_bytes());
        to.extend((self.words.len() as u32).to_le_bytes());
        to.extend([0; 8]);
        let mut code = [0; WORDS_MAX];
        code[..self.words.len()].copy_from_slice(&self.words);
        code.iter().for_each(|word| to.extend(word.to_le_bytes()));
        self.state.write(to);
    }

    /// The first `count` instructions alone.
    pub(crate) fn prefix(&self, count: usize) -> Case {
        Case {
            slot: self.slot,
            words: self.words[..count].to_vec(),
            state: self.state.clone(),
        }
    }
}

/// How a sequence ended, as Linux reports it to the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGILL: UNDEFINED, or a system register that EL0 may not use.
    Undefined,
    /// SIGTRAP: BRK, at the end of the sequence or within.
    Breakpoint,
    /// SIGBUS: alignment of data or of the PC.
    Alignment,
    /// SIGSEGV: translation or permission.
    Memory,
    /// Never expected from either side.
    Other(u32),
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub signal: Signal,
    pub pc: u64,
    /// For SIGSEGV and SIGBUS, the address at fault without its tag.
    pub address: u64,
    pub state: State,
}

impl Outcome {
    pub(crate) const BYTES: usize = 32 + State::BYTES;

    pub(crate) fn read(bytes: &[u8]) -> Outcome {
        let mut from = Reader(bytes);
        let signal = match from.word() {
            4 => Signal::Undefined,
            5 => Signal::Breakpoint,
            7 => Signal::Alignment,
            11 => Signal::Memory,
            other => Signal::Other(other),
        };
        from.word();
        let pc = from.double();
        let address = from.double() & 0x00ff_ffff_ffff_ffff;
        from.double();
        Outcome {
            signal,
            pc,
            address,
            state: State::read(&mut from),
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self
            .0
            .split_first_chunk()
            .expect("outcomes have a fixed length");
        self.0 = rest;
        *head
    }

    fn word(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn double(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}
