//! CRC-32C of bytes whose parts were checked already.
//!
//! A batch's own CRC was computed when it came in. That of its WAL record follows from it: the CRC of two parts is that of the
//! first, as if zeros followed it, XOR that of the second. Zeros are a multiplication by a power of x modulo the polynomial.

/// The polynomial, its highest power left out, bit-reversed as CRC-32C has it.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// x to the power 0.
const ONE: u32 = 1 << 31;
/// What of a record batch its CRC does not cover: everything before its attributes.
const UNCOVERED_BYTES: usize = 21;
/// Where a batch's CRC stands.
const CRC_AT: usize = 17;
/// Below this it is as quick to compute the CRC anew.
const BYTES_MIN: usize = 8 * 1024;

/// The CRC of bytes that have `crc`, followed by a record batch whose own CRC is good.
pub(super) fn with_batch(crc: u32, batch: &[u8]) -> u32 {
    let (Some(front), Some(covered)) = (batch.get(..UNCOVERED_BYTES), batch.get(UNCOVERED_BYTES..))
    else {
        return crc32c::crc32c_append(crc, batch);
    };
    let (Some(own), true) = (front.last_chunk(), batch.len() >= BYTES_MIN) else {
        return crc32c::crc32c_append(crc, batch);
    };
    let own = u32::from_be_bytes(*own);
    let whole = after(crc32c::crc32c_append(crc, front), own, covered.len());
    debug_assert_eq!(
        whole,
        crc32c::crc32c_append(crc, batch),
        "the batch's own CRC is good"
    );
    whole
}

const _: () = assert!(CRC_AT + 4 == UNCOVERED_BYTES);

/// The CRC of a first part, followed by `bytes` bytes that have `second`.
fn after(first: u32, second: u32, bytes: usize) -> u32 {
    multiply(x_to_bytes(bytes), first) ^ second
}

/// Powers of x by 8 * 2^k.
const POWERS: [u32; 32] = powers();

const fn powers() -> [u32; 32] {
    let mut powers = [0; 32];
    // x to the power 8.
    let mut power = ONE >> 8;
    let mut k = 0;
    while k < powers.len() {
        powers[k] = power;
        power = multiply(power, power);
        k += 1;
    }
    powers
}

/// x to the power 8 * `bytes`, modulo the polynomial.
fn x_to_bytes(bytes: usize) -> u32 {
    let set = (0..POWERS.len()).filter(|k| bytes >> k & 1 == 1);
    set.fold(ONE, |power, k| multiply(power, POWERS[k]))
}

/// The product of two polynomials modulo the polynomial.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let (mut product, mut bit) = (0, ONE);
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        let carry = b & 1;
        b >>= 1;
        if carry == 1 {
            b ^= POLYNOMIAL;
        }
        bit >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use sh_base::batch::{BatchBuilder, Codec};

    use super::*;

    #[test]
    fn the_crc_of_two_parts_is_that_of_both() {
        let bytes: Vec<u8> = (0..70_000_u32)
            .map(|n| (n.wrapping_mul(n) >> 3) as u8)
            .collect();
        for (first, second) in [
            (0, 0),
            (0, 5),
            (1, 1),
            (10, 4096),
            (300, 65_537),
            (7, 69_993),
        ] {
            let (a, b) = (&bytes[..first], &bytes[first..first + second]);
            let parts = after(crc32c::crc32c(a), crc32c::crc32c(b), second);
            assert_eq!(
                parts,
                crc32c::crc32c(&bytes[..first + second]),
                "{first} and {second}"
            );
        }
    }

    #[test]
    fn a_batch_of_any_size_gets_the_crc_of_its_bytes() {
        for size in [1, 1_000, 8_192, 100_000] {
            let mut builder = BatchBuilder::new(Codec::None);
            builder.push(5, None, Some(&vec![7; size]), &[]);
            let batch = builder.build().unwrap().bytes().clone();
            let expected = crc32c::crc32c_append(99, &batch);
            assert_eq!(with_batch(99, &batch), expected, "{size}");
        }
        assert_eq!(
            with_batch(99, b"short"),
            crc32c::crc32c_append(99, b"short")
        );
    }
}
