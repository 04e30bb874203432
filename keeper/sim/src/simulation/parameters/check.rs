//! Reading a parameter file, and refusing one that makes no sense, by the field's name.

use std::{collections::BTreeSet, fmt::Display};

use keeper_scheduler::queueing::{Queues, RetryPolicy, Tenants};

use super::{Arrivals, Factor, ParameterSet, Parameters, PlanSet, QueuesSet, Synthetic, TenantKind, WorkloadKind};

/// All of something, in basis points.
const ALL_BPS: u32 = 10_000;

/// GPUs that a worker of the market has at most.
const MAX_GPUS_OF_PLAN: u16 = 63;

/// A parameter file is no good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// It is not of this form; the message names line and field.
    #[error("not a parameter file: {0}")]
    Malformed(String),
    /// A field makes no sense.
    #[error("{field}: {reason}")]
    Field {
        /// Where, such as `workers[0].gpus`.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
}

type Checked = Result<(), ParameterError>;

impl Parameters {
    /// Reads a file's text.
    ///
    /// # Errors
    /// Names the first field that is unknown, missing, of another type, or makes no sense.
    pub fn parse(text: &str) -> Result<Self, ParameterError> {
        let parameters: Self =
            toml::from_str(text).map_err(|error| ParameterError::Malformed(error.to_string().trim_end().to_owned()))?;
        parameters.validate()?;
        Ok(parameters)
    }

    /// Checks that the parameters can be run.
    ///
    /// # Errors
    /// Names the first field that makes no sense.
    pub fn validate(&self) -> Checked {
        check(!self.seeds.is_empty(), "seeds", "there must be one at least")?;
        check(self.seeds.iter().collect::<BTreeSet<_>>().len() == self.seeds.len(), "seeds", "one is given twice")?;
        check(self.network.loss_bps < 10_000, "network.loss_bps", "must be below 10000, or nothing ever arrives")?;
        let faults = &self.faults;
        let faulty = [faults.client_bps, faults.worker_bps, faults.infrastructure_bps, faults.hang_bps];
        let sum: u32 = faulty.into_iter().map(u32::from).sum();
        check(sum <= ALL_BPS, "faults", format!("they add up to {sum} of 10000"))?;
        check(self.clients.patience_s != Some(0), "clients.patience_s", "must be at least 1 second")?;
        self.check_workers()?;
        match &self.workload {
            WorkloadKind::Synthetic(synthetic) => self.check_synthetic(synthetic)?,
            WorkloadKind::Philly(trace) => {
                check(trace.stretch_percent > 0, "workload.stretch_percent", "must be at least 1 percent")?;
                check(self.tenants.is_empty(), "tenants", "a trace brings its own: leave them out")?;
                check(self.sla_s.contains_key("default"), "sla_s.default", "is missing: traced jobs wait there")?;
            }
        }
        self.check_tenants()?;
        check(!self.sets.is_empty(), "sets", "there must be one at least")?;
        unique("sets", self.sets.iter().map(ParameterSet::name))?;
        (0..).zip(&self.sets).try_for_each(|(place, set)| self.check_set(place, set))
    }

    fn check_workers(&self) -> Checked {
        check(!self.workers.is_empty(), "workers", "there must be one kind at least")?;
        unique("workers", self.workers.iter().map(|kind| kind.name.as_str()))?;
        for (place, kind) in self.workers.iter().enumerate() {
            let field = |name: &str| format!("workers[{place}].{name}");
            check(kind.count > 0, field("count"), "must be at least 1")?;
            check(kind.gpus > 0, field("gpus"), "must be at least 1")?;
            check(kind.slots != Some(0), field("slots"), "must be at least 1")?;
            check(kind.reputation <= 1_000, field("reputation"), "must be at most 1000")?;
            check(kind.mtbf_s != Some(0), field("mtbf_s"), "must be at least 1 second")?;
            check(kind.mttr_s > 0, field("mttr_s"), "must be at least 1 second")?;
        }
        Ok(())
    }

    fn check_synthetic(&self, workload: &Synthetic) -> Checked {
        let horizon = &self.horizon;
        let ends = horizon.jobs.or(horizon.arrivals_s).is_some();
        check(ends, "horizon", "drawn jobs come for ever: set `jobs` or `arrivals_s`")?;
        match workload.arrivals {
            Arrivals::Poisson { per_hour } => positive("workload.arrivals.per_hour", per_hour)?,
            Arrivals::Bursty { per_hour, factor, burst_s, calm_s } => {
                positive("workload.arrivals.per_hour", per_hour)?;
                positive("workload.arrivals.factor", factor)?;
                positive("workload.arrivals.burst_s", burst_s)?;
                positive("workload.arrivals.calm_s", calm_s)?;
            }
        }
        let duration = &workload.duration;
        positive("workload.duration.median_s", duration.median_s)?;
        check((0.0..=10.0).contains(&duration.sigma), "workload.duration.sigma", "must be 0 to 10")?;
        check(duration.min_s > 0, "workload.duration.min_s", "must be at least 1 second")?;
        check(duration.min_s <= duration.max_s, "workload.duration.max_s", "must not be below min_s")?;
        factor("workload.limit_factor", workload.limit_factor)?;
        if let Some(deadline) = &workload.deadline {
            let share_bps = u32::from(deadline.share_bps);
            check(share_bps <= ALL_BPS, "workload.deadline.share_bps", "must be at most 10000")?;
            factor("workload.deadline", Factor { least: deadline.least, most: deadline.most })?;
        }
        check(!workload.shapes.is_empty(), "workload.shapes", "there must be one at least")?;
        for (place, shape) in workload.shapes.iter().enumerate() {
            check(shape.gpus > 0, format!("workload.shapes[{place}].gpus"), "must be at least 1")?;
            check(shape.weight > 0, format!("workload.shapes[{place}].weight"), "must be at least 1")?;
        }
        check(!self.tenants.is_empty(), "tenants", "there must be one at least")
    }

    fn check_tenants(&self) -> Checked {
        unique("tenants", self.tenants.iter().map(|tenant| tenant.name.as_str()))?;
        for (place, tenant) in self.tenants.iter().enumerate() {
            let field = |name: &str| format!("tenants[{place}].{name}");
            let TenantKind { weight, demand, queue, least_priority: least, most_priority: most, .. } = tenant;
            check(*weight > 0, field("weight"), "must be at least 1")?;
            check(*demand > 0, field("demand"), "must be at least 1")?;
            check((1..=10).contains(least), field("least_priority"), "must be 1 to 10")?;
            check((*least..=10).contains(most), field("most_priority"), "must be least_priority to 10")?;
            let has_sla = self.sla_s.contains_key(queue);
            check(has_sla, field("queue"), format!("`{queue}` has no longest wait in sla_s"))?;
        }
        Ok(())
    }

    fn check_set(&self, place: usize, set: &ParameterSet) -> Checked {
        let at = format!("sets[{place}]");
        let RetryPolicy { max_attempts, poison_workers, .. } = set.retry();
        check(max_attempts > 0, format!("{at}.retry.max_attempts"), "must be at least 1")?;
        check(poison_workers > 0, format!("{at}.retry.poison_workers"), "must be at least 1")?;
        match set {
            ParameterSet::Queues(set) => self.check_queues(&at, set),
            ParameterSet::Plan(set) => self.check_plan(&at, set),
        }
    }

    fn check_queues(&self, at: &str, set: &QueuesSet) -> Checked {
        check(set.half_life_s > 0, format!("{at}.half_life_s"), "must be at least 1 second")?;
        if let Err(error) = Queues::new(set.queues.clone(), Tenants::new(1, 1), set.retry, 0) {
            return check(false, format!("{at}.queues"), error);
        }
        for queue in self.sla_s.keys() {
            let is_there = set.queues.iter().any(|config| config.name == *queue);
            check(is_there, format!("{at}.queues"), format!("sla_s names `{queue}`, which is not among them"))?;
        }
        let all: u64 = self.workers.iter().map(|kind| u64::from(kind.gpus) * u64::from(kind.count)).sum();
        let is_wide_enough = |gpus: u16| u64::from(gpus) <= all;
        self.check_shapes(at, "all workers together", is_wide_enough)
    }

    fn check_plan(&self, at: &str, set: &PlanSet) -> Checked {
        if let Err(error) = set.policy.validate() {
            return check(false, format!("{at}.policy"), error);
        }
        for queue in self.sla_s.keys() {
            let is_known = ["default", "high", "low"].contains(&queue.as_str());
            check(is_known, "sla_s", format!("the engine `plan` of {at} knows no queue `{queue}`"))?;
        }
        for (place, kind) in self.workers.iter().enumerate() {
            let reason = format!("the engine `plan` of {at} takes at most {MAX_GPUS_OF_PLAN}");
            check(kind.gpus <= MAX_GPUS_OF_PLAN, format!("workers[{place}].gpus"), reason)?;
        }
        let widest = self.workers.iter().map(|kind| kind.gpus).max().unwrap_or(0);
        self.check_shapes(at, "the widest worker, and the engine `plan` has no gangs", |gpus| gpus <= widest)
    }

    /// That no width is drawn that would wait for ever.
    fn check_shapes(&self, at: &str, room: &str, fits: impl Fn(u16) -> bool) -> Checked {
        let WorkloadKind::Synthetic(workload) = &self.workload else { return Ok(()) };
        for (place, shape) in workload.shapes.iter().enumerate() {
            let reason = format!("{} are more than {room} ({at})", shape.gpus);
            check(fits(shape.gpus), format!("workload.shapes[{place}].gpus"), reason)?;
        }
        Ok(())
    }
}

fn check(holds: bool, field: impl Into<String>, reason: impl Display) -> Checked {
    if holds { Ok(()) } else { Err(ParameterError::Field { field: field.into(), reason: reason.to_string() }) }
}

fn positive(field: &str, value: f64) -> Checked {
    check(value.is_finite() && value > 0.0, field, format!("must be above 0, not {value}"))
}

fn factor(field: &str, factor: Factor) -> Checked {
    positive(&format!("{field}.least"), factor.least)?;
    let is_ordered = factor.most.is_finite() && factor.most >= factor.least;
    check(is_ordered, format!("{field}.most"), "must not be below least")
}

fn unique<'a>(field: &str, names: impl Iterator<Item = &'a str>) -> Checked {
    let mut seen = BTreeSet::new();
    for (place, name) in names.enumerate() {
        check(!name.is_empty(), format!("{field}[{place}].name"), "must not be empty")?;
        check(seen.insert(name), format!("{field}[{place}].name"), format!("`{name}` is given twice"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
