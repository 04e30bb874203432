//! What a store must hold after the writes that it acknowledged.

use std::collections::BTreeMap;

use keeper_types::{BlockEvents, Felt};
use rand::{Rng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};

/// The first block of the chain. No reorganisation reaches it.
pub(crate) const FIRST_BLOCK: u64 = 11;
/// Jobs that are explained, again and again.
pub(crate) const EXPLAINED: u64 = 200;
/// The deepest reorganisation.
const DEEPEST: u64 = 5;

/// A block to be stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NewBlock {
    pub(crate) number: u64,
    pub(crate) fork: u64,
    pub(crate) below: u64,
    pub(crate) jobs: Vec<u64>,
}

/// One call of the store, and so one commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Op {
    Append(Vec<NewBlock>),
    Revert { block: u64 },
    Record { intent: u64, time: u64 },
    Update { intent: u64, state: String, time: u64 },
    Explain { jobs: Vec<u64>, block: u64, time: u64 },
    Observe { jobs: Vec<u64>, stage: usize, time: u64 },
}

/// A stored block: which fork it is of, and the jobs that its events submit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Block {
    pub(crate) fork: u64,
    pub(crate) jobs: Vec<u64>,
}

/// A stored intent. Its number, less one, is its nonce, its round and its transaction's hash, so that the same one
/// written twice is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) nonce: u64,
    pub(crate) state: String,
    pub(crate) updated: u64,
}

/// Everything that a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Model {
    pub(crate) blocks: BTreeMap<u64, Block>,
    pub(crate) intents: BTreeMap<u64, Intent>,
    /// By job: when, and by which block.
    pub(crate) explained: BTreeMap<u64, (u64, u64)>,
    /// By job: when each stage was seen.
    pub(crate) seen: BTreeMap<u64, [Option<u64>; 4]>,
}

/// How what was found differs from what has to be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Rows that are not there, or are not as acknowledged.
    pub(crate) lost: u64,
    /// Rows that nobody wrote.
    pub(crate) doubled: u64,
}

impl Model {
    /// What the store holds once this is committed.
    pub(crate) fn apply(&mut self, op: &Op) {
        match op {
            Op::Append(blocks) => {
                for NewBlock { number, fork, jobs, .. } in blocks {
                    self.blocks.insert(*number, Block { fork: *fork, jobs: jobs.clone() });
                }
            }
            Op::Revert { block } => {
                self.blocks.retain(|number, _| number <= block);
                self.explained.retain(|_, (_, by)| *by <= *block);
            }
            Op::Record { intent, time } => {
                let signed = Intent { nonce: intent - 1, state: "signed".to_owned(), updated: *time };
                self.intents.insert(*intent, signed);
            }
            Op::Update { intent, state, time } => {
                if let Some(intent) = self.intents.get_mut(intent) {
                    (intent.state, intent.updated) = (state.clone(), *time);
                }
            }
            Op::Explain { jobs, block, time } => {
                self.explained.extend(jobs.iter().map(|job| (*job, (*time, *block))));
            }
            Op::Observe { jobs, stage, time } => {
                for job in jobs {
                    self.seen.entry(*job).or_default()[*stage].get_or_insert(*time);
                }
            }
        }
    }

    /// What a keeper might write next.
    pub(crate) fn next(&self, time: u64, rng: &mut StdRng) -> Op {
        let top = self.blocks.last_key_value().map_or(FIRST_BLOCK - 1, |(number, _)| *number);
        if top < FIRST_BLOCK {
            return self.append(rng);
        }
        let open: Vec<u64> = self
            .intents
            .iter()
            .filter(|(_, one)| matches!(one.state.as_str(), "signed" | "maybe_sent"))
            .map(|(id, _)| *id)
            .collect();
        let some_jobs =
            |rng: &mut StdRng| (0..rng.random_range(1..8)).map(|_| rng.random_range(1..=EXPLAINED)).collect();
        match rng.random_range(0..100) {
            0..35 => self.append(rng),
            35..38 => Op::Revert { block: top.saturating_sub(rng.random_range(0..=DEEPEST)).max(FIRST_BLOCK) },
            38..55 if !open.is_empty() => {
                let intent = open[rng.random_range(0..open.len())];
                let state = ["maybe_sent", "accepted_l2", "reverted", "lost"][rng.random_range(0..4)].to_owned();
                Op::Update { intent, state, time }
            }
            38..75 => Op::Record { intent: self.intents.last_key_value().map_or(0, |(id, _)| *id) + 1, time },
            75..90 => Op::Explain { jobs: some_jobs(rng), block: rng.random_range(FIRST_BLOCK..=top), time },
            _ => Op::Observe { jobs: some_jobs(rng), stage: rng.random_range(0..4), time },
        }
    }

    fn append(&self, rng: &mut StdRng) -> Op {
        let mut job = self.blocks.values().flat_map(|block| &block.jobs).max().copied().unwrap_or(0);
        let top = self.blocks.last_key_value();
        let (mut number, mut below) = top.map_or((FIRST_BLOCK - 1, 0), |(number, block)| (*number, block.fork));
        let fork = if rng.random_ratio(1, 10) { rng.random_range(0..1_000_000) } else { below };
        let blocks = (0..rng.random_range(1..4)).map(|_| {
            number += 1;
            let jobs = (0..rng.random_range(0..4))
                .map(|_| {
                    job += 1;
                    job
                })
                .collect();
            NewBlock { number, fork, below: std::mem::replace(&mut below, fork), jobs }
        });
        Op::Append(blocks.collect())
    }

    /// How `found` differs from this.
    pub(crate) fn difference(&self, found: &Self) -> Difference {
        let mut difference = Difference::default();
        difference.add(&self.blocks, &found.blocks);
        difference.add(&self.intents, &found.intents);
        difference.add(&self.explained, &found.explained);
        difference.add(&self.seen, &found.seen);
        difference
    }
}

impl Difference {
    fn add<T: PartialEq>(&mut self, expected: &BTreeMap<u64, T>, found: &BTreeMap<u64, T>) {
        let is_missing = |(key, value): &(&u64, &T)| found.get(key) != Some(value);
        self.lost += expected.iter().filter(is_missing).count() as u64;
        self.doubled += found.keys().filter(|key| !expected.contains_key(key)).count() as u64;
    }

    /// Whether there is none.
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// The block as the store takes it.
pub(crate) fn stored(block: &NewBlock) -> BlockEvents {
    use keeper_store::conformance;
    let jobs = block.jobs.iter().map(|job| conformance::submitted(*job)).collect();
    conformance::block(block.number, block.fork, block.below, jobs)
}

/// The fork that a block's hash tells of.
pub(crate) fn fork_of(number: u64, hash: Felt) -> Option<u64> {
    let high = hash - Felt::from(number);
    let shift = Felt::from(1_u128 << 64);
    let (fork, rest) = high.div_rem(&shift.try_into().ok()?);
    (rest == Felt::ZERO).then(|| u64::try_from(fork).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_blocks_hash_tells_its_fork() {
        for (number, fork) in [(11, 0), (12, 999_999), (1 << 40, 7)] {
            let block = stored(&NewBlock { number, fork, below: 0, jobs: vec![] });
            assert_eq!(fork_of(number, block.header.hash), Some(fork));
        }
        assert_eq!(fork_of(3, Felt::ONE), None);
    }

    #[test]
    fn what_differs_is_counted() {
        let (mut expected, mut rng) = (Model::default(), StdRng::seed_from_u64(3));
        for time in 0..400 {
            let op = expected.next(time, &mut rng);
            expected.apply(&op);
        }
        assert!(expected.difference(&expected).is_none());
        let mut found = expected.clone();
        found.blocks.pop_last();
        found.intents.values_mut().next().unwrap().updated += 1;
        found.seen.insert(EXPLAINED + 1, [None; 4]);
        assert_eq!(expected.difference(&found), Difference { lost: 2, doubled: 1 });
    }

    #[test]
    fn the_first_observation_and_the_last_explanation_stand() {
        let mut model = Model::default();
        for time in [5, 6] {
            model.apply(&Op::Observe { jobs: vec![1], stage: 2, time });
            model.apply(&Op::Explain { jobs: vec![1], block: 12, time });
        }
        assert_eq!(model.seen[&1], [None, None, Some(5), None]);
        assert_eq!(model.explained[&1], (6, 12));
        model.apply(&Op::Revert { block: 11 });
        assert!(model.explained.is_empty());
    }
}
