//! Waiting times counted in buckets, so that percentiles cost constant memory however many jobs there are.

/// Buckets of a power of two: values are known to within one part in 32.
const STEPS: usize = 32;
const STEP_BITS: u32 = STEPS.ilog2();
/// Values below 64 have a bucket each; then 32 buckets for each of the 26 higher powers of two.
const BUCKETS: usize = STEPS * 28;

/// Counts of values of 32 bits, exact below 64 and to within 1/32 above, after the scheme of HdrHistogram.
///
/// Count, sum and the largest value are exact. Adding is constant time and never allocates.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    count: u64,
    sum: u64,
    max: u32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), count: 0, sum: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts a value.
    pub fn add(&mut self, value: u32) {
        self.counts[bucket(value)] += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(u64::from(value));
        self.max = self.max.max(value);
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The mean in thousandths, rounded down; 0 for no values.
    pub fn mean_milli(&self) -> u64 {
        let milli = (u128::from(self.sum) * 1_000).checked_div(u128::from(self.count)).unwrap_or(0);
        u64::try_from(milli).unwrap_or(u64::MAX)
    }

    /// The largest value; 0 for no values.
    pub fn max(&self) -> u32 {
        self.max
    }

    /// The value that `bps` basis points of the values do not exceed, rounded up to the end of its bucket and never
    /// above the largest value; 0 for no values.
    pub fn quantile(&self, bps: u16) -> u32 {
        let rank = (u128::from(self.count) * u128::from(bps)).div_ceil(10_000).max(1);
        let mut seen = 0_u128;
        for (index, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= rank {
                return last_of(index).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(value: u32) -> usize {
    let shift = value.checked_ilog2().unwrap_or(0).saturating_sub(STEP_BITS);
    // Above 64, the leading six bits choose the bucket: a power of two and one of its 32 steps.
    (shift as usize) * STEPS + (value >> shift) as usize
}

/// The largest value of a bucket.
fn last_of(bucket: usize) -> u32 {
    if bucket < 2 * STEPS {
        return u32::try_from(bucket).unwrap_or(u32::MAX);
    }
    let shift = bucket / STEPS - 1;
    let leading = (bucket - shift * STEPS) as u64;
    u32::try_from(((leading + 1) << shift) - 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_has_no_quantiles() {
        let empty = Histogram::default();
        assert_eq!((empty.count(), empty.mean_milli(), empty.quantile(9_900), empty.max()), (0, 0, 0, 0));
    }

    #[test]
    fn every_value_has_a_bucket() {
        assert_eq!(bucket(u32::MAX), BUCKETS - 1);
        assert_eq!(last_of(BUCKETS - 1), u32::MAX);
        assert_eq!([63, 64, 65, 66].map(bucket), [63, 64, 64, 65]);
    }

    proptest! {
        #[test]
        fn a_bucket_ends_within_one_part_in_32(value: u32) {
            let last = last_of(bucket(value));
            prop_assert!(last >= value && last - value <= value / 32);
        }

        #[test]
        fn quantiles_are_those_of_the_sorted_values(values in prop::collection::vec(any::<u32>(), 1..200), bps in 1_u16..=10_000) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|value| histogram.add(*value));
            let mut sorted = values;
            sorted.sort_unstable();
            let exact = sorted[(sorted.len() * usize::from(bps)).div_ceil(10_000) - 1];
            let shown = histogram.quantile(bps);
            prop_assert!(shown >= exact && shown - exact <= exact / 32);
            let sum: u64 = sorted.iter().map(|value| u64::from(*value)).sum();
            prop_assert_eq!(histogram.mean_milli(), sum * 1_000 / sorted.len() as u64);
            prop_assert_eq!(histogram.max(), sorted[sorted.len() - 1]);
        }
    }
}
