//! Fetching memory into the cache before it is needed. Called by the reactor and by channels, for the next events of a
//! batch while the kernel works on this one.
//!
//! Only a hint: an address that nothing is mapped at is ignored by the processor, and where there is no such instruction
//! nothing happens.

/// The bytes of a cache line on the processors that this is for.
const LINE: usize = 64;

/// No more than so many lines of one value: a processor has room for about a dozen under way.
const LINES_MAX: usize = 6;

/// Fetches a value, its first 384 bytes at most.
#[inline]
pub fn prefetch<T: ?Sized>(value: &T) {
    let start = std::ptr::from_ref(value).cast::<u8>();
    let lines = (size_of_val(value) + LINE - 1 + start.addr() % LINE) / LINE;
    for line in 0..lines.min(LINES_MAX) {
        fetch_line(start.wrapping_add(line * LINE));
    }
}

#[inline(always)]
fn fetch_line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint that neither reads nor writes as the program sees it; SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a hint that neither reads nor writes as the program sees it, and touches no register.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_value_may_be_fetched_and_stays_as_it_is() {
        let numbers: Vec<u64> = (0..1000).collect();
        prefetch(&numbers[..]);
        prefetch::<[u64]>(&[]);
        prefetch(&());
        assert_eq!(numbers.iter().sum::<u64>(), 499_500);
    }
}
