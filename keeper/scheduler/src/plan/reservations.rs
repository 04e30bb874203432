//! Workers that are kept for jobs that do not fit now, so that smaller jobs behind them do not starve them.
//!
//! A kept worker is free for its job, at the latest, when enough of what runs there has come to its deadline. What starts
//! on it meanwhile ends before, or takes what the job will not need (EASY backfill; D. Lifka, 1995). So the time that the
//! first of them is promised never becomes later, as long as its job stays first, the worker stays, attempts are ended
//! when they are due, and rounds are included within a minute. The next ones' may: a job before them may find another
//! worker, and take theirs.

use std::collections::BTreeMap;

use keeper_types::{RunningJob, WorkerId};

use crate::{PendingJob, Reservation, Snapshot, WorkerView, queueing::Backfill};

/// What an attempt may take beyond its execution timeout, in seconds: the contracts' minute for the result's
/// transaction, and a minute until the round that starts it is included.
const BEYOND_TIMEOUT_S: u64 = 120;

/// Jobs that a worker is looked for, for each that may be kept.
const SEARCHES_FOR_EACH: u16 = 4;

/// What is kept for whom, and what every worker has left.
pub(super) struct Reservations<'a> {
    kept: Vec<Kept>,
    /// How many more may be kept.
    left: u8,
    /// How many more jobs a worker is looked for, so that jobs that cannot have one do not cost without end.
    searches: u16,
    room: BTreeMap<WorkerId, Room>,
    /// What runs already and is not in the room yet. Most rounds have no job that does not fit, and to go through all that
    /// runs takes longer than much else of a round.
    running: &'a [RunningJob],
    now: u64,
}

struct Kept {
    worker_id: WorkerId,
    start_by: u64,
    /// What is left beside the job when it starts.
    spare_gpus: u8,
    spare_slots: u8,
    backfill: Backfill,
}

struct Room {
    free_slots: u8,
    free_gpus: u8,
    /// When what runs ends at the latest, with its GPUs.
    busy: Vec<(u64, u8)>,
}

impl<'a> Reservations<'a> {
    pub(super) fn new(workers: &BTreeMap<WorkerId, &WorkerView>, snapshot: &'a Snapshot, most: u8) -> Self {
        let room =
            |worker: &WorkerView| Room { free_slots: worker.free_slots, free_gpus: worker.free_gpus, busy: Vec::new() };
        let room: BTreeMap<_, _> = workers.iter().map(|(worker_id, worker)| (*worker_id, room(worker))).collect();
        let searches = u16::from(most) * SEARCHES_FOR_EACH;
        let running = snapshot.running.as_slice();
        Self { kept: Vec::new(), left: most, searches, room, running, now: snapshot.now }
    }

    /// Workers that the job may not have, since it would be in the way of the job that they are kept for.
    pub(super) fn kept_from(&self, job: &PendingJob) -> Vec<WorkerId> {
        let ends_by = self.ends_by(job);
        let is_in_the_way = |kept: &&Kept| match kept.backfill {
            Backfill::None => true,
            _ if ends_by <= kept.start_by => false,
            Backfill::BeforeReservation => true,
            Backfill::Easy => kept.spare_slots == 0 || kept.spare_gpus < job.requirements.gpu_count,
        };
        let mut workers: Vec<_> = self.kept.iter().filter(is_in_the_way).map(|kept| kept.worker_id).collect();
        workers.sort_unstable();
        workers
    }

    /// A job starts on a worker.
    pub(super) fn started(&mut self, job: &PendingJob, worker_id: WorkerId) {
        let (gpus, ends_by) = (job.requirements.gpu_count, self.ends_by(job));
        if let Some(room) = self.room.get_mut(&worker_id) {
            room.free_slots = room.free_slots.saturating_sub(1);
            room.free_gpus = room.free_gpus.saturating_sub(gpus);
            room.busy.push((ends_by, gpus));
        }
        if let Some(kept) = self.kept.iter_mut().find(|kept| kept.worker_id == worker_id && ends_by > kept.start_by) {
            kept.spare_slots = kept.spare_slots.saturating_sub(1);
            kept.spare_gpus = kept.spare_gpus.saturating_sub(gpus);
        }
    }

    /// Keeps one of these workers, which could take the job if they were free: the one that has room for it first and is
    /// not kept already. None where the job would expire before, or as many are kept as may be.
    pub(super) fn keep(
        &mut self,
        job: &PendingJob,
        fitting: impl FnOnce() -> Vec<WorkerId>,
        backfill: Backfill,
    ) -> Option<Reservation> {
        if self.left == 0 {
            return None;
        }
        self.searches = self.searches.checked_sub(1)?;
        let is_kept = |worker_id: WorkerId| self.kept.iter().any(|kept| kept.worker_id == worker_id);
        for job in std::mem::take(&mut self.running) {
            if let Some(room) = self.room.get_mut(&job.worker_id) {
                room.busy.push((job.ends_by, job.gpus));
            }
        }
        let open = fitting().into_iter().filter(|worker_id| !is_kept(*worker_id));
        let starts = open.filter_map(|worker_id| Some((self.room.get(&worker_id)?.start(job, self.now)?, worker_id)));
        let in_time = starts.filter(|((start_by, ..), _)| *start_by <= job.deadline.0);
        let ((start_by, spare_slots, spare_gpus), worker_id) =
            in_time.min_by_key(|((start_by, ..), worker_id)| (*start_by, *worker_id))?;
        self.left -= 1;
        self.kept.push(Kept { worker_id, start_by, spare_gpus, spare_slots, backfill });
        Some(Reservation { worker_id, start_by })
    }

    fn ends_by(&self, job: &PendingJob) -> u64 {
        self.now.saturating_add(u64::from(job.execution_timeout_s)).saturating_add(BEYOND_TIMEOUT_S)
    }
}

impl Room {
    /// When the worker has room for the job at the latest, and the slots and GPUs that are then left beside it.
    fn start(&self, job: &PendingJob, now: u64) -> Option<(u64, u8, u8)> {
        let wanted = job.requirements.gpu_count;
        let (mut slots, mut gpus) = (self.free_slots, self.free_gpus);
        let mut busy = self.busy.clone();
        busy.sort_unstable();
        let mut start = None;
        for (ends_by, held) in busy {
            // What is past its deadline is about to be ended; it is not counted on before the next second.
            let ends_by = ends_by.max(now.saturating_add(1));
            if start.is_some_and(|start| ends_by > start) {
                break;
            }
            slots = slots.saturating_add(1);
            gpus = gpus.saturating_add(held);
            if slots > 0 && gpus >= wanted {
                start = start.or(Some(ends_by));
            }
        }
        start.map(|start| (start, slots - 1, gpus - wanted))
    }
}
