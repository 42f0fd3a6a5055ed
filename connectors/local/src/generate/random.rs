//! Repeatable randomness with random access: SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
//! generators", OOPSLA 2014), one short sequence per trip and purpose.
//!
//! Not for secrets. The same seed gives the same trips on every machine and in every later release.

/// The golden ratio in 64 bits: SplitMix64's increment.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64's output function: a bijection that spreads every bit.
const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A sequence of random numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of trip `index` for one `purpose`.
    pub(crate) fn new(seed: u64, purpose: u64, index: u64) -> Self {
        Self(mix(mix(seed.wrapping_add(purpose.wrapping_mul(GAMMA))).wrapping_add(index.wrapping_mul(GAMMA))))
    }
    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }
    /// A number below `bound` (the bias of the multiply-shift method is far below what anyone could see here).
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }
    /// A number from `low` up to and with `high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }
    /// Whether something of this share happens.
    pub(crate) fn happens(&mut self, share: Share) -> bool {
        share.covers(self.bits())
    }
}

/// A share between 0 and 1, as the bound below which 64 random bits must lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share(u64);

impl Share {
    pub(crate) fn new(share: f64) -> Self {
        // `as` saturates: 1.0 becomes the greatest number, which misses once in 2^64.
        Self((share * 18_446_744_073_709_551_616.0) as u64)
    }
    /// Whether 64 random bits fall into it.
    pub(crate) fn covers(self, bits: u64) -> bool {
        bits < self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        // Reference: SplitMix64 from state 0 gives these first.
        let mut random = Random(0);
        assert_eq!(random.bits(), 0xE220_A839_7B1D_CDAF);
        assert_eq!(random.bits(), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn shares_are_met() {
        let share = Share::new(0.01);
        let hits = (0..1_000_000).filter(|i| Random::new(1, 2, *i).happens(share)).count();
        assert!((9_500..10_500).contains(&hits), "{hits}");
        assert!(!Random::new(1, 2, 3).happens(Share::new(0.0)));
    }
}
