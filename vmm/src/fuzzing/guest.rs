//! Small guests without a kernel: instructions and data for the start of RAM, which is also an Image
//! that `--kernel` takes.
//!
//! Encodings are those of DDI 0487, *A64 Base Instruction descriptions*; layouts of what is put in
//! memory for devices are in the specifications that the models cite.

#![allow(dead_code, reason = "each of its users needs a part of it")]

/// Where RAM starts.
pub(crate) const RAM: u64 = 0x4000_0000;
/// RAM that a guest needs.
pub(crate) const MEMORY_BYTES: u64 = 16 << 20;
/// Room for the code of each vCPU, from the start of RAM on.
const CODE_BYTES: u64 = 0x1_0000;
/// The header of an Image, in front of the first vCPU's code
/// (`Documentation/arch/arm64/booting.rst`).
const HEADER_BYTES: u64 = 64;

/// Registers.
pub(crate) const SMMU: u64 = 0x0905_0000;
pub(crate) const ITS: u64 = 0x0808_0000;
pub(crate) const DISTRIBUTOR: u64 = 0x0800_0000;
pub(crate) const REDISTRIBUTORS: u64 = 0x080a_0000;
/// Configuration space of the ZIP and of the test engine.
pub(crate) const ZIP_CONFIG: u64 = 0x40_1000_8000;
pub(crate) const ENGINE_CONFIG: u64 = 0x40_1001_0000;
/// Where [`Code::place_devices`] puts their BAR 0 and 2.
pub(crate) const ENGINE_BARS: [u64; 2] = [0x80_0000_0000, 0x80_0100_0000];
pub(crate) const ZIP_BARS: [u64; 2] = [0x80_0800_0000, 0x80_1000_0000];

/// Where the tables are.
pub(crate) const COMMANDS: u64 = RAM + 0x10_0000;
pub(crate) const COMMANDS_LOG2: u32 = 12;
pub(crate) const STREAMS: u64 = RAM + 0x20_0000;
pub(crate) const CONTEXT: u64 = RAM + 0x21_0000;
pub(crate) const PAGES: u64 = RAM + 0x22_0000;
pub(crate) const EVENTS: u64 = RAM + 0x23_0000;
pub(crate) const ITS_COMMANDS: u64 = RAM + 0x30_0000;
pub(crate) const ITS_COMMANDS_BYTES: u64 = 0x10_0000;
pub(crate) const ITS_DEVICES: u64 = RAM + 0x40_0000;
pub(crate) const ITS_COLLECTIONS: u64 = RAM + 0x41_0000;
pub(crate) const ITS_TRANSLATIONS: u64 = RAM + 0x41_8000;
pub(crate) const LPI_CONFIG: u64 = RAM + 0x42_0000;
pub(crate) const LPI_PENDING: u64 = RAM + 0x44_0000;
pub(crate) const ENGINE_RING: u64 = RAM + 0x50_0000;
pub(crate) const ENGINE_COMPLETIONS: u64 = RAM + 0x58_0000;
pub(crate) const ENGINE_NODE: u64 = RAM + 0x5c_0000;
/// What vCPUs share, and write down.
pub(crate) const SHARED: u64 = RAM + 0x60_0000;

/// Instructions in a row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Code(pub Vec<u32>);

/// A register that [`Code::store_to`] and its like use.
const ADDRESS: u32 = 9;
const VALUE: u32 = 8;

/// Widths of a load or store: 2^n bytes.
pub(crate) const WORD: u32 = 2;
pub(crate) const DOUBLE: u32 = 3;

impl Code {
    pub(crate) fn word(&mut self, word: u32) -> &mut Code {
        self.0.push(word);
        self
    }

    /// MOVZ, MOVK.
    pub(crate) fn set(&mut self, register: u32, value: u64) -> &mut Code {
        for quarter in 0..4 {
            let part = (value >> (16 * quarter)) as u32 & 0xffff;
            let opcode = if quarter == 0 {
                0xd280_0000
            } else {
                0xf280_0000
            };
            if quarter == 0 || part != 0 {
                self.word(opcode | quarter << 21 | part << 5 | register);
            }
        }
        self
    }

    /// STR (immediate, unsigned offset).
    pub(crate) fn store(&mut self, width: u32, register: u32, base: u32, offset: u32) -> &mut Code {
        self.word(0x3900_0000 | width << 30 | (offset >> width) << 10 | base << 5 | register)
    }

    /// LDR (immediate, unsigned offset).
    pub(crate) fn load(&mut self, width: u32, register: u32, base: u32, offset: u32) -> &mut Code {
        self.word(0x3940_0000 | width << 30 | (offset >> width) << 10 | base << 5 | register)
    }

    pub(crate) fn store_to(&mut self, width: u32, address: u64, value: u64) -> &mut Code {
        self.set(ADDRESS, address).set(VALUE, value);
        self.store(width, VALUE, ADDRESS, 0)
    }

    pub(crate) fn load_from(&mut self, width: u32, address: u64) -> &mut Code {
        self.set(ADDRESS, address).load(width, VALUE, ADDRESS, 0)
    }

    /// ADD (immediate) of 64 bits.
    pub(crate) fn add(&mut self, register: u32, from: u32, value: u32) -> &mut Code {
        self.word(0x9100_0000 | value << 10 | from << 5 | register)
    }

    /// ADD, AND, EOR (shifted register) of 32 bits.
    pub(crate) fn add_word(&mut self, register: u32, a: u32, b: u32) -> &mut Code {
        self.word(0x0b00_0000 | b << 16 | a << 5 | register)
    }

    pub(crate) fn and_word(&mut self, register: u32, a: u32, b: u32) -> &mut Code {
        self.word(0x0a00_0000 | b << 16 | a << 5 | register)
    }

    pub(crate) fn xor_word(&mut self, register: u32, a: u32, b: u32) -> &mut Code {
        self.word(0x4a00_0000 | b << 16 | a << 5 | register)
    }

    /// Does what is from index `start` on again, `times` in all. `counter` is a register of its own.
    pub(crate) fn repeat(
        &mut self,
        times: u64,
        counter: u32,
        body: impl FnOnce(&mut Code),
    ) -> &mut Code {
        self.set(counter, times);
        let start = self.0.len();
        body(self);
        // SUBS, B.NE
        self.word(0xf100_0000 | 1 << 10 | counter << 5 | counter);
        let back = start.wrapping_sub(self.0.len()) as u32;
        self.word(0x5400_0001 | (back & 0x7_ffff) << 5)
    }

    /// Does what is from index `start` on for ever.
    pub(crate) fn forever(&mut self, body: impl FnOnce(&mut Code)) -> &mut Code {
        let start = self.0.len();
        body(self);
        let back = start.wrapping_sub(self.0.len()) as u32;
        self.word(0x1400_0000 | back & 0x3ff_ffff)
    }

    /// PSCI's CPU_ON, by HVC.
    pub(crate) fn start_cpu(&mut self, cpu: u64) -> &mut Code {
        self.set(0, 0xc400_0003).set(1, cpu).set(2, entry(cpu));
        self.set(3, 0).word(0xd400_0002)
    }

    /// The SMMU with its queues and a stream table; commands and streams are in memory.
    pub(crate) fn start_smmu(&mut self) -> &mut Code {
        // Linear, 32 entries.
        self.store_to(DOUBLE, SMMU + 0x80, STREAMS);
        self.store_to(WORD, SMMU + 0x88, 5);
        self.store_to(DOUBLE, SMMU + 0x90, COMMANDS | u64::from(COMMANDS_LOG2));
        self.store_to(DOUBLE, SMMU + 0xa0, EVENTS | 7);
        // SMMUEN, EVENTQEN, CMDQEN.
        self.store_to(WORD, SMMU + 0x20, 0xd)
    }

    /// GIC and ITS, with all LPIs at the first vCPU.
    pub(crate) fn start_its(&mut self) -> &mut Code {
        const VALID: u64 = 1 << 63;
        self.store_to(WORD, DISTRIBUTOR, 0x12);
        self.store_to(WORD, REDISTRIBUTORS + 0x14, 0);
        // ICC_PMR_EL1, ICC_IGRPEN1_EL1
        self.set(VALUE, 0xff).word(0xd518_4600 | VALUE);
        self.set(VALUE, 1).word(0xd518_cce0 | VALUE);
        self.store_to(DOUBLE, ITS + 0x100, VALID | ITS_DEVICES | 7);
        self.store_to(DOUBLE, ITS + 0x108, VALID | ITS_COLLECTIONS);
        let pages = ITS_COMMANDS_BYTES >> 12;
        self.store_to(DOUBLE, ITS + 0x80, VALID | ITS_COMMANDS | (pages - 1));
        self.store_to(DOUBLE, REDISTRIBUTORS + 0x70, LPI_CONFIG | 15);
        self.store_to(DOUBLE, REDISTRIBUTORS + 0x78, LPI_PENDING);
        self.store_to(WORD, REDISTRIBUTORS, 1);
        self.store_to(WORD, ITS, 1)
    }

    /// Gives a function's BAR 0 and 2 their places and lets it answer and be master.
    pub(crate) fn place_device(&mut self, config: u64, bars: [u64; 2]) -> &mut Code {
        for (offset, bar) in [(0x10, bars[0]), (0x18, bars[1])] {
            self.store_to(WORD, config + offset, bar & 0xffff_ffff);
            self.store_to(WORD, config + offset + 4, bar >> 32);
        }
        self.store_to(WORD, config + 4, 6)
    }
}

/// Where a vCPU starts.
pub(crate) fn entry(cpu: u64) -> u64 {
    RAM + cpu * CODE_BYTES + if cpu == 0 { HEADER_BYTES } else { 0 }
}

/// What is in RAM when a guest starts.
#[derive(Clone, Debug)]
pub(crate) struct Guest(Vec<u8>);

impl Guest {
    /// A guest whose first vCPU runs `code`.
    pub(crate) fn new(code: &Code) -> Guest {
        let mut header = [0; HEADER_BYTES as usize];
        // b to what is behind it
        header[..4].copy_from_slice(&(0x1400_0000 | (HEADER_BYTES / 4) as u32).to_le_bytes());
        // Nothing of what it uses is used for the device tree.
        header[16..24].copy_from_slice(&(MEMORY_BYTES / 2).to_le_bytes());
        header[56..60].copy_from_slice(b"ARM\x64");
        let mut guest = Guest(header.to_vec());
        guest.code(0, code);
        guest
    }

    pub(crate) fn code(&mut self, cpu: u64, code: &Code) -> &mut Guest {
        let words: Vec<u8> = code.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert!(
            HEADER_BYTES + words.len() as u64 <= CODE_BYTES,
            "too much code"
        );
        self.put(entry(cpu), &words)
    }

    /// Bytes in memory.
    pub(crate) fn put(&mut self, address: u64, bytes: &[u8]) -> &mut Guest {
        let at = (address - RAM) as usize;
        let end = at + bytes.len();
        if self.0.len() < end {
            self.0.resize(end, 0);
        }
        self.0[at..end].copy_from_slice(bytes);
        self
    }

    pub(crate) fn words(&mut self, address: u64, words: &[u64]) -> &mut Guest {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.put(address, &bytes)
    }

    /// A stream table, a context and a table of pages in which nothing is mapped.
    pub(crate) fn streams(&mut self) -> &mut Guest {
        for stream in 0..32 {
            // V, Config 0b101: stage 1.
            self.words(STREAMS + 64 * stream, &[1 | 5 << 1 | CONTEXT, 0]);
        }
        // T0SZ 16, EPD1, V, IPS 48 bits, AA64, R, A.
        let context = 16 | 1 << 30 | 1 << 31 | 5 << 32 | 1 << 41 | 1 << 45 | 1 << 46;
        self.words(CONTEXT, &[context, PAGES])
    }

    /// The start of RAM, and an Image.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Guests that keep a device, or a vCPU, at work for as long as they can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hostile {
    /// CMD_PREFETCH_ADDR of as many addresses as can be.
    Prefetches,
    /// CMD_TLBI_NSNH_ALL.
    TlbInvalidations,
    /// CMD_CFGI_ALL.
    ConfigInvalidations,
    /// INVALL and INT, with every LPI pending.
    ItsCommands,
    /// A branch to itself.
    Spin,
    /// Lists that are circles, which the test engine follows.
    Chases,
}

impl Hostile {
    pub(crate) const ALL: [Hostile; 6] = [
        Hostile::Prefetches,
        Hostile::TlbInvalidations,
        Hostile::ConfigInvalidations,
        Hostile::ItsCommands,
        Hostile::Spin,
        Hostile::Chases,
    ];

    pub(crate) fn guest(self) -> Guest {
        match self {
            Hostile::Prefetches => commands([0x02 | 1 << 32, 0x1f]),
            Hostile::TlbInvalidations => commands([0x30, 0]),
            Hostile::ConfigInvalidations => commands([0x04, 31]),
            Hostile::ItsCommands => its_commands(),
            Hostile::Spin => Guest::new(Code::default().forever(|_| ())),
            Hostile::Chases => chases(),
        }
    }
}

/// A queue that is full of one command, again and again.
fn commands(command: [u64; 2]) -> Guest {
    let mut code = Code::default();
    code.start_smmu().set(10, SMMU).set(11, 1 << COMMANDS_LOG2);
    code.forever(|code| {
        // PROD is CONS with the other wrap bit: full.
        code.load(WORD, 1, 10, 0x9c).xor_word(1, 1, 11);
        code.store(WORD, 1, 10, 0x98);
    });
    let mut guest = Guest::new(&code);
    guest.streams();
    guest.words(COMMANDS, &command.repeat(1 << COMMANDS_LOG2));
    guest
}

fn its_commands() -> Guest {
    let mut code = Code::default();
    let mask = ITS_COMMANDS_BYTES - 32;
    code.start_its().set(10, ITS).set(11, mask);
    code.forever(|code| {
        // CWRITER is one command behind CREADR: full.
        code.load(WORD, 1, 10, 0x90).add_word(1, 1, 11);
        code.and_word(1, 1, 11).store(WORD, 1, 10, 0x88);
    });
    let mut guest = Guest::new(&code);
    // MAPC, MAPD, MAPTI of an event, then INVALL and INT.
    guest.words(ITS_COMMANDS, &[0x09, 0, 1 << 63, 0]);
    guest.words(
        ITS_COMMANDS + 32,
        &[0x08 | 8 << 32, 4, 1 << 63 | ITS_TRANSLATIONS, 0],
    );
    guest.words(ITS_COMMANDS + 64, &[0x0a | 8 << 32, 8192 << 32, 0, 0]);
    for at in (96..ITS_COMMANDS_BYTES).step_by(64) {
        guest.words(ITS_COMMANDS + at, &[0x0d, 0, 0, 0, 0x03 | 8 << 32, 0, 0, 0]);
    }
    guest.put(LPI_CONFIG, &[0xa3; 0xe000]);
    guest.put(LPI_PENDING, &[0xff; 0x2000]);
    guest
}

fn chases() -> Guest {
    const ENTRIES: u64 = 4096;
    let queue = ENGINE_BARS[0] + 0x1000;
    let mut code = Code::default();
    code.place_device(ENGINE_CONFIG, ENGINE_BARS);
    // 2^12 entries, 64 at once, accesses of 64 bytes.
    code.store_to(WORD, queue + 0x0c, 12 | 64 << 8 | 6 << 16);
    code.store_to(DOUBLE, queue + 0x10, ENGINE_RING);
    code.store_to(DOUBLE, queue + 0x18, ENGINE_COMPLETIONS);
    code.store_to(WORD, queue, 1);
    code.store_to(WORD, queue + 0x28, ENTRIES - 1);
    code.forever(|_| ());
    let mut guest = Guest::new(&code);
    // CHASE: 2^20 nodes of 8 bytes, each the pointer to itself.
    let descriptor = [0x07 | 1 << 52, 0, ENGINE_NODE, 0, 8, 0, 0, 0];
    guest.words(ENGINE_RING, &descriptor.repeat(ENTRIES as usize));
    guest.words(ENGINE_NODE, &[ENGINE_NODE]);
    guest
}
