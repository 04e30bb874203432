//! What every tenant has used, weighted and decayed, and what it is promised.

use keeper_types::decay::{accrued, halving, log2_q10, multiply_q32};

use super::pending::TenantIndex;

/// One tenant's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its part of the capacity, relative to the other tenants' weights; at least 1.
    pub weight: u32,
    /// GPUs that it holds now.
    pub held_gpus: u32,
    /// GPUs that its waiting jobs ask for, all at once.
    pub awaited_gpus: u64,
    /// Decayed use in thousandths of a GPU-second, as of `settled_s`.
    used_milli: u64,
    /// Until when its use is counted: Unix timestamp in seconds.
    settled_s: u32,
    /// Until when its share of the capacity is promised to jobs that it has submitted: Unix timestamp in
    /// thousandths of a second.
    promised_ms: u64,
}

/// All tenants, by index.
///
/// **Use** is the integral over time of the GPUs held, of which every half-life halves the weight of the past. It is
/// kept in fixed point and computed from the closed form of the integral, so that it does not matter how often an
/// account is settled, but for rounding.
#[derive(Clone, Debug)]
pub struct Tenants {
    tenants: Vec<Tenant>,
    half_life_s: u32,
    /// GPUs that promises count on; see [`Tenants::promise`].
    promised_gpus: u32,
    weights: u64,
    /// See [`Tenants::contention_q10`].
    contention_q10: u32,
}

impl Tenants {
    /// Nobody yet. `promised_gpus` is what promises may count on: the GPUs that are certainly busy whenever the job
    /// at the head of the queue does not fit.
    pub fn new(half_life_s: u32, promised_gpus: u32) -> Self {
        Self {
            tenants: Vec::new(),
            half_life_s: half_life_s.max(1),
            promised_gpus: promised_gpus.max(1),
            weights: 0,
            contention_q10: 0,
        }
    }

    /// Adds a tenant and gives it a number. A new tenant lowers the shares of the others from then on.
    ///
    /// # Panics
    /// With 2^32 tenants.
    pub fn add(&mut self, weight: u32, now_s: u32) -> TenantIndex {
        let index = u32::try_from(self.tenants.len()).expect("memory ends before 2^32 tenants do");
        let weight = weight.max(1);
        self.weights += u64::from(weight);
        let (used_milli, promised_ms) = (0, 0);
        self.tenants.push(Tenant { weight, held_gpus: 0, awaited_gpus: 0, used_milli, settled_s: now_s, promised_ms });
        TenantIndex(index)
    }

    /// Counts use that is not accrued here: from before the tenant was added, or ahead of time. Thousandths of a
    /// GPU-second.
    ///
    /// # Panics
    /// With a number that [`Tenants::add`] never gave.
    pub fn charge(&mut self, tenant: TenantIndex, used_milli: u64) {
        let account = self.account(tenant);
        account.used_milli = account.used_milli.saturating_add(used_milli);
    }

    /// How many tenants there are.
    pub fn len(&self) -> usize {
        self.tenants.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }

    /// The sum of all weights.
    pub fn weights(&self) -> u64 {
        self.weights
    }

    /// A tenant's account.
    ///
    /// # Panics
    /// With a number that [`Tenants::add`] never gave.
    pub fn get(&self, tenant: TenantIndex) -> &Tenant {
        &self.tenants[tenant.0 as usize]
    }

    /// All accounts, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Tenant> {
        self.tenants.iter()
    }

    /// Counts every tenant's use until now, after which [`Tenant::used_milli`] is current.
    pub fn settle(&mut self, now_s: u32) {
        for tenant in &mut self.tenants {
            tenant.settle(now_s, self.half_life_s);
        }
    }

    /// A tenant takes GPUs.
    pub fn hold(&mut self, tenant: TenantIndex, gpus: u32, now_s: u32) {
        let half_life_s = self.half_life_s;
        let account = self.account(tenant);
        account.settle(now_s, half_life_s);
        account.held_gpus = account.held_gpus.saturating_add(gpus);
    }

    /// A tenant gives GPUs back.
    pub fn release(&mut self, tenant: TenantIndex, gpus: u32, now_s: u32) {
        let half_life_s = self.half_life_s;
        let account = self.account(tenant);
        account.settle(now_s, half_life_s);
        account.held_gpus = account.held_gpus.saturating_sub(gpus);
    }

    /// A job of the tenant begins to wait.
    pub fn enqueue(&mut self, tenant: TenantIndex, gpus: u16) {
        self.account(tenant).awaited_gpus += u64::from(gpus);
    }

    /// A job of the tenant waits no longer.
    pub fn dequeue(&mut self, tenant: TenantIndex, gpus: u16) {
        let account = self.account(tenant);
        account.awaited_gpus = account.awaited_gpus.saturating_sub(u64::from(gpus));
    }

    /// How often over the capacity was asked for as of the last [`Tenants::measure`]: the binary logarithm of demand
    /// by capacity in 1/1,024; 0 where there is enough for all.
    pub fn contention_q10(&self) -> u32 {
        self.contention_q10
    }

    /// Notes how demand stands to capacity, for [`Tenants::contention_q10`].
    pub fn measure(&mut self, capacity_gpus: u32) {
        let asks = |tenant: &Tenant| u64::from(tenant.held_gpus).saturating_add(tenant.awaited_gpus);
        let demand = self.tenants.iter().map(asks).fold(0, u64::saturating_add);
        let ratio_q10 = (u128::from(demand) << 10) / u128::from(capacity_gpus.max(1));
        self.contention_q10 = log2_q10(u64::try_from(ratio_q10).unwrap_or(u64::MAX)).saturating_sub(10 << 10);
    }

    /// Promises a share of the capacity to a job of `area` GPU-seconds: when the tenant's own share alone would have
    /// served it, after all that the tenant submitted before. Unix timestamp in seconds, rounded up.
    ///
    /// This is the virtual clock of L. Zhang (SIGCOMM 1990): a tenant that submits more than its share of
    /// `promised_gpus` runs ahead of time and is promised later and later; the others are promised what they were.
    pub fn promise(&mut self, tenant: TenantIndex, area: u64, now_s: u32) -> u32 {
        let (gpus, weights) = (self.promised_gpus, self.weights);
        let account = self.account(tenant);
        let share = u128::from(account.weight) * u128::from(gpus);
        let service_ms = (u128::from(area) * 1_000 * u128::from(weights)).div_ceil(share);
        let from_ms = account.promised_ms.max(u64::from(now_s) * 1_000);
        account.promised_ms = from_ms.saturating_add(u64::try_from(service_ms).unwrap_or(u64::MAX));
        u32::try_from(account.promised_ms.div_ceil(1_000)).unwrap_or(u32::MAX)
    }

    fn account(&mut self, tenant: TenantIndex) -> &mut Tenant {
        &mut self.tenants[tenant.0 as usize]
    }
}

impl Tenant {
    /// Decayed use in thousandths of a GPU-second, as of the last [`Tenants::settle`].
    pub fn used_milli(&self) -> u64 {
        self.used_milli
    }

    /// Decayed use by weight, in thousandths of a GPU-second for a weight of 1.
    pub fn used_by_weight(&self) -> u64 {
        self.used_milli / u64::from(self.weight)
    }

    fn settle(&mut self, now_s: u32, half_life_s: u32) {
        let elapsed_s = u64::from(now_s.saturating_sub(self.settled_s));
        if elapsed_s == 0 {
            return;
        }
        let half_life_s = u64::from(half_life_s);
        let old = multiply_q32(self.used_milli, halving(elapsed_s, half_life_s));
        let new = accrued(u64::from(self.held_gpus) * 1_000, elapsed_s, half_life_s);
        self.used_milli = old.saturating_add(new);
        self.settled_s = now_s;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn use_accrues_while_gpus_are_held_and_halves_afterwards() {
        let mut tenants = Tenants::new(3_600, 8);
        let tenant = tenants.add(2, 0);
        tenants.hold(tenant, 4, 1_000);
        tenants.release(tenant, 4, 1_010);
        let used = tenants.get(tenant).used_milli();
        assert!((39_900..=40_000).contains(&used), "10 s of 4 GPUs, barely decayed: {used}");
        tenants.settle(1_010 + 3_600);
        assert_eq!(tenants.get(tenant).used_milli(), used / 2);
        assert_eq!(tenants.get(tenant).used_by_weight(), used / 4);
    }

    #[test]
    fn a_promise_is_the_end_of_the_tenants_own_share() {
        let mut tenants = Tenants::new(3_600, 100);
        let (light, heavy) = (tenants.add(1, 0), tenants.add(3, 0));
        // A quarter of 100 GPUs serves 2,500 GPU-seconds in 100 s, three quarters in 33.4 s.
        assert_eq!(tenants.promise(light, 2_500, 1_000), 1_100);
        assert_eq!(tenants.promise(heavy, 2_500, 1_000), 1_034);
        assert_eq!(tenants.promise(light, 2_500, 1_000), 1_200, "behind its own first job");
        assert_eq!(tenants.promise(light, 2_500, 5_000), 5_100, "an idle share is not saved up");
    }

    proptest! {
        #[test]
        fn settling_more_often_changes_nothing_but_rounding(holds in prop::collection::vec((1_u32..5_000, 0_u32..64), 1..40)) {
            let (mut often, mut seldom) = (Tenants::new(10_000, 1), Tenants::new(10_000, 1));
            let tenant = often.add(1, 0);
            seldom.add(1, 0);
            let mut now_s = 0;
            for (elapsed_s, gpus) in holds {
                for accounts in [&mut often, &mut seldom] {
                    let held = accounts.get(tenant).held_gpus;
                    accounts.release(tenant, held, now_s);
                    accounts.hold(tenant, gpus, now_s);
                }
                for part in 1..=7 {
                    often.settle(now_s + elapsed_s * part / 7);
                }
                now_s += elapsed_s;
            }
            seldom.settle(now_s);
            let (often, seldom) = (often.get(tenant).used_milli(), seldom.get(tenant).used_milli());
            prop_assert!(often.abs_diff(seldom) <= 600, "{often} {seldom}");
        }
    }
}
