//! Rows of a slice, without a panic: `chunks_exact` has one, for a width of 0, and a division that a linker cannot see to be
//! safe.

/// The rows of `x`, `(rows, width)`; what is left over is no row, and without a width there is none.
#[inline(always)]
pub fn by_rows<T>(x: &[T], width: usize) -> impl Iterator<Item = &[T]> {
    let mut rest = x;
    core::iter::from_fn(move || {
        let (row, behind) = rest.split_at_checked(width)?;
        rest = behind;
        (width > 0).then_some(row)
    })
}

/// The same to be written.
#[inline(always)]
pub fn by_rows_mut<T>(x: &mut [T], width: usize) -> impl Iterator<Item = &mut [T]> {
    let mut rest = x;
    core::iter::from_fn(move || {
        let (row, behind) = core::mem::take(&mut rest).split_at_mut_checked(width)?;
        rest = behind;
        (width > 0).then_some(row)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn rows_are_whole_and_a_width_of_0_has_none() {
        let mut x = [1, 2, 3, 4, 5];
        assert_eq!(by_rows(&x, 2).collect::<Vec<_>>(), [[1, 2], [3, 4]]);
        assert_eq!(by_rows_mut(&mut x, 3).map(|row| row.len()).collect::<Vec<_>>(), [3]);
        assert_eq!((by_rows(&x, 0).count(), by_rows(&x, 6).count(), by_rows::<u8>(&[], 1).count()), (0, 0, 0));
    }
}
