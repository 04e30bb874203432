//! Pending jobs by the million: everything that a [`PendingJob`] says, packed.
//!
//! What every job has is a record of fixed size. Clients and models are numbered, since many jobs share them. What
//! few jobs have (excluded workers, a manifest that cannot be read) stands beside.

use std::collections::BTreeMap;

use keeper_types::{Address, Attempt, BlockNumber, Felt, JobId, Queue, Rate, Requirements, WorkerId};

use crate::{ManifestStatus, PendingJob, matching::Need};

/// Jobs whose records share one allocation, so that growing never copies what is there.
const CHUNK: usize = 4_096;

/// A set of pending jobs by id.
#[derive(Clone, Debug, Default)]
pub struct PackedJobs {
    chunks: Vec<Vec<Record>>,
    places: BTreeMap<JobId, u32>,
    /// Places whose job has gone.
    vacant: Vec<u32>,
    clients: Numbered,
    models: Numbered,
    excluded: BTreeMap<JobId, Vec<WorkerId>>,
    malformed: BTreeMap<JobId, String>,
}

#[derive(Clone, Debug)]
struct Record {
    requirements: Requirements,
    max_rate: Rate,
    deadline: (u64, BlockNumber),
    submitted_at: u64,
    group_id: Option<JobId>,
    client: u32,
    model: u32,
    execution_timeout_s: u32,
    attempt: Attempt,
    priority: u8,
    queue: Queue,
    manifest: Manifest,
}

#[derive(Clone, Copy, Debug)]
enum Manifest {
    Available,
    Missing,
    /// Why stands beside.
    Malformed,
}

/// Felts that many jobs share, each with a number.
#[derive(Clone, Debug, Default)]
struct Numbered {
    numbers: BTreeMap<Felt, u32>,
    felts: Vec<Felt>,
}

impl Numbered {
    fn number(&mut self, felt: Felt) -> u32 {
        *self.numbers.entry(felt).or_insert_with(|| {
            self.felts.push(felt);
            number_of(self.felts.len() - 1)
        })
    }
}

fn number_of(place: usize) -> u32 {
    u32::try_from(place).expect("memory ends before 2^32 records do")
}

impl PackedJobs {
    /// How many jobs there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Adds a job; one with the same id is replaced.
    pub fn insert(&mut self, job: &PendingJob) {
        self.remove(job.job_id);
        let manifest = match &job.manifest {
            ManifestStatus::Available => Manifest::Available,
            ManifestStatus::Missing => Manifest::Missing,
            ManifestStatus::Malformed(reason) => {
                self.malformed.insert(job.job_id, reason.clone());
                Manifest::Malformed
            }
        };
        if !job.excluded.is_empty() {
            self.excluded.insert(job.job_id, job.excluded.clone());
        }
        let record = Record {
            requirements: job.requirements.clone(),
            max_rate: job.max_rate,
            deadline: job.deadline,
            submitted_at: job.submitted_at,
            group_id: job.group_id,
            client: self.clients.number(job.client.0),
            model: self.models.number(job.model_id),
            execution_timeout_s: job.execution_timeout_s,
            attempt: job.attempt,
            priority: job.priority,
            queue: job.queue,
            manifest,
        };
        let place = self.put(record);
        self.places.insert(job.job_id, place);
    }

    fn put(&mut self, record: Record) -> u32 {
        if let Some(place) = self.vacant.pop() {
            self.chunks[place as usize / CHUNK][place as usize % CHUNK] = record;
            return place;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let chunk = self.chunks.last_mut().expect("a chunk with room was just made sure of");
        chunk.push(record);
        number_of(before + chunk.len() - 1)
    }

    /// Takes a job out; whether it was there.
    pub fn remove(&mut self, job_id: JobId) -> bool {
        let Some(place) = self.places.remove(&job_id) else { return false };
        self.vacant.push(place);
        self.excluded.remove(&job_id);
        self.malformed.remove(&job_id);
        true
    }

    /// The job, unpacked.
    pub fn get(&self, job_id: JobId) -> Option<PendingJob> {
        let record = self.record(job_id)?;
        Some(PendingJob {
            job_id,
            attempt: record.attempt,
            client: Address(self.clients.felts[record.client as usize]),
            requirements: record.requirements.clone(),
            priority: record.priority,
            queue: record.queue,
            max_rate: record.max_rate,
            deadline: record.deadline,
            submitted_at: record.submitted_at,
            model_id: self.models.felts[record.model as usize],
            group_id: record.group_id,
            excluded: self.excluded(job_id).to_vec(),
            execution_timeout_s: record.execution_timeout_s,
            manifest: match record.manifest {
                Manifest::Available => ManifestStatus::Available,
                Manifest::Missing => ManifestStatus::Missing,
                Manifest::Malformed => {
                    ManifestStatus::Malformed(self.malformed.get(&job_id).cloned().unwrap_or_default())
                }
            },
        })
    }

    /// What the job needs, ready for a decision.
    pub fn need(&self, job_id: JobId) -> Option<Need> {
        let record = self.record(job_id)?;
        Some(Need::new(&record.requirements, record.max_rate))
    }

    /// Who does not get the job.
    pub fn excluded(&self, job_id: JobId) -> &[WorkerId] {
        self.excluded.get(&job_id).map_or(&[], Vec::as_slice)
    }

    fn record(&self, job_id: JobId) -> Option<&Record> {
        let place = *self.places.get(&job_id)? as usize;
        self.chunks.get(place / CHUNK)?.get(place % CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::plan::fixtures::job;

    fn any_job() -> impl Strategy<Value = PendingJob> {
        let manifest = prop_oneof![
            Just(ManifestStatus::Available),
            Just(ManifestStatus::Missing),
            "[a-z]{0,9}".prop_map(ManifestStatus::Malformed),
        ];
        let queue = prop_oneof![Just(Queue::Default), Just(Queue::High), Just(Queue::Low)];
        let numbers = (any::<u64>(), any::<u64>(), any::<u32>(), any::<u8>());
        let shared = (0..3_u64, 0..3_u64, proptest::option::of(any::<u64>()), vec(any::<u32>(), 0..3));
        (0..12_u64, manifest, queue, numbers, shared).prop_map(
            |(id, manifest, queue, (rate, time, seconds, small), (client, model, group, excluded))| PendingJob {
                attempt: Attempt(small),
                client: Address(Felt::from(client)),
                priority: small / 2,
                queue,
                max_rate: Rate(rate),
                deadline: (time, BlockNumber(rate)),
                submitted_at: time / 2,
                model_id: Felt::from(model),
                group_id: group.map(JobId),
                excluded: excluded.into_iter().map(WorkerId).collect(),
                execution_timeout_s: seconds,
                manifest,
                ..job(id)
            },
        )
    }

    proptest! {
        #[test]
        fn jobs_come_out_as_they_went_in(steps in vec((any_job(), any::<bool>()), 0..60)) {
            let (mut packed, mut expected) = (PackedJobs::default(), BTreeMap::new());
            for (job, is_added) in steps {
                if is_added {
                    packed.insert(&job);
                    expected.insert(job.job_id, job);
                } else {
                    prop_assert_eq!(packed.remove(job.job_id), expected.remove(&job.job_id).is_some());
                }
                prop_assert_eq!(packed.len(), expected.len());
            }
            for id in (0..12).map(JobId) {
                prop_assert_eq!(packed.get(id), expected.get(&id).cloned());
                prop_assert_eq!(packed.need(id), expected.get(&id).map(Need::of));
            }
        }
    }
}
