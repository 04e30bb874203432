//! Makes a failing sequence as short as it gets: drops calls, then pauses, then items of batches, as long as it still
//! fails. With a submission or a registration that is dropped, later ids may move up. What it fails with may change
//! on the way; a shorter proof of any mistake is worth more.

use keeper_types::{Felt, JobId};

use crate::calls::{Call, Item, Step};

/// The steps that are left. `fails` runs a sequence; it is true of `steps`.
pub(crate) fn shrink(mut steps: Vec<Step>, mut fails: impl FnMut(&[Step]) -> bool) -> Vec<Step> {
    let mut chunk = steps.len().div_ceil(2).max(1);
    loop {
        let before = steps.len();
        let mut start = 0;
        while start < steps.len() {
            let shorter = without(&steps, start, chunk);
            let renumbered = if chunk == 1 { renumbered(&shorter, start, &steps[start].call) } else { None };
            match [Some(shorter), renumbered].into_iter().flatten().find(|candidate| fails(candidate)) {
                Some(candidate) => steps = candidate,
                None => start += chunk,
            }
        }
        if chunk > 1 {
            chunk = chunk.div_ceil(2);
        } else if steps.len() == before {
            break;
        }
    }
    for index in 0..steps.len() {
        for simpler in simpler(&steps[index]) {
            let mut candidate = steps.clone();
            candidate[index] = simpler;
            if fails(&candidate) {
                steps = candidate;
            }
        }
    }
    steps
}

/// The steps without `count` of them; their pauses go to the next one, so that time passes as before.
fn without(steps: &[Step], start: usize, count: usize) -> Vec<Step> {
    let end = (start + count).min(steps.len());
    let mut left = steps[..start].to_vec();
    let mut rest = steps[end..].to_vec();
    if let Some(next) = rest.first_mut() {
        next.after_s += steps[start..end].iter().map(|step| step.after_s).sum::<u64>();
        next.after_blocks += steps[start..end].iter().map(|step| step.after_blocks).sum::<u64>();
    }
    left.append(&mut rest);
    left
}

/// The steps with later ids one lower, where the dropped call had made the job or worker before them.
fn renumbered(steps: &[Step], start: usize, dropped: &Call) -> Option<Vec<Step>> {
    let (before, after) = steps.split_at(start);
    let is_submission = matches!(dropped, Call::SubmitJob(_) | Call::SubmitJobFor { .. });
    let made = |call: &Call| match call {
        Call::SubmitJob(spec) | Call::SubmitJobFor { spec, .. } if is_submission => u64::from(spec.replicas),
        Call::RegisterWorker { .. } if !is_submission => 1,
        _ => 0,
    };
    let count = made(dropped);
    if count == 0 {
        return None;
    }
    // Calls that were refused have been dropped by now, or stand in the way of this one.
    let earlier = before.iter().map(|step| made(&step.call)).sum::<u64>();
    let lower = |id: u64| if id > earlier + count { id - count } else { id };
    let later = after.iter().map(|step| {
        let call = if is_submission { with_jobs(&step.call, lower) } else { with_workers(&step.call, lower) };
        Step { call, ..step.clone() }
    });
    Some(before.iter().cloned().chain(later).collect())
}

fn with_jobs(call: &Call, lower: impl Fn(u64) -> u64) -> Call {
    let mut call = call.clone();
    match &mut call {
        Call::CancelJob(id)
        | Call::AcceptResult(id)
        | Call::DisputeResult(id)
        | Call::ClaimJob(id)
        | Call::ExpireJob(id)
        | Call::ExpireAttempt(id)
        | Call::Settle(id)
        | Call::SettleDispute(id)
        | Call::RuleDispute { job_id: id, .. }
        | Call::SubmitResult { job_id: id, .. }
        | Call::CommitResult { job_id: id, .. }
        | Call::RevealResult { job_id: id, .. }
        | Call::FailAttempt { job_id: id, .. } => *id = JobId(lower(id.0)),
        Call::ApplyBatch { items, .. } => {
            for_each_item(items, |item| item.job_id = lower(item.job_id));
        }
        _ => {}
    }
    call
}

fn with_workers(call: &Call, lower: impl Fn(u64) -> u64) -> Call {
    let mut call = call.clone();
    if let Call::ApplyBatch { items, .. } = &mut call {
        let lowered = |id: u32| u32::try_from(lower(id.into())).unwrap_or(id);
        for_each_item(items, |item| item.worker_id = lowered(item.worker_id));
    }
    call
}

fn for_each_item(items: &mut [Felt], change: impl Fn(&mut Item)) {
    for felt in items {
        if let (mut item, true) = Item::unpack(*felt) {
            change(&mut item);
            *felt = item.pack();
        }
    }
}

/// The same step without its pause, and without each item of its batch.
fn simpler(step: &Step) -> Vec<Step> {
    let mut found = Vec::new();
    if step.after_s > 0 || step.after_blocks > 0 {
        found.push(Step { after_s: 0, after_blocks: 0, ..step.clone() });
    }
    if let Call::ApplyBatch { header, items } = &step.call {
        for left_out in 0..items.len().min(16) {
            let mut items = items.clone();
            items.remove(left_out);
            let call = Call::ApplyBatch { header: *header, items };
            found.push(Step { call, ..step.clone() });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        actors::Actor,
        calls::{JobSpec, RoundHeader},
    };

    fn settle(job_id: u64, after_s: u64) -> Step {
        Step { after_s, after_blocks: 0, caller: Actor::Admin, call: Call::Settle(JobId(job_id)) }
    }

    #[test]
    fn only_what_the_failure_needs_is_left() {
        let steps: Vec<Step> = (0..50).map(|id| settle(id, 1)).collect();
        let needs = |steps: &[Step], id: u64| steps.iter().any(|step| step.call == Call::Settle(JobId(id)));
        let shrunk = shrink(steps, |steps| needs(steps, 3) && needs(steps, 41));
        assert_eq!(shrunk, [settle(3, 0), settle(41, 0)]);
    }

    #[test]
    fn jobs_move_up_when_an_earlier_one_is_dropped() {
        let submit =
            || Step { call: Call::SubmitJob(Box::new(JobSpec { replicas: 1, ..JobSpec::default() })), ..settle(0, 0) };
        let steps = vec![submit(), submit(), submit(), settle(3, 0)];
        let is_settled = |steps: &[Step]| {
            let submitted = steps.iter().filter(|step| matches!(step.call, Call::SubmitJob(_))).count() as u64;
            submitted > 0 && steps.iter().any(|step| step.call == Call::Settle(JobId(submitted)))
        };
        assert_eq!(shrink(steps, is_settled), [submit(), settle(1, 0)]);
    }

    #[test]
    fn time_passes_as_before_while_calls_are_dropped() {
        let steps: Vec<Step> = (0..10).map(|id| settle(id, 5)).collect();
        let shrunk = shrink(steps, |steps| steps.iter().map(|step| step.after_s).sum::<u64>() >= 40);
        assert_eq!(shrunk.len(), 1);
        assert!(shrunk[0].after_s >= 40);
    }

    #[test]
    fn items_that_play_no_part_leave_their_batch() {
        let items = (1..=4_u64).map(Into::into).collect();
        let batch = Call::ApplyBatch { header: RoundHeader::default(), items };
        let steps = vec![Step { after_s: 0, after_blocks: 0, caller: Actor::Keeper1, call: batch }];
        let has_third = |steps: &[Step]| {
            steps
                .iter()
                .any(|step| matches!(&step.call, Call::ApplyBatch { items, .. } if items.contains(&3_u64.into())))
        };
        let shrunk = shrink(steps, has_third);
        assert!(matches!(&shrunk[0].call, Call::ApplyBatch { items, .. } if items.len() < 4));
    }
}
