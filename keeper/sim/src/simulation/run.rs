//! One run: events in order of time, and a scheduler that is told of them when a keeper would be.

mod endings;
mod failures;

use std::collections::BTreeMap;

use keeper_scheduler::queueing::{Assignment, FailureClass, Gang, RetryPolicy};
use keeper_types::{JobId, WorkerId};

use super::{
    engine::{Engine, Placement, Submission, engine},
    events::{Event, Events, Try},
    figures::Figures,
    jobs::{Job, Jobs, SECOND_MS, tenants},
    machines::Machine,
    parameters::{Faults, ParameterSet, Parameters},
    tally::Tally,
};
use crate::{
    draws::{Draws, Purpose},
    philly::Trace,
};

/// Something that happened in a run, for whoever watches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A job arrived.
    Submitted(Job),
    /// A round placed a job on these workers, with so many GPUs on each.
    Placed(JobId, Gang),
    /// It began there.
    Begun(JobId),
    /// The attempt is over: it succeeded, or failed like this.
    Ended(JobId, Option<FailureClass>),
    /// A job is given up or was taken back; it is over.
    Left(JobId),
    /// A worker failed.
    Failed(WorkerId),
    /// It is back.
    Returned(WorkerId),
}

/// Runs a set on a seed. `trace` is the one that the workload names, if it names one.
///
/// # Panics
/// Where the scheduler places a job where there is no room, or one that does not wait.
pub fn run(parameters: &Parameters, set: &ParameterSet, trace: Option<&Trace>, seed: u64) -> Figures {
    watch(parameters, set, trace, seed, &mut |_, _| {})
}

/// The same, telling `watcher` of everything that happens and when: milliseconds from the start.
///
/// # Panics
/// As [`run`].
pub fn watch(
    parameters: &Parameters,
    set: &ParameterSet,
    trace: Option<&Trace>,
    seed: u64,
    watcher: &mut dyn FnMut(u64, Happening),
) -> Figures {
    let mut run = Run::new(parameters, set, trace, seed, watcher);
    while let Some((at_ms, event)) = run.events.next() {
        if at_ms > run.ends_ms {
            run.advance(run.ends_ms);
            break;
        }
        run.advance(at_ms);
        run.happen(event);
        if run.next_job.is_none() && run.live.is_empty() {
            break;
        }
    }
    run.finish()
}

/// A job that is not over.
struct Live {
    job: Job,
    tries: u32,
    has_begun: bool,
    attempt: Option<Attempt>,
}

/// A try that the scheduler has placed.
struct Attempt {
    gang: Gang,
    placed_ms: u64,
    begun_ms: Option<u64>,
    /// The worker that failed under it.
    broken_by: Option<u32>,
}

struct Run<'a> {
    parameters: &'a Parameters,
    retry: RetryPolicy,
    seed: u64,
    engine: Box<dyn Engine>,
    jobs: Jobs,
    next_job: Option<Job>,
    live: BTreeMap<JobId, Live>,
    machines: Vec<Machine<'a>>,
    events: Events,
    tally: Tally,
    now_ms: u64,
    ends_ms: u64,
    is_round_due: bool,
    watcher: &'a mut dyn FnMut(u64, Happening),
}

impl<'a> Run<'a> {
    fn new(
        parameters: &'a Parameters,
        set: &ParameterSet,
        trace: Option<&Trace>,
        seed: u64,
        watcher: &'a mut dyn FnMut(u64, Happening),
    ) -> Self {
        let tenants = tenants(parameters, trace);
        let mut run = Self {
            retry: set.retry(),
            engine: engine(set, &parameters.workers, &tenants),
            jobs: Jobs::new(parameters, trace, seed),
            next_job: None,
            live: BTreeMap::new(),
            machines: Machine::all(&parameters.workers, seed),
            events: Events::default(),
            tally: Tally::new(parameters, &tenants),
            now_ms: 0,
            ends_ms: u64::MAX,
            is_round_due: false,
            parameters,
            seed,
            watcher,
        };
        for worker in (0..).take(run.machines.len()) {
            run.let_fail(worker);
        }
        run.await_next_job();
        run
    }

    fn now_s(&self) -> u32 {
        u32::try_from(self.now_ms / SECOND_MS).unwrap_or(u32::MAX)
    }

    fn advance(&mut self, now_ms: u64) {
        self.tally.advance(now_ms);
        self.now_ms = now_ms;
    }

    fn after(&mut self, ms: u64, event: Event) {
        self.events.at(self.now_ms.saturating_add(ms), event);
    }

    fn tell(&mut self, happening: Happening) {
        (self.watcher)(self.now_ms, happening);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival => self.arrive(),
            Event::Round => self.decide(),
            Event::Begin(of) => self.begin(of),
            Event::End(of, class) => self.end(of, class),
            Event::Check(of) => self.check(of),
            Event::Fail(worker) => self.worker_fails(worker),
            Event::Notice(worker, failure) => self.notice(worker, failure),
            Event::Return(worker) => self.worker_returns(worker),
            Event::Cancel(job_id) => self.cancel(job_id),
            Event::Deadline(job_id) => self.deadline_passes(job_id),
            Event::Wake => self.ask_for_round(0),
        }
    }

    /// Lets the scheduler decide at the next round that is not sooner than in `after_ms`, once.
    fn ask_for_round(&mut self, after_ms: u64) {
        if !self.is_round_due {
            self.is_round_due = true;
            let from_ms = self.now_ms + after_ms;
            let period_ms = self.parameters.network.round_ms;
            let at_ms = if period_ms == 0 { from_ms } else { from_ms.div_ceil(period_ms) * period_ms };
            self.events.at(at_ms, Event::Round);
        }
    }

    fn await_next_job(&mut self) {
        self.next_job = self.jobs.next();
        match &self.next_job {
            Some(job) => self.events.at(job.submitted_ms, Event::Arrival),
            None => {
                self.tally.arrivals_are_over();
                self.ends_ms = self.now_ms.saturating_add(self.parameters.horizon.drain_s.saturating_mul(SECOND_MS));
            }
        }
    }

    fn arrive(&mut self) {
        let Some(job) = self.next_job.take() else { return };
        self.tell(Happening::Submitted(job.clone()));
        self.tally.counts.submitted += 1;
        self.tally.counts.with_deadline += u64::from(job.deadline_s.is_some());
        match self.engine.submit(&job, self.now_s()) {
            Submission::Refused => self.tally.counts.refused += 1,
            Submission::Queued { shed } => {
                if let Some(shed) = shed {
                    self.give_up_waiting(shed, "shed");
                }
                self.await_start(job);
            }
        }
        self.await_next_job();
    }

    fn await_start(&mut self, job: Job) {
        let job_id = job.job_id;
        if let Some(mean_s) = self.parameters.clients.patience_s {
            let patience_s = Draws::new(self.seed, Purpose::Patience, job_id.0).exponential(f64::from(mean_s));
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float saturates")]
            self.after((patience_s * 1_000.0) as u64, Event::Cancel(job_id));
        }
        if let Some(passed_ms) = self.deadline_ms(&job) {
            self.events.at(passed_ms.max(self.now_ms), Event::Deadline(job_id));
        }
        self.tally.wait(&job);
        self.live.insert(job_id, Live { job, tries: 0, has_begun: false, attempt: None });
        self.ask_for_round(0);
    }

    fn decide(&mut self) {
        self.is_round_due = false;
        self.tally.counts.rounds += 1;
        let placements = self.engine.decide(self.now_s());
        let is_cut_short = placements.len() >= self.engine.most_placements();
        for placement in placements {
            self.place(placement);
        }
        if is_cut_short {
            // The rest goes into the next block; without blocks, into the next second.
            self.ask_for_round(if self.parameters.network.round_ms == 0 { SECOND_MS } else { 1 });
        }
    }

    fn place(&mut self, Placement { job_id, gang }: Placement) {
        self.tell(Happening::Placed(job_id, gang.clone()));
        let live = self.live.get_mut(&job_id).expect("only jobs that are not over are placed");
        assert!(live.attempt.is_none(), "job {job_id} was placed a second time");
        live.tries += 1;
        let of = (job_id, live.tries);
        for (worker, gpus) in &gang {
            self.machines[*worker as usize].hold(job_id, *gpus);
        }
        self.tally.wait_no_more(&live.job);
        let first = gang.first().map_or(0, |(worker, _)| *worker);
        self.tally.place(&live.job, self.machines[first as usize].kind);
        live.attempt = Some(Attempt { gang, placed_ms: self.now_ms, begun_ms: None, broken_by: None });
        let network = &self.parameters.network;
        let mut draws = Draws::new(self.seed, Purpose::Message, index(of));
        let is_lost = draws.happens(network.loss_bps);
        let arrives_ms = self.now_ms + network.delay_ms + draws.between(0, network.jitter_ms);
        let overdue_ms = self.overdue_ms(self.now_ms, self.retry.assignment_timeout_s);
        if !is_lost {
            self.events.at(arrives_ms, Event::Begin(of));
        }
        if is_lost || arrives_ms >= overdue_ms {
            self.events.at(overdue_ms, Event::Check(of));
        }
        self.tally.counts.lost_messages += u64::from(is_lost);
    }

    /// The first millisecond at which more than `timeout_s` whole seconds have passed.
    fn overdue_ms(&self, from_ms: u64, timeout_s: u32) -> u64 {
        (from_ms / SECOND_MS + u64::from(timeout_s) + 1) * SECOND_MS
    }

    fn current(&mut self, (job_id, number): Try) -> Option<(&mut Live, usize)> {
        let live = self.live.get_mut(&job_id).filter(|live| live.tries == number && live.attempt.is_some())?;
        let first = live.attempt.as_ref().and_then(|attempt| attempt.gang.first()).map_or(0, |(worker, _)| *worker);
        Some((live, first as usize))
    }

    fn begin(&mut self, of: Try) {
        let (now_ms, seed, faults) = (self.now_ms, self.seed, self.parameters.faults);
        let assignment_timeout_s = self.retry.assignment_timeout_s;
        let Some(live) = self.live.get_mut(&of.0).filter(|live| live.tries == of.1) else { return };
        let Some(attempt) = &mut live.attempt else { return };
        if attempt.gang.iter().any(|(worker, _)| !self.machines[*worker as usize].is_up) {
            // Nobody takes the assignment; the keeper hears nothing.
            let overdue_ms = (attempt.placed_ms / SECOND_MS + u64::from(assignment_timeout_s) + 1) * SECOND_MS;
            self.events.at(overdue_ms.max(now_ms), Event::Check(of));
            return;
        }
        attempt.begun_ms = Some(now_ms);
        self.tally.counts.begun += 1;
        self.tally.there.busy_gpus += u64::from(live.job.gpus);
        if !live.has_begun {
            live.has_begun = true;
            self.tally.begin_first(&live.job);
        }
        let (runs_ms, class) = fate(&live.job, &mut Draws::new(seed, Purpose::Attempt, index(of)), faults);
        let limit_s = live.job.limit_s;
        match runs_ms.filter(|runs_ms| *runs_ms <= u64::from(limit_s) * SECOND_MS) {
            Some(runs_ms) => self.after(runs_ms, Event::End(of, class)),
            None => self.events.at(self.overdue_ms(now_ms, limit_s), Event::Check(of)),
        }
        self.tell(Happening::Begun(of.0));
    }

    fn end(&mut self, of: Try, class: Option<FailureClass>) {
        let Some((live, first)) = self.current(of) else { return };
        if live.attempt.as_ref().is_some_and(|attempt| attempt.broken_by.is_some()) {
            return;
        }
        match class {
            Some(class) => self.fail(of.0, first, class),
            None => self.succeed(of.0),
        }
    }

    fn succeed(&mut self, job_id: JobId) {
        self.take_off(job_id);
        self.engine.succeed(job_id, self.now_s());
        if let Some(live) = self.live.remove(&job_id) {
            self.tally.succeed(&live.job);
        }
        self.tell(Happening::Ended(job_id, None));
        self.ask_for_round(0);
    }

    fn check(&mut self, of: Try) {
        let now_s = self.now_s();
        let Some((_, first)) = self.current(of) else { return };
        if let Some(class) = self.assignment(of.0, first).and_then(|it| self.retry.overdue(&it, now_s)) {
            self.fail(of.0, first, class);
        }
    }

    /// A placed job as the keeper sees it.
    fn assignment(&self, job_id: JobId, worker: usize) -> Option<Assignment> {
        let live = self.live.get(&job_id)?;
        let attempt = live.attempt.as_ref()?;
        let seconds = |ms: u64| u32::try_from(ms / SECOND_MS).unwrap_or(u32::MAX);
        let heard_ms = attempt.broken_by.map_or(self.now_ms, |worker| self.machines[worker as usize].down_ms);
        Some(Assignment {
            worker_id: WorkerId(u32::try_from(worker).unwrap_or(u32::MAX)),
            assigned_s: seconds(attempt.placed_ms),
            begun_s: attempt.begun_ms.map(seconds),
            heard_s: seconds(heard_ms),
            limit_s: live.job.limit_s,
        })
    }
}

/// The series of draws that a try has for itself.
fn index((job_id, number): Try) -> u64 {
    (job_id.0 << 16) | u64::from(number & 0xffff)
}

/// How long an attempt would run, none for one that hangs, and how it fails, if it does.
fn fate(job: &Job, draws: &mut Draws, faults: Faults) -> (Option<u64>, Option<FailureClass>) {
    let chances = [
        (faults.client_bps, FailureClass::ClientFault),
        (faults.worker_bps, FailureClass::WorkerFault),
        (faults.infrastructure_bps, FailureClass::Infrastructure),
    ];
    let mut roll = draws.between(0, 9_999);
    for (bps, class) in chances {
        match roll.checked_sub(u64::from(bps)) {
            Some(rest) => roll = rest,
            None => return (Some(draws.between(1, job.duration_ms)), Some(class)),
        }
    }
    let hangs = roll < u64::from(faults.hang_bps);
    ((!hangs).then_some(job.duration_ms), None)
}
