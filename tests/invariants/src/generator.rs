//! Calls that a market might see: mostly sensible ones, so that jobs reach every state, and among them whatever a
//! confused, late or hostile account might send.
//!
//! The generator looks at the model alone, so that the same dice give the same calls whatever the contracts do.

mod answers;
mod batches;
mod chores;
mod hostile;
mod offers;
mod pauses;
mod paying;
mod reading;
mod setting;
mod specs;

use std::collections::BTreeMap;

use keeper_types::{Attempt, Felt, JobId, JobState, WorkerStatus};

use crate::{
    actors::{Actor, Contract},
    calls::{Call, Step},
    dice::Dice,
    model::{Job, Model, Terms, TokenKind},
};
pub(crate) use setting::set_up;

/// What a generated call is about.
#[derive(Clone, Copy, Debug)]
enum Aim {
    Register,
    Submit,
    SubmitFor,
    Allocate,
    Claim,
    Answer,
    Reveal,
    GiveUp,
    Accept,
    Dispute,
    Rule,
    Exit,
    Cancel,
    Withdraw,
    Worker,
    Beat,
    Report,
    Keeper,
    Paying,
    Relay,
    Arm,
    Admin,
    Forbidden,
    Read,
    Money,
}

/// What a sequence is mostly about, so that what takes many calls is seen to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Theme {
    Anything,
    Replicas,
    Disputes,
    /// Disputes that a committee rules, which take a dozen calls in the right order.
    Committees,
}

/// Draws the calls of one sequence.
#[derive(Debug)]
pub(crate) struct Generator {
    dice: Dice,
    /// In a wild sequence nothing was set up, and the set-up is left to the dice too.
    is_wild: bool,
    theme: Theme,
    /// Whether the token can be armed.
    is_token_ours: bool,
    /// What was committed to, by job and attempt: the result and the salt.
    secrets: BTreeMap<(u64, u8), (Felt, Felt)>,
}

impl Generator {
    pub(crate) fn new(mut dice: Dice, terms: &Terms) -> Self {
        let is_token_ours = terms.token == TokenKind::Test;
        let themes = [(5, Theme::Anything), (2, Theme::Replicas), (1, Theme::Disputes), (2, Theme::Committees)];
        let theme = dice.weighted(&themes);
        Self { dice, is_wild: !terms.is_set_up, theme, is_token_ours, secrets: BTreeMap::new() }
    }

    /// The next call.
    pub(crate) fn next(&mut self, model: &Model) -> Step {
        let leap = match self.theme {
            Theme::Anything => 9,
            Theme::Replicas | Theme::Disputes => 5,
            Theme::Committees => 1,
        };
        if self.dice.chance(leap)
            && let Some(step) = self.at_a_deadline(model)
        {
            return step;
        }
        let (after_s, after_blocks) = self.pause(model);
        let aim = self.aim(model);
        let (caller, call) = self.call(aim, model);
        // Now and then it is somebody else who calls.
        let caller = if self.dice.chance(4) { self.dice.pick(&Actor::ALL) } else { caller };
        Step { after_s, after_blocks, caller, call }
    }

    fn aim(&mut self, model: &Model) -> Aim {
        let jobs = &model.job_mgr.jobs;
        let count = |state: JobState| jobs.iter().filter(|job| job.state == state).count() as u64;
        let workers = &model.cdc_pool.workers;
        let active = workers.iter().filter(|worker| worker.status == WorkerStatus::Active).count() as u64;
        let (queued, allocated, revealed) =
            (count(JobState::Queued), count(JobState::Allocated), count(JobState::Revealed));
        let (committed, disputed) = (count(JobState::Committed), count(JobState::Disputed));
        let is_open = |job: &&Job| job.state == JobState::Committed && is_revealable(model, job);
        let open = jobs.iter().filter(is_open).count() as u64;
        let disputable = jobs.iter().filter(|job| is_disputable(model, job)).count() as u64;
        let some = |count: u64, weight: u64| if count == 0 { 1 } else { weight };
        let is_paused = model.controls.iter().any(|control| control.is_paused);
        let submit = match self.theme {
            Theme::Anything if queued < 4 => 22,
            Theme::Anything => 5,
            // What there is comes to its end first.
            _ => 2 + 28 / (1 + queued + allocated + committed + disputable),
        };
        let give_up = if self.theme == Theme::Anything { 4 } else { 1 };
        // What a committee has ruled is waited for.
        let ruled = if self.theme == Theme::Committees && count_ruled(model) > 0 { 30 } else { 10 };
        let exit = if self.theme == Theme::Committees { 2 } else { 7 };
        self.dice.weighted(&[
            (if active < 4 { 34 } else { 3 }, Aim::Register),
            (submit, Aim::Submit),
            (2, Aim::SubmitFor),
            (some(queued.min(active), 30), Aim::Allocate),
            (some(queued, 2), Aim::Claim),
            (some(allocated, 24), Aim::Answer),
            (some(committed, 3) + some(open, 24), Aim::Reveal),
            (some(allocated, give_up), Aim::GiveUp),
            (some(revealed, give_up), Aim::Accept),
            (some(disputable, 14), Aim::Dispute),
            (some(disputed, ruled), Aim::Rule),
            (some(queued + allocated + revealed + committed, exit), Aim::Exit),
            (some(queued, 2), Aim::Cancel),
            (3, Aim::Withdraw),
            (6, Aim::Worker),
            (3, Aim::Beat),
            (2, Aim::Report),
            (if self.is_wild { 8 } else { 3 }, Aim::Keeper),
            (3, Aim::Paying),
            (4, Aim::Relay),
            (3, Aim::Arm),
            (if self.is_wild || is_paused { 16 } else { 4 }, Aim::Admin),
            (4, Aim::Forbidden),
            (4, Aim::Read),
            (1, Aim::Money),
        ])
    }

    fn call(&mut self, aim: Aim, model: &Model) -> (Actor, Call) {
        match aim {
            Aim::Register => self.register(model),
            Aim::Submit => self.submit(model),
            Aim::SubmitFor => self.submit_for(model),
            Aim::Allocate => self.apply_batch(model),
            Aim::Claim => self.claim(model),
            Aim::Answer => self.answer(model),
            Aim::Reveal => self.reveal(model),
            Aim::GiveUp => self.give_up(model),
            Aim::Accept => {
                let (job_id, job) = self.job_in(model, JobState::Revealed);
                (client_of(job), Call::AcceptResult(job_id))
            }
            Aim::Dispute => self.dispute(model),
            Aim::Rule => self.rule(model),
            Aim::Exit => self.exit(model),
            Aim::Cancel => {
                let (job_id, job) = self.job_in(model, JobState::Queued);
                (client_of(job), Call::CancelJob(job_id))
            }
            Aim::Withdraw => self.withdraw(model),
            Aim::Worker => self.worker_life(model),
            Aim::Beat => self.beat(model),
            Aim::Report => self.report(model),
            Aim::Keeper => self.keeper_life(model),
            Aim::Paying => self.pay(model),
            Aim::Relay => self.relay(model),
            Aim::Arm => self.arm(model),
            Aim::Admin => self.administer(model),
            Aim::Forbidden => self.forbidden(model),
            Aim::Read => self.read(model),
            Aim::Money => {
                let amount = self.dice.weighted(&[
                    (2, 0),
                    (3, 1_000_000_000_000_000_000_000),
                    (6, 1_000_000_000_000_000_000_000_000),
                    (1, u128::MAX >> 1),
                ]);
                let spender = self.dice.pick(&Contract::OURS);
                (self.dice.pick(&Actor::ALL), Call::Approve { spender, amount })
            }
        }
    }

    /// A job, mostly one in that state; an id without a job where there is none.
    fn job_in<'m>(&mut self, model: &'m Model, state: JobState) -> (JobId, Option<&'m Job>) {
        self.job_where(model, |job| job.state == state)
    }

    /// A job, mostly one of which that is true; an id without a job where there is none.
    fn job_where<'m>(&mut self, model: &'m Model, is_meant: impl Fn(&Job) -> bool) -> (JobId, Option<&'m Job>) {
        let last = model.job_mgr.jobs.len() as u64;
        let is_late = |job: &Job| job.state == JobState::Queued && job.deadline.has_passed(model.now);
        let is_fitting = |job: &Job| is_meant(job) && !is_late(job);
        let fitting: Vec<u64> = (1..=last).filter(|id| model.job(JobId(*id)).is_some_and(is_fitting)).collect();
        let any = self.dice.chance(10);
        let id = match self.dice.pick_any(&fitting) {
            Some(id) if !any => id,
            _ if self.dice.chance(90) => self.dice.between(0, last + 1),
            _ => self.dice.edge(u64::MAX),
        };
        (JobId(id), model.job(JobId(id)))
    }

    /// A worker's id, mostly of one that exists.
    fn worker_id(&mut self, model: &Model) -> u32 {
        let last = model.cdc_pool.workers.len() as u64;
        let id = if last > 0 && self.dice.chance(92) {
            self.dice.between(1, last)
        } else if self.dice.chance(70) {
            self.dice.between(0, last + 1)
        } else {
            self.dice.edge(u32::MAX.into())
        };
        u32::try_from(id).unwrap_or(u32::MAX)
    }

    fn attempt_of(&mut self, job: Option<&Job>) -> Attempt {
        let right = job.map_or(1, |job| job.attempt);
        let any = u8::try_from(self.dice.edge(255)).unwrap_or(u8::MAX);
        Attempt(self.dice.weighted(&[(40, right), (1, right.wrapping_sub(1)), (1, right + 1), (1, 0), (1, any)]))
    }
}

fn client_of(job: Option<&Job>) -> Actor {
    job.and_then(|job| Actor::of_address(job.client)).unwrap_or(Actor::Client1)
}

/// Whether what the job's worker committed to can be told.
fn is_revealable(model: &Model, job: &Job) -> bool {
    job.group == 0 || model.pending(job.group) == 0
}

/// Disputed jobs whose committee has found a result.
fn count_ruled(model: &Model) -> usize {
    let has_winner = |group: u64| model.job_mgr.groups.get(&group).is_some_and(|group| group.winner.is_some());
    let disputed = |id: u64| model.job(JobId(id)).is_some_and(|job| job.state == JobState::Disputed);
    model.job_mgr.disputes.iter().filter(|(id, dispute)| disputed(**id) && has_winner(dispute.committee)).count()
}

/// Whether the job's client can still dispute its result.
fn is_disputable(model: &Model, job: &Job) -> bool {
    let is_in_time = job.challenge_ends.is_some_and(|ends| !ends.has_passed(model.now));
    job.state == JobState::Revealed && job.spec.verification != 0 && is_in_time
}

/// Who owns the worker that the job is with.
fn owner_of(model: &Model, job: Option<&Job>) -> Actor {
    let worker = job.and_then(|job| model.worker(job.worker_id()));
    worker.and_then(|worker| Actor::of_address(worker.owner)).unwrap_or(Actor::Worker1)
}
