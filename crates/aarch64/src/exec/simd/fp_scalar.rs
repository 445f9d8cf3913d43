//! Scalar floating point that has no vector form.

use crate::fp::{F16, F32, F64, Format, FpEnv, fp_compare, fp_convert, fp_mul_add};

/// The FMADD family: `(addend, a, b)`.
pub(super) fn mul_add(
    log2: u8,
    (addend, a, b): (u64, u64, u64),
    negate_product: bool,
    negate_addend: bool,
    env: &mut FpEnv,
) -> u64 {
    fn run<F: Format>(
        (addend, a, b): (u64, u64, u64),
        negate_product: bool,
        negate_addend: bool,
        env: &mut FpEnv,
    ) -> u64 {
        let addend = addend ^ if negate_addend { F::SIGN } else { 0 };
        let a = a ^ if negate_product { F::SIGN } else { 0 };
        fp_mul_add::<F>(addend, a, b, env)
    }
    if log2 == 2 {
        let low = |value: u64| u64::from(value as u32);
        run::<F32>(
            (low(addend), low(a), low(b)),
            negate_product,
            negate_addend,
            env,
        )
    } else {
        run::<F64>((addend, a, b), negate_product, negate_addend, env)
    }
}

/// FCVT between formats, each as the logarithm of its bytes.
pub(super) fn convert(from: u8, to: u8, a: u64, env: &mut FpEnv) -> u64 {
    let rounding = env.rounding;
    match (from, to) {
        (1, 2) => fp_convert::<F16, F32>(a & 0xffff, rounding, env),
        (1, _) => fp_convert::<F16, F64>(a & 0xffff, rounding, env),
        (2, 1) => fp_convert::<F32, F16>(a & 0xffff_ffff, rounding, env),
        (2, _) => fp_convert::<F32, F64>(a & 0xffff_ffff, rounding, env),
        (_, 1) => fp_convert::<F64, F16>(a, rounding, env),
        (_, _) => fp_convert::<F64, F32>(a, rounding, env),
    }
}

/// FCMP and FCMPE: the condition flags.
pub(super) fn compare(log2: u8, a: u64, b: u64, signal: bool, env: &mut FpEnv) -> u32 {
    if log2 == 2 {
        fp_compare::<F32>(a & 0xffff_ffff, b & 0xffff_ffff, signal, env)
    } else {
        fp_compare::<F64>(a, b, signal, env)
    }
}
