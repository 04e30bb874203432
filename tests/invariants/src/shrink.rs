//! Makes a failing sequence as short as it gets: drops calls, then pauses, then items of batches, as long as it still
//! fails. What it fails with may change on the way; a shorter proof of any mistake is worth more.

use crate::calls::{Call, Step};

/// The steps that are left. `fails` runs a sequence; it is true of `steps`.
pub(crate) fn shrink(mut steps: Vec<Step>, mut fails: impl FnMut(&[Step]) -> bool) -> Vec<Step> {
    let mut chunk = steps.len().div_ceil(2).max(1);
    loop {
        let before = steps.len();
        let mut start = 0;
        while start < steps.len() {
            let shorter = without(&steps, start, chunk);
            if fails(&shorter) {
                steps = shorter;
            } else {
                start += chunk;
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

/// The same step without its pause, and without each item of its batch.
fn simpler(step: &Step) -> Vec<Step> {
    let mut found = Vec::new();
    if step.after_s > 0 || step.after_blocks > 0 {
        found.push(Step { after_s: 0, after_blocks: 0, ..step.clone() });
    }
    if let Call::ApplyBatch { round, snapshot_block, items } = &step.call {
        for left_out in 0..items.len().min(16) {
            let mut items = items.clone();
            items.remove(left_out);
            let call = Call::ApplyBatch { round: *round, snapshot_block: *snapshot_block, items };
            found.push(Step { call, ..step.clone() });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use keeper_types::JobId;

    use super::*;
    use crate::actors::Actor;

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
    fn time_passes_as_before_while_calls_are_dropped() {
        let steps: Vec<Step> = (0..10).map(|id| settle(id, 5)).collect();
        let shrunk = shrink(steps, |steps| steps.iter().map(|step| step.after_s).sum::<u64>() >= 40);
        assert_eq!(shrunk.len(), 1);
        assert!(shrunk[0].after_s >= 40);
    }

    #[test]
    fn items_that_play_no_part_leave_their_batch() {
        let items = (1..=4_u64).map(Into::into).collect();
        let batch = Call::ApplyBatch { round: 1, snapshot_block: 0, items };
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
