//! Whether virtual clusters got what they were entitled to, hour by hour.

/// Jain, Chiu and Hawe's index (DEC-TR-301, 1984): 1 when all are equal, 1/n when one has everything; 1 for nobody.
pub fn jain(values: &[f64]) -> f64 {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|value| value * value).sum();
    if squares == 0.0 { 1.0 } else { sum * sum / (count(values) * squares) }
}

#[allow(clippy::cast_precision_loss, reason = "a few virtual clusters")]
fn count(values: &[f64]) -> f64 {
    values.len() as f64
}

/// Max-min fair shares of `capacity` for these demands by these weights, which are above 0: nobody gets more than it
/// asks for, and what one leaves is divided among the others.
pub fn entitlements(demands: &[f64], weights: &[f64], capacity: f64) -> Vec<f64> {
    let by_weight = |index: usize| demands[index] / weights[index];
    let mut order: Vec<usize> = (0..demands.len()).collect();
    order.sort_by(|left, right| by_weight(*left).total_cmp(&by_weight(*right)));
    let mut shares = vec![0.0; demands.len()];
    let mut left = capacity;
    for (rank, index) in order.iter().enumerate() {
        let others: f64 = order[rank..].iter().map(|other| weights[*other]).sum();
        shares[*index] = demands[*index].min(left * weights[*index] / others);
        left -= shares[*index];
    }
    shares
}

/// GPU-seconds that each virtual cluster received and demanded, an hour at a time.
#[derive(Debug)]
pub(crate) struct HourlyFairness {
    capacity_gpus: f64,
    weights: Vec<f64>,
    hour_ends_s: u32,
    received: Vec<f64>,
    demanded: Vec<f64>,
    sum: f64,
    contended_hours: u32,
}

const HOUR_S: u32 = 3_600;

impl HourlyFairness {
    /// `weights` are those of the virtual clusters.
    pub(crate) fn new(weights: Vec<f64>, capacity_gpus: u32, from_s: u32) -> Self {
        Self {
            capacity_gpus: f64::from(capacity_gpus),
            hour_ends_s: from_s.saturating_add(HOUR_S),
            received: vec![0.0; weights.len()],
            demanded: vec![0.0; weights.len()],
            weights,
            sum: 0.0,
            contended_hours: 0,
        }
    }

    /// From `from_s` to `to_s`, each virtual cluster held and awaited these GPUs.
    pub(crate) fn add(&mut self, held_and_awaited: &[(u64, u64)], mut from_s: u32, to_s: u32) {
        while from_s < to_s {
            let until_s = to_s.min(self.hour_ends_s);
            let seconds = f64::from(until_s - from_s);
            for (index, (held, awaited)) in held_and_awaited.iter().enumerate() {
                self.received[index] += exact(*held) * seconds;
                self.demanded[index] += exact(held + awaited) * seconds;
            }
            from_s = until_s;
            if until_s == self.hour_ends_s {
                self.close_hour();
            }
        }
    }

    /// The mean index over the hours in which more was demanded than there was, and their number.
    pub(crate) fn finish(self) -> (f64, u32) {
        let hours = f64::from(self.contended_hours);
        (if hours == 0.0 { 1.0 } else { self.sum / hours }, self.contended_hours)
    }

    fn close_hour(&mut self) {
        let capacity = self.capacity_gpus * f64::from(HOUR_S);
        if self.demanded.iter().sum::<f64>() > capacity {
            let entitled = entitlements(&self.demanded, &self.weights, capacity);
            let pairs = self.received.iter().zip(&entitled).filter(|(_, entitled)| **entitled > 0.0);
            let parts: Vec<f64> = pairs.map(|(received, entitled)| received / entitled).collect();
            self.sum += jain(&parts);
            self.contended_hours += 1;
        }
        self.received.fill(0.0);
        self.demanded.fill(0.0);
        self.hour_ends_s = self.hour_ends_s.saturating_add(HOUR_S);
    }
}

#[allow(clippy::cast_precision_loss, reason = "GPUs of a cluster stay far below 2^52")]
fn exact(gpus: u64) -> f64 {
    gpus as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_one_for_equals_and_one_nth_for_a_monopoly() {
        assert!((jain(&[2.0, 2.0, 2.0]) - 1.0).abs() < 1e-12);
        assert!((jain(&[5.0, 0.0, 0.0, 0.0]) - 0.25).abs() < 1e-12);
        assert!((jain(&[]) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn what_a_small_demand_leaves_goes_to_the_others() {
        assert_eq!(entitlements(&[10.0, 1.0, 10.0], &[1.0; 3], 9.0), [4.0, 1.0, 4.0]);
        assert_eq!(entitlements(&[1.0, 2.0], &[1.0; 2], 9.0), [1.0, 2.0]);
        assert_eq!(entitlements(&[10.0, 1.0, 10.0], &[3.0, 1.0, 1.0], 9.0), [6.0, 1.0, 2.0], "3 to 1 of what is left");
    }

    #[test]
    fn only_hours_with_more_demand_than_capacity_count() {
        let mut fairness = HourlyFairness::new(vec![1.0; 2], 4, 0);
        fairness.add(&[(1, 0), (1, 0)], 0, 3_600);
        // Both ask for four of the four GPUs, and one holds them all: parts 2 and 0 of an entitlement of 2.
        fairness.add(&[(4, 0), (0, 4)], 3_600, 7_200);
        assert_eq!(fairness.finish(), (0.5, 1));
    }
}
