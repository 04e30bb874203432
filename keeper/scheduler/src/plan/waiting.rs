//! How long a job waits at most, round after round.

/// What bounds the wait of a job in rounds of [`plan`](crate::plan()) under
/// [`Ordering::Balanced`](crate::Ordering::Balanced): who falls due is served before everybody who is not, so that
/// nothing that is submitted later stands in its way, and when it falls due depends on its own client.
///
/// ```text
/// due   = submitted + longest wait of its queue + own work / (weight / weights * promised GPUs)
/// start = due + longest limit + 2 pauses + work ahead / slots
/// ```
///
/// The assumptions and the proof stand in `docs/design/0015-one-round.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingBound {
    /// What the job's client counts in fair sharing; at least 1.
    pub weight: u32,
    /// The most that the weights of all clients with open jobs add up to while the job waits.
    pub weights: u64,
    /// GPUs of all active workers, less those of the widest job, plus one: at least 1.
    pub promised_gpus: u32,
    /// Slots of the workers that meet what the job needs; at least 1.
    pub slots: u32,
    /// The longest that a job holds its worker, in seconds.
    pub longest_limit_s: u32,
    /// The longest time between two rounds, in seconds.
    pub pause_s: u32,
}

impl WaitingBound {
    /// From when on the job is due in every round, at the latest: Unix timestamp in seconds.
    ///
    /// `own_gpu_s` is what its client had been served when the job was submitted, in decayed GPU-seconds, with the
    /// areas (GPUs times limit) of this job, of those of the client that were open before it, twice, since they count
    /// both as open and as served, and of those that the client submits later and that start earlier. `own_jobs` is how
    /// many jobs these are; each is rounded up to a millisecond.
    pub fn due_by(&self, submitted_at: u64, max_wait_s: u32, own_gpu_s: u64, own_jobs: u64) -> u64 {
        let share = u128::from(self.weight.max(1)) * u128::from(self.promised_gpus.max(1));
        let served_ms = (u128::from(own_gpu_s) * 1_000 * u128::from(self.weights)).div_ceil(share);
        let served_s = (served_ms + u128::from(own_jobs)).div_ceil(1_000);
        let served_s = u64::try_from(served_s).unwrap_or(u64::MAX);
        submitted_at.saturating_add(u64::from(max_wait_s)).saturating_add(served_s)
    }

    /// When the job starts at the latest: Unix timestamp in seconds.
    ///
    /// `ahead_s` are the limits of the jobs that still wait when this one falls due and whose submission, with the
    /// longest wait of their queue, is not later than that, each with a pause.
    pub fn start_by(&self, due_by: u64, ahead_s: u64) -> u64 {
        let fixed_s = u64::from(self.longest_limit_s) + 2 * u64::from(self.pause_s);
        due_by.saturating_add(fixed_s).saturating_add(ahead_s.div_ceil(u64::from(self.slots.max(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_the_sum_of_its_parts() {
        let bound =
            WaitingBound { weight: 1, weights: 4, promised_gpus: 10, slots: 5, longest_limit_s: 600, pause_s: 3 };
        // A quarter of 10 GPUs serves 100 GPU-seconds in 40 s.
        let due_by = bound.due_by(1_000, 60, 100, 0);
        assert_eq!(due_by, 1_100);
        assert_eq!(bound.due_by(1_000, 60, 100, 3), 1_101, "every job is rounded up");
        assert_eq!(bound.start_by(due_by, 251), 1_100 + 600 + 6 + 51);
    }
}
