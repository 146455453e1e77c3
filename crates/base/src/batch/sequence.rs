//! Sequence numbers of idempotent producers wrap from `i32::MAX` to 0; they are never negative.

/// The sequence `n` records after `sequence`.
pub fn sequence_add(sequence: i32, n: i32) -> i32 {
    (i64::from(sequence) + i64::from(n)).rem_euclid(1 << 31) as i32
}

/// The sequence `n` records before `sequence`.
pub fn sequence_sub(sequence: i32, n: i32) -> i32 {
    (i64::from(sequence) - i64::from(n)).rem_euclid(1 << 31) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero_and_back() {
        assert_eq!(sequence_add(5, 3), 8);
        assert_eq!(sequence_add(i32::MAX, 0), i32::MAX);
        assert_eq!(sequence_add(i32::MAX, 1), 0);
        assert_eq!(sequence_add(i32::MAX - 2, 10), 7);
        assert_eq!(sequence_sub(0, 1), i32::MAX);
        assert_eq!(sequence_sub(7, 10), i32::MAX - 2);
    }
}
