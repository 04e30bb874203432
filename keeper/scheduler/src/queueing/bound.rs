//! How long a job waits at most.

/// What a bound on waiting needs to know about a market.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarketLimits {
    /// GPUs of the cluster.
    pub capacity_gpus: u32,
    /// GPUs that the widest job asks for.
    pub widest_gpus: u32,
    /// The longest limit of a job, in seconds.
    pub longest_limit_s: u32,
    /// Tenants that there are.
    pub tenants: u32,
    /// The difference between the longest and the shortest maximum wait of the queues, in seconds.
    pub max_wait_spread_s: u32,
}

impl MarketLimits {
    /// GPUs that are certainly busy whenever the job at the head of the queue does not fit, where any GPUs will do:
    /// what [`Tenants::new`](super::Tenants::new) takes as promised.
    pub fn promised_gpus(&self) -> u32 {
        (self.capacity_gpus + 1).saturating_sub(self.widest_gpus).max(1)
    }

    /// How long after it is due a job starts at most, in seconds, under [`Balanced`](super::Balanced):
    ///
    /// ```text
    /// spread + (capacity * longest + tenants * widest * longest) / promised + 2
    /// ```
    ///
    /// The first product is what may run when the job falls due, the second one job of each tenant that the
    /// virtual clock lets through early, and 2 seconds are rounding. The theorem with its assumptions and proof
    /// stands in `docs/design/0011-queues.md`.
    pub fn lateness_s(&self) -> u64 {
        let longest = u128::from(self.longest_limit_s);
        let running = u128::from(self.capacity_gpus) * longest;
        let early = u128::from(self.tenants) * u128::from(self.widest_gpus) * longest;
        let service = (running + early).div_ceil(u128::from(self.promised_gpus()));
        u64::try_from(service).unwrap_or(u64::MAX).saturating_add(u64::from(self.max_wait_spread_s) + 2)
    }
}
