//! Vectors as lanes: the loops that every integer operation is made of.
//!
//! A lane function sees its operands extended to 64 or 128 bits and answers with a value of which
//! the low bits are kept. All functions work on whole 128-bit registers; the caller cuts the result
//! to the operand's width.

/// The bits of an operand of a given width (logarithm of bytes).
pub(super) const MASKS: [u128; 5] = [0xff, 0xffff, 0xffff_ffff, u64::MAX as u128, u128::MAX];

/// Even lanes of each size.
const EVEN: [u128; 4] = [
    0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff,
    0x0000_ffff_0000_ffff_0000_ffff_0000_ffff,
    0x0000_0000_ffff_ffff_0000_0000_ffff_ffff,
    u64::MAX as u128,
];

/// Bits in an element.
#[inline(always)]
pub(super) fn bits(log2: u8) -> u32 {
    8 << log2
}

/// The bits of one element, as 64.
#[inline(always)]
pub(super) fn mask64(log2: u8) -> u64 {
    u64::MAX >> (64 - bits(log2))
}

/// Sign-extends the low `bits` of a value.
#[inline(always)]
pub(super) fn sign_extend(value: u64, bits: u32) -> i64 {
    (value << (64 - bits)) as i64 >> (64 - bits)
}

/// One element, zero-extended.
#[inline(always)]
pub(super) fn element(value: u128, log2: u8, index: u8) -> u64 {
    (value >> (u32::from(index) << (3 + log2))) as u64 & mask64(log2)
}

/// Replaces one element.
#[inline(always)]
pub(super) fn insert(value: u128, log2: u8, index: u8, new: u64) -> u128 {
    let shift = u32::from(index) << (3 + log2);
    value & !(MASKS[usize::from(log2)] << shift) | u128::from(new & mask64(log2)) << shift
}

/// Elements of an operand of `width`, in order.
pub(super) fn elements(value: u128, log2: u8, width: u8) -> impl Iterator<Item = u64> {
    (0..1u8 << (width - log2)).map(move |index| element(value, log2, index))
}

/// Every element a copy of one value.
#[inline]
pub(super) fn broadcast(value: u64, log2: u8) -> u128 {
    const ONES: [u128; 4] = [
        u128::MAX / 0xff,
        u128::MAX / 0xffff,
        u128::MAX / 0xffff_ffff,
        1 << 64 | 1,
    ];
    u128::from(value & mask64(log2)) * ONES[usize::from(log2)]
}

macro_rules! each_lane {
    ($lane:ty, $extended:ty, $a:ident, $b:ident, $f:ident) => {{
        const SIZE: usize = size_of::<$lane>();
        let (a, b) = ($a.to_le_bytes(), $b.to_le_bytes());
        let mut result = [0; 16];
        let lanes = a.as_chunks::<SIZE>().0.iter().zip(b.as_chunks::<SIZE>().0);
        for ((&a, &b), result) in lanes.zip(result.as_chunks_mut::<SIZE>().0) {
            let a = <$lane>::from_le_bytes(a) as $extended;
            let b = <$lane>::from_le_bytes(b) as $extended;
            *result = ($f(a, b) as $lane).to_le_bytes();
        }
        u128::from_le_bytes(result)
    }};
}

macro_rules! lane_map {
    ($(#[$doc:meta])* $name:ident, $extended:ty, $byte:ty, $half:ty, $word:ty, $double:ty) => {
        $(#[$doc])*
        #[inline(always)]
        pub(super) fn $name(
            log2: u8,
            a: u128,
            b: u128,
            mut f: impl FnMut($extended, $extended) -> $extended,
        ) -> u128 {
            match log2 {
                0 => each_lane!($byte, $extended, a, b, f),
                1 => each_lane!($half, $extended, a, b, f),
                2 => each_lane!($word, $extended, a, b, f),
                _ => each_lane!($double, $extended, a, b, f),
            }
        }
    };
}

lane_map!(
    /// Combines lanes as unsigned numbers.
    unsigned, u64, u8, u16, u32, u64
);
lane_map!(
    /// Combines lanes as signed numbers.
    signed, i64, i8, i16, i32, i64
);
lane_map!(
    /// Combines lanes as unsigned numbers, with room for what does not fit 64 bits.
    unsigned_wide, i128, u8, u16, u32, u64
);
lane_map!(
    /// Combines lanes as signed numbers, with room for what does not fit 64 bits.
    signed_wide, i128, i8, i16, i32, i64
);

/// SignedSatQ: to `bits` bits, noting saturation.
#[inline(always)]
pub(super) fn saturate_signed(value: i128, bits: u32, saturated: &mut bool) -> i128 {
    let highest = (1i128 << (bits - 1)) - 1;
    let result = value.clamp(-highest - 1, highest);
    *saturated |= result != value;
    result
}

/// UnsignedSatQ: to `bits` bits, noting saturation.
#[inline(always)]
pub(super) fn saturate_unsigned(value: i128, bits: u32, saturated: &mut bool) -> i128 {
    let result = value.clamp(0, (1i128 << bits) - 1);
    *saturated |= result != value;
    result
}

/// The top bit of every lane.
#[inline(always)]
fn tops(log2: u8) -> u128 {
    const TOPS: [u128; 4] = [
        (u128::MAX / 0xff) << 7,
        (u128::MAX / 0xffff) << 15,
        (u128::MAX / 0xffff_ffff) << 31,
        1 << 127 | 1 << 63,
    ];
    TOPS[usize::from(log2)]
}

/// Fills each lane whose top bit is set in `top` with ones.
#[inline(always)]
fn fill(top: u128, log2: u8) -> u128 {
    top | (top - (top >> (bits(log2) - 1)))
}

/// ADD: all lanes in one addition, their top bits kept out of it so that nothing is carried over.
#[inline(always)]
pub(super) fn add(log2: u8, a: u128, b: u128) -> u128 {
    let top = tops(log2);
    (a & !top).wrapping_add(b & !top) ^ (a ^ b) & top
}

/// SUB, as [`add`]: a borrow stops at the top bit.
#[inline(always)]
pub(super) fn sub(log2: u8, a: u128, b: u128) -> u128 {
    let top = tops(log2);
    (a | top).wrapping_sub(b & !top) ^ (a ^ !b) & top
}

/// CMTST with itself: ones where a lane is not zero.
#[inline(always)]
pub(super) fn non_zero(log2: u8, a: u128) -> u128 {
    let top = tops(log2);
    fill(((a & !top).wrapping_add(!top) | a) & top, log2)
}

/// CMHS: ones where a lane is not below the other's, unsigned.
#[inline(always)]
pub(super) fn not_below(log2: u8, a: u128, b: u128) -> u128 {
    let top = tops(log2);
    let low = (a | top).wrapping_sub(b & !top);
    fill((a & !b | !(a ^ b) & low) & top, log2)
}

/// CMGE: as [`not_below`], signed.
#[inline(always)]
pub(super) fn not_less(log2: u8, a: u128, b: u128) -> u128 {
    let top = tops(log2);
    not_below(log2, a ^ top, b ^ top)
}

/// The bits of `a` where `mask` is set, else those of `b`.
#[inline(always)]
pub(super) fn select(mask: u128, a: u128, b: u128) -> u128 {
    b ^ (a ^ b) & mask
}

/// Packs the even lanes into the lower half.
#[inline]
pub(super) fn evens(value: u128, log2: u8) -> u64 {
    if log2 == 3 {
        return value as u64;
    }
    let pack = |half: u64| {
        let mut packed = half & EVEN[usize::from(log2)] as u64;
        for step in log2..2 {
            packed = (packed | packed >> bits(step)) & EVEN[usize::from(step) + 1] as u64;
        }
        packed
    };
    pack(value as u64) | pack((value >> 64) as u64) << 32
}

/// Packs the odd lanes into the lower half.
#[inline]
pub(super) fn odds(value: u128, log2: u8) -> u64 {
    evens(value >> bits(log2), log2)
}

/// Spreads lanes to the even positions of twice the width: zero-extension of each.
#[inline]
pub(super) fn spread(value: u64, log2: u8) -> u128 {
    if log2 == 3 {
        return value.into();
    }
    let widen = |half: u64| {
        let mut wide = half;
        for step in (log2..2).rev() {
            wide = (wide | wide << bits(step)) & EVEN[usize::from(step)] as u64;
        }
        wide
    };
    u128::from(widen(value & 0xffff_ffff)) | u128::from(widen(value >> 32)) << 64
}

/// Sign-extends each lane to twice its width.
#[inline]
pub(super) fn spread_signed(value: u64, log2: u8) -> u128 {
    let narrow = bits(log2);
    signed(log2 + 1, spread(value, log2), 0, |lane, _| {
        sign_extend(lane as u64, narrow)
    })
}

/// Reverses the elements within each container of `container` (logarithm of bytes).
#[inline]
pub(super) fn reverse_within(value: u128, log2: u8, container: u8) -> u128 {
    (log2..container).fold(value, |value, step| {
        let even = EVEN[usize::from(step)];
        (value & even) << bits(step) | value >> bits(step) & even
    })
}

/// UZP1, or UZP2 if `odd`: every other element of the two operands one after the other.
#[inline]
pub(super) fn unzip(low: u128, high: u128, log2: u8, width: u8, odd: bool) -> u128 {
    let pack = if odd { odds } else { evens };
    if width == 3 {
        u128::from(pack(low & MASKS[3] | high << 64, log2))
    } else {
        u128::from(pack(low, log2)) | u128::from(pack(high, log2)) << 64
    }
}

/// ZIP1, or ZIP2 if `upper`: elements of two operands in turn, from their lower or upper halves.
#[inline]
pub(super) fn zip(a: u128, b: u128, log2: u8, width: u8, upper: bool) -> u128 {
    let half = |value: u128| {
        if upper && width == 4 {
            (value >> 64) as u64
        } else {
            value as u64
        }
    };
    let both = if log2 == 3 {
        u128::from(half(a)) | u128::from(half(b)) << 64
    } else {
        spread(half(a), log2) | spread(half(b), log2) << bits(log2)
    };
    if upper && width == 3 {
        both >> 64
    } else {
        both
    }
}

/// TRN1, or TRN2 if `odd`.
#[inline]
pub(super) fn transpose(a: u128, b: u128, log2: u8, odd: bool) -> u128 {
    let even = EVEN[usize::from(log2)];
    if odd {
        a >> bits(log2) & even | b & !even
    } else {
        a & even | (b & even) << bits(log2)
    }
}
