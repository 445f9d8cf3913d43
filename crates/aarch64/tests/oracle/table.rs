//! Encodings of the instructions under test, written down from the encoding tables of the Arm
//! Architecture Reference Manual ("A64 Instruction Set Encoding", DDI 0487, C4) and sharing
//! nothing with the decoder they test.
//!
//! A pattern has one character for each bit, from bit 31 down: `0` and `1` are fixed, `d` is a
//! general register that is written, `n`, `m` and `a` are general registers that are only read,
//! `.` is any other field. `{a,b}` stands for each alternative in turn. Loads, stores, branches
//! and system instructions need prepared operands; [`crate::prepared`] makes them.

/// What an instruction works on, to give each kind its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Integer,
    FpScalar,
    SimdInteger,
    SimdFp,
}

type Row = (Group, &'static str, fn(u32) -> bool);

fn field(word: u32, high: u32, low: u32) -> u32 {
    word >> low & ((1 << (high - low + 1)) - 1)
}

fn any(_: u32) -> bool {
    true
}

/// With sf clear, the six-bit amount is below 32.
fn amount_fits(word: u32) -> bool {
    field(word, 31, 31) == 1 || field(word, 15, 15) == 0
}

fn bit_mask_allocated(word: u32) -> bool {
    let (n, imms) = (field(word, 22, 22), field(word, 15, 10));
    let length = n << 6 | !imms & 0x3f;
    if field(word, 31, 31) == 0 && n == 1 || length < 2 {
        return false;
    }
    let levels = (1 << length.ilog2()) - 1;
    imms & levels != levels
}

fn bitfield_allocated(word: u32) -> bool {
    let wide = field(word, 31, 31);
    field(word, 22, 22) == wide && (wide == 1 || word & 0x0020_8000 == 0)
}

/// SBFM, BFM and UFM need immr and imms below 32 when sf is clear; EXTR only has imms.
fn extract_allocated(word: u32) -> bool {
    field(word, 22, 22) == field(word, 31, 31) && amount_fits(word)
}

fn shift_half_fits(word: u32) -> bool {
    field(word, 31, 31) == 1 || field(word, 22, 22) == 0
}

fn extend_shift_fits(word: u32) -> bool {
    field(word, 12, 10) <= 4
}

fn scale_fits(word: u32) -> bool {
    field(word, 31, 31) == 1 || field(word, 15, 15) == 1
}

fn size(word: u32) -> u32 {
    field(word, 23, 22)
}

fn q(word: u32) -> bool {
    field(word, 30, 30) == 1
}

/// Vectors of 64-bit elements need 128 bits.
fn vector_fits(word: u32) -> bool {
    size(word) != 3 || q(word)
}

fn fp_vector_fits(word: u32) -> bool {
    field(word, 22, 22) == 0 || q(word)
}

fn immh(word: u32) -> u32 {
    field(word, 22, 19)
}

fn element_index_fits(word: u32) -> bool {
    field(word, 19, 16) != 0 && (field(word, 19, 16) != 8 || q(word))
}

const I: Group = Group::Integer;
const F: Group = Group::FpScalar;
const V: Group = Group::SimdInteger;
const W: Group = Group::SimdFp;

pub(crate) const ROWS: &[Row] = &[
    // Data processing, immediate.
    (I, "...10000...................ddddd", any),
    (I, "...100010.............nnnnnddddd", any),
    (I, "...100100.............nnnnnddddd", bit_mask_allocated),
    (
        I,
        ".{00,10,11}100101..................ddddd",
        shift_half_fits,
    ),
    (
        I,
        ".{00,01,10}100110.............nnnnnddddd",
        bitfield_allocated,
    ),
    (I, ".00100111.0mmmmm......nnnnnddddd", extract_allocated),
    // Data processing, register.
    (I, "...01010...mmmmm......nnnnnddddd", amount_fits),
    (I, "...01011{00,01,10}0mmmmm......nnnnnddddd", amount_fits),
    (I, "...01011001mmmmm......nnnnnddddd", extend_shift_fits),
    (I, "...11010000mmmmm000000nnnnnddddd", any),
    (I, "..111010010mmmmm....{0,1}0nnnnn0....", any),
    (I, "..011010100mmmmm....0.nnnnnddddd", any),
    (
        I,
        ".0011010110mmmmm{000010,000011,001000,001001,001010,001011}nnnnnddddd",
        any,
    ),
    (
        I,
        "00011010110mmmmm010{000,001,010,100,101,110}nnnnnddddd",
        any,
    ),
    (I, "10011010110mmmmm010{011,111}nnnnnddddd", any),
    (
        I,
        ".101101011000000{000000,000001,000010,000100,000101}nnnnnddddd",
        any,
    ),
    (I, "1101101011000000000011nnnnnddddd", any),
    (I, ".0011011000mmmmm.aaaaannnnnddddd", any),
    (I, "10011011{001,101}mmmmm.aaaaannnnnddddd", any),
    // Ra of SMULH and UMULH should be ones.
    (I, "10011011{010,110}mmmmm011111nnnnnddddd", any),
    // Conversions between floating point and fixed point or integer.
    (F, ".00111100.0{00010,00011}......nnnnn.....", scale_fits),
    (F, ".00111100.0{11000,11001}...........ddddd", scale_fits),
    (F, ".00111100.1{00,01,10,11}{000,001}000000.....ddddd", any),
    (F, ".00111100.100{100,101}000000.....ddddd", any),
    (F, ".00111100.100{010,011}000000nnnnn.....", any),
    (
        F,
        "{0001111000100,1001111001100,1001111010101}110000000.....ddddd",
        any,
    ),
    (
        F,
        "{0001111000100,1001111001100,1001111010101}111000000nnnnn.....",
        any,
    ),
    // Floating point, one source.
    (F, "000111100.10000{00,01,10,11}10000..........", any),
    (
        F,
        "000111100.1001{000,001,010,011,100,110,111}10000..........",
        any,
    ),
    (
        F,
        "{00011110001000101,00011110001000111}10000..........",
        any,
    ),
    (
        F,
        "{00011110011000100,00011110011000111}10000..........",
        any,
    ),
    (
        F,
        "{00011110111000100,00011110111000101}10000..........",
        any,
    ),
    // Comparisons; Rm of a comparison with zero should be zeros.
    (F, "000111100.1.....001000.....{00,10}000", any),
    (F, "000111100.100000001000.....{01,11}000", any),
    (F, "000111100.1........10000000.....", any),
    (F, "000111100.1.........01..........", any),
    (
        F,
        "000111100.1.....{0000,0001,0010,0011,0100,0101,0110,0111,1000}10..........",
        any,
    ),
    (F, "000111100.1.........11..........", any),
    (F, "000111110.{0,1}.....{0,1}...............", any),
    // Advanced SIMD: permutations.
    (V, "0.101110000.....0....0..........", |w| {
        q(w) || field(w, 14, 14) == 0
    }),
    (V, "0.001110000.....0...00..........", any),
    (
        V,
        "0.001110..0.....0{001,010,011,101,110,111}10..........",
        vector_fits,
    ),
    // Across lanes.
    (V, "0..01110..11000{00011,01010,11010}10..........", |w| {
        size(w) < 2 || size(w) == 2 && q(w)
    }),
    (V, "0.001110..110001101110..........", |w| {
        size(w) < 2 || size(w) == 2 && q(w)
    }),
    (W, "01101110{0,1}011000{01100,01111}10..........", any),
    // Copies.
    (V, "0.001110000.....000001..........", element_index_fits),
    (V, "0.001110000.....000011nnnnn.....", element_index_fits),
    (V, "0.001110000.....001011.....ddddd", |w| {
        // To a 32-bit register from 8 or 16 bits, to a 64-bit one from 32 as well.
        field(w, 17, 16) != 0 || q(w) && field(w, 18, 16) == 4
    }),
    (V, "0.001110000.....001111.....ddddd", |w| {
        if q(w) {
            field(w, 19, 16) == 8
        } else {
            field(w, 18, 16) != 0
        }
    }),
    (V, "01001110000.....000111nnnnn.....", |w| {
        field(w, 19, 16) != 0
    }),
    (V, "01101110000.....0....1..........", |w| {
        field(w, 19, 16) != 0
    }),
    // Modified immediate.
    (V, "0..0111100000.......01..........", |w| {
        field(w, 29, 29) == 0 || q(w) || field(w, 15, 12) != 15
    }),
    // Shifts by immediate.
    (
        V,
        "0..011110.......{00000,00010,00100,00110,01010,01110}1..........",
        |w| immh(w) != 0 && (immh(w) < 8 || q(w)),
    ),
    (V, "0.1011110.......{01000,01100}1..........", |w| {
        immh(w) != 0 && (immh(w) < 8 || q(w))
    }),
    (
        V,
        "0..011110.......{10000,10001,10010,10011,10100}1..........",
        |w| (1..8).contains(&immh(w)),
    ),
    (W, "0..011110.......{11100,11111}1..........", |w| {
        immh(w) >= 4 && (immh(w) < 8 || q(w))
    }),
    // Three registers of different widths.
    (
        V,
        "0..01110..1.....{0000,0001,0010,0011,0100,0101,0110,0111}00..........",
        |w| size(w) != 3,
    ),
    (V, "0..01110..1.....{1000,1010,1100}00..........", |w| {
        size(w) != 3
    }),
    (V, "0.001110{01,10}1.....{1001,1011,1101}00..........", any),
    (V, "0.001110001.....111000..........", any),
    // Three registers of the same width.
    (
        V,
        "0..01110..1.....{00000,00010,00100,01100,01101,01110,01111,10010,10100,10101}1..........",
        |w| size(w) != 3,
    ),
    (
        V,
        "0..01110..1.....{00001,00101,00110,00111,01000,01001,01010,01011,10000,10001}1..........",
        vector_fits,
    ),
    (V, "0..01110..1.....000111..........", any),
    (V, "0.001110..1.....100111..........", |w| size(w) != 3),
    (V, "0.101110001.....100111..........", any),
    (V, "0..01110{01,10}1.....101101..........", any),
    (V, "0.001110..1.....101111..........", vector_fits),
    (
        W,
        "0.0011100.1.....{11000,11001,11010,11011,11100,11110,11111}1..........",
        fp_vector_fits,
    ),
    (
        W,
        "0.0011101.1.....{11000,11001,11010,11110,11111}1..........",
        fp_vector_fits,
    ),
    (
        W,
        "0.1011100.1.....{11000,11010,11011,11100,11101,11110,11111}1..........",
        fp_vector_fits,
    ),
    (
        W,
        "0.1011101.1.....{11000,11010,11100,11101,11110}1..........",
        fp_vector_fits,
    ),
    // Two registers, miscellaneous.
    (V, "0.001110..100000000010..........", |w| size(w) != 3),
    (V, "0.1011100.100000000010..........", any),
    (V, "0.00111000100000000110..........", any),
    (V, "0..01110..10000{00010,00100,00110}10..........", |w| {
        size(w) != 3
    }),
    (
        V,
        "0..01110..10000{00011,00111,01000,01001,01011}10..........",
        vector_fits,
    ),
    (V, "0.001110..10000{01010}10..........", vector_fits),
    (
        V,
        "0.{00111000,10111000,10111001}100000010110..........",
        any,
    ),
    (V, "0..01110..10000{10010,10100}10..........", |w| {
        size(w) != 3
    }),
    (V, "0.101110..100001001110..........", |w| size(w) != 3),
    (W, "0.0011100.10000{10110,10111}10..........", any),
    (W, "0.10111001100001011010..........", any),
    (
        W,
        "0..011100.10000{11000,11001,11010,11011,11100,11101}10..........",
        fp_vector_fits,
    ),
    (
        W,
        "0..011101.10000{01100,01101,01111}10..........",
        fp_vector_fits,
    ),
    (
        W,
        "0.0011101.10000{01110,11000,11001}10..........",
        fp_vector_fits,
    ),
    (
        W,
        "0.1011101.10000{11001,11111}10..........",
        fp_vector_fits,
    ),
    (
        W,
        "0..011101.10000{11010,11011,11101}10..........",
        fp_vector_fits,
    ),
    (W, "0..0111010100001110010..........", any),
    // By element.
    (V, "0.101111{01,10}......{0000,0100}.0..........", any),
    (V, "0..01111{01,10}......{0010,0110,1010}.0..........", any),
    (
        V,
        "0.001111{01,10}......{0011,0111,1000,1011,1100,1101}.0..........",
        any,
    ),
    (W, "0.{0,1}0111110......1001.0..........", any),
    (W, "01{0,1}01111110.....1001.0..........", any),
    (W, "0.00111110......{0001,0101}.0..........", any),
    (W, "01001111110.....{0001,0101}.0..........", any),
    // Scalar three same.
    (
        V,
        "01.11110..1.....{00001,00101,01001,01011}1..........",
        any,
    ),
    (
        V,
        "01.11110111.....{00110,00111,01000,01010,10000,10001}1..........",
        any,
    ),
    (V, "01.11110{01,10}1.....101101..........", any),
    (W, "010111100.1.....{11011,11100,11111}1..........", any),
    (W, "010111101.1.....111111..........", any),
    (W, "011111100.1.....{11100,11101}1..........", any),
    (W, "011111101.1.....{11010,11100,11101}1..........", any),
    // Scalar three different.
    (V, "01011110{01,10}1.....{1001,1011,1101}00..........", any),
    // Scalar two registers, miscellaneous.
    (V, "01.11110..10000{00011,00111}10..........", any),
    (V, "01.111101110000{01000,01001,01011}10..........", any),
    (V, "0101111011100000101010..........", any),
    (V, "01.11110..100001010010..........", |w| size(w) != 3),
    (V, "01111110..100001001010..........", |w| size(w) != 3),
    (
        W,
        "01.111100.10000{11010,11011,11100,11101}10..........",
        any,
    ),
    (
        W,
        "01.111101.10000{01100,01101,11010,11011,11101}10..........",
        any,
    ),
    (W, "010111101.10000{01110,11111}10..........", any),
    (W, "0111111001100001011010..........", any),
    // Scalar pairwise.
    (V, "0101111011110001101110..........", any),
    (W, "011111100.11000{01100,01101,01111}10..........", any),
    (W, "011111101.11000{01100,01111}10..........", any),
    // Scalar copy.
    (V, "01011110000.....000001..........", |w| {
        field(w, 19, 16) != 0
    }),
    // Scalar shift by immediate.
    (
        V,
        "01.111110.......{00000,00010,00100,00110,01010}1..........",
        |w| immh(w) >= 8,
    ),
    (V, "011111110.......010001..........", |w| immh(w) >= 8),
    (V, "01.111110.......011101..........", |w| immh(w) != 0),
    (V, "011111110.......{01100}1..........", |w| immh(w) != 0),
    (V, "01.111110.......{10010,10011}1..........", |w| {
        (1..8).contains(&immh(w))
    }),
    (V, "011111110.......{10000,10001}1..........", |w| {
        (1..8).contains(&immh(w))
    }),
    (W, "01.111110.......{11100,11111}1..........", |w| {
        immh(w) >= 4
    }),
    // Scalar by element.
    (
        V,
        "01011111{01,10}......{0011,0111,1011,1100,1101}.0..........",
        any,
    ),
    (W, "01.1111110......1001.0..........", any),
    (W, "01.11111110.....1001.0..........", any),
    (W, "0101111110......{0001,0101}.0..........", any),
    (W, "01011111110.....{0001,0101}.0..........", any),
];

/// One pattern without alternatives.
#[derive(Clone)]
pub(crate) struct Encoding {
    pub group: Group,
    pub pattern: String,
    fixed: u32,
    value: u32,
    /// Low bit of the general register field that is written, if there is one.
    pub written: Option<u32>,
    allocated: fn(u32) -> bool,
}

impl Encoding {
    /// Puts the pattern's fixed bits into `word`; `None` if the rest picks an unallocated or
    /// excluded encoding.
    pub(crate) fn apply(&self, word: u32) -> Option<u32> {
        let word = word & !self.fixed | self.value;
        (self.allocated)(word).then_some(word)
    }
}

impl Encoding {
    /// The pattern, its mask and its value.
    pub(crate) fn class(&self) -> (String, u32, u32) {
        (self.pattern.clone(), self.fixed, self.value)
    }
}

/// All patterns, alternatives spelled out.
pub(crate) fn encodings() -> Vec<Encoding> {
    let mut all = Vec::new();
    for (group, row, allocated) in ROWS {
        for pattern in alternatives(row) {
            assert_eq!(pattern.len(), 32, "pattern {pattern} of row {row}");
            let mut encoding = Encoding {
                group: *group,
                pattern: pattern.clone(),
                fixed: 0,
                value: 0,
                written: pattern.rfind('d').map(|last| 31 - last as u32),
                allocated: *allocated,
            };
            for (i, bit) in pattern.bytes().enumerate() {
                let at = 31 - i as u32;
                if bit == b'0' || bit == b'1' {
                    encoding.fixed |= 1 << at;
                    encoding.value |= u32::from(bit - b'0') << at;
                }
            }
            all.push(encoding);
        }
    }
    all
}

fn alternatives(row: &str) -> Vec<String> {
    let Some(open) = row.find('{') else {
        return vec![row.replace(' ', "")];
    };
    let close = open + row[open..].find('}').expect("closing brace");
    row[open + 1..close]
        .split(',')
        .flat_map(|choice| alternatives(&format!("{}{choice}{}", &row[..open], &row[close + 1..])))
        .collect()
}
