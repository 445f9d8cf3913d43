//! Where the oracle's answer is not to be ours, rule by rule, each with its reason.

/// A set of encodings that are not compared.
pub(crate) struct Rule {
    pub reason: &'static str,
    pub matches: fn(u32) -> bool,
}

fn field(word: u32, low: u32) -> u32 {
    word >> low & 31
}

/// Encodings with more than one right outcome, or that are features beyond the CPU under test.
pub(crate) const DATA_PROCESSING: &[Rule] = &[
    Rule {
        reason: "Cortex-A57 has the cryptographic extension: AES, SHA1 and SHA256, PMULL to 128 bits",
        matches: |w| {
            w & 0xffff_cc00 == 0x4e28_4800
                || w & 0xffe0_8c00 == 0x5e00_0000 && w & 0x7000 != 0x7000
                || w & 0xffff_cc00 == 0x5e28_0800 && w & 0x3000 != 0x3000
                || w & 0xbfe0_fc00 == 0x0ee0_e000
        },
    },
    Rule {
        reason: "fields that should be ones or zeros and are not are CONSTRAINED UNPREDICTABLE \
                 (DDI 0487, K1.2.2): Ra of SMULH and UMULH, Rm of a comparison with zero",
        matches: |w| {
            w & 0xff60_8000 == 0x9b40_0000 && w & 0x7c00 != 0x7c00
                || w & 0xff20_fc0f == 0x1e20_2008 && w & 0x001f_0000 != 0
        },
    },
];

/// The same for the rest of the encoding space.
pub(crate) const OTHERS: &[Rule] = &[
    Rule {
        reason: "SVC calls the host's kernel",
        matches: |w| w & 0xffe0_001f == 0xd400_0001,
    },
    Rule {
        reason: "HLT #0xf000 is a semihosting call to QEMU",
        matches: |w| w == 0xd45e_0000,
    },
    Rule {
        reason: "WFI waits for ever; YIELD and WFE leave the processor, which clears the monitor",
        matches: |w| (1..=3).contains(&((w ^ 0xd503_201f) >> 5)) && w & 31 == 31,
    },
    Rule {
        reason: "a pair loaded into one register is CONSTRAINED UNPREDICTABLE (K1.2.3)",
        matches: |w| w & 0x3a40_0000 == 0x2840_0000 && field(w, 0) == field(w, 10),
    },
    Rule {
        reason: "writeback to a register that a pair transfers is CONSTRAINED UNPREDICTABLE",
        matches: |w| {
            let base = field(w, 5);
            let transferred = base == field(w, 0) || base == field(w, 10);
            w & 0x3e80_0000 == 0x2880_0000 && base != 31 && transferred
        },
    },
    Rule {
        reason: "writeback to the register transferred is CONSTRAINED UNPREDICTABLE",
        matches: |w| {
            let (base, transferred) = (field(w, 5), field(w, 0));
            w & 0x3f20_0400 == 0x3800_0400 && base != 31 && base == transferred
        },
    },
    Rule {
        reason: "a load-exclusive of a pair into one register is CONSTRAINED UNPREDICTABLE",
        matches: |w| w & 0xbfe0_0000 == 0x8860_0000 && field(w, 0) == field(w, 10),
    },
    Rule {
        reason: "a store-exclusive whose status register is its data or its base is \
                 CONSTRAINED UNPREDICTABLE",
        matches: |w| {
            let (status, base) = (field(w, 16), field(w, 5));
            let single = w & 0x3fe0_0000 == 0x0800_0000;
            let pair = w & 0xbfe0_0000 == 0x8820_0000;
            let overlaps = status == field(w, 0)
                || pair && status == field(w, 10)
                || status == base && base != 31;
            (single || pair) && overlaps
        },
    },
    Rule {
        reason: "LDAPR is of Armv8.3; Neoverse N1, the oracle of the space of atomics, has it",
        matches: |w| w & 0x3fe0_fc00 == 0x38a0_c000,
    },
    Rule {
        reason: "Linux, and so qemu-user, lets EL0 read the ID registers; hardware does not",
        matches: |w| w & 0xffff_f000 == 0xd538_0000,
    },
    Rule {
        reason: "QEMU 7.2 lets EL0 read MDCCSR_EL0; Linux, and QEMU 10, set MDSCR_EL1.TDCC",
        matches: |w| w & 0xffff_ffe0 == 0xd533_0100,
    },
    Rule {
        reason: "fields that should be ones and are not are CONSTRAINED UNPREDICTABLE: Rs and Rt2 \
                 of LDAR and STLR (QEMU 7.2 ignores them, QEMU 10 has UNDEFINED)",
        matches: |w| w & 0x3fa0_8000 == 0x0880_8000 && (field(w, 16) != 31 || field(w, 10) != 31),
    },
    Rule {
        reason: "Cortex-A57 has Performance Monitors, so PMUSERENR_EL0 can be read",
        matches: |w| w & 0xffff_ffe0 == 0xd53b_9e00,
    },
    Rule {
        reason: "CNTFRQ_EL0 and CNTVCT_EL0 belong to the machine, not to the core",
        matches: |w| w & 0xffff_ffa0 == 0xd53b_e000,
    },
];

/// Whether a data-processing instruction is not to be compared.
pub(crate) fn excludes_data_processing(word: u32) -> bool {
    DATA_PROCESSING.iter().any(|rule| (rule.matches)(word))
}

/// The rule by which an instruction is not to be compared, if there is one.
pub(crate) fn exclusion(word: u32) -> Option<&'static Rule> {
    DATA_PROCESSING
        .iter()
        .chain(OTHERS)
        .find(|rule| (rule.matches)(word))
}

/// Where Armv8.1's atomics are, among the exclusives of pairs: decided by a processor that has
/// them.
pub(crate) fn in_space_of_atomics(word: u32) -> bool {
    word & 0x3f20_0c00 == 0x3820_0000 || word & 0x3f20_0000 == 0x0820_0000
}
