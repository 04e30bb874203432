//! Machines with GPUs, what runs on them, and when the job at the head of the queue will fit.

use std::collections::BTreeMap;

use keeper_types::{JobId, WorkerId};

/// GPUs on machines: which machine, how many.
pub type Gang = Vec<(u32, u16)>;

/// A running job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Where it runs.
    pub gang: Gang,
    /// When it ends at the latest: Unix timestamp in seconds.
    pub ends_by_s: u32,
}

/// The start that is kept for a job that does not fit now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The job.
    pub job_id: JobId,
    /// When it starts at the latest: Unix timestamp in seconds.
    pub start_s: u32,
    /// GPUs on each machine that are free at that moment, after the job has taken its own.
    spare: Vec<u16>,
}

/// Machines with the jobs that run on them. A machine is a worker, and its number the worker's.
///
/// A job takes as few machines as it can. One that fits a machine gets the one with the least room that is enough,
/// the lowest number on a tie. One that fits none takes whole empty machines, and for the rest the best fit.
#[derive(Clone, Debug)]
pub struct Cluster {
    capacity: Vec<u16>,
    free: Vec<u16>,
    running: BTreeMap<JobId, Running>,
    /// Ends of running jobs, the earliest first.
    ends: BTreeMap<(u32, JobId), ()>,
}

impl Cluster {
    /// Empty machines with these GPUs.
    pub fn new(gpus: Vec<u16>) -> Self {
        Self { free: gpus.clone(), capacity: gpus, running: BTreeMap::new(), ends: BTreeMap::new() }
    }

    /// GPUs of all machines.
    pub fn capacity(&self) -> u32 {
        self.capacity.iter().copied().map(u32::from).sum()
    }

    /// GPUs that are free.
    pub fn free(&self) -> u32 {
        self.free.iter().copied().map(u32::from).sum()
    }

    /// The running jobs.
    pub fn running(&self) -> &BTreeMap<JobId, Running> {
        &self.running
    }

    /// Whether the job would fit if nothing ran.
    pub fn could_hold(&self, gpus: u32, excluded: &[WorkerId]) -> bool {
        find(&self.capacity, &self.capacity, gpus, excluded).is_some()
    }

    /// Where a job would run now, on none of the excluded machines (ascending).
    pub fn find(&self, gpus: u32, excluded: &[WorkerId]) -> Option<Gang> {
        find(&self.free, &self.capacity, gpus, excluded)
    }

    /// Starts a job that ends by `ends_by_s`, at a place that [`Cluster::find`] gave. A job that runs already is
    /// ended first.
    pub fn start(&mut self, job_id: JobId, gang: Gang, ends_by_s: u32) {
        self.finish(job_id);
        for (machine, gpus) in &gang {
            self.free[*machine as usize] -= gpus;
        }
        self.ends.insert((ends_by_s, job_id), ());
        self.running.insert(job_id, Running { gang, ends_by_s });
    }

    /// Ends a job: it has finished, failed, or was taken off.
    pub fn finish(&mut self, job_id: JobId) -> Option<Running> {
        let running = self.running.remove(&job_id)?;
        self.ends.remove(&(running.ends_by_s, job_id));
        for (machine, gpus) in &running.gang {
            self.free[*machine as usize] += gpus;
        }
        Some(running)
    }

    /// Takes a machine out: it has failed or left. The jobs that ran there, in part at least, are ended; their ids,
    /// ascending.
    pub fn remove_machine(&mut self, machine: WorkerId) -> Vec<JobId> {
        let place = machine.0 as usize;
        let runs_there = |running: &Running| running.gang.iter().any(|(on, _)| *on == machine.0);
        let ended: Vec<JobId> =
            self.running.iter().filter(|(_, running)| runs_there(running)).map(|(job_id, _)| *job_id).collect();
        for job_id in &ended {
            self.finish(*job_id);
        }
        if let (Some(capacity), Some(free)) = (self.capacity.get_mut(place), self.free.get_mut(place)) {
            (*capacity, *free) = (0, 0);
        }
        ended
    }

    /// Brings a machine back, or a new one in, with these GPUs. One that is there is left as it is.
    pub fn add_machine(&mut self, machine: WorkerId, gpus: u16) {
        let place = machine.0 as usize;
        if self.capacity.len() <= place {
            self.capacity.resize(place + 1, 0);
            self.free.resize(place + 1, 0);
        }
        if self.capacity[place] == 0 {
            (self.capacity[place], self.free[place]) = (gpus, gpus);
        }
    }

    /// The earliest time at which the job certainly fits, as running jobs end by their limits; none where the
    /// machines are too small for it.
    pub fn reserve(&self, job_id: JobId, gpus: u32, excluded: &[WorkerId], now_s: u32) -> Option<Reservation> {
        let mut free = self.free.clone();
        let mut start_s = now_s;
        let mut ends = self.ends.keys().peekable();
        loop {
            if let Some(gang) = find(&free, &self.capacity, gpus, excluded) {
                for (machine, gpus) in gang {
                    free[machine as usize] -= gpus;
                }
                // What ends at the same second is free by then too.
                while let Some((_, job_id)) = ends.next_if(|(ends_by_s, _)| *ends_by_s <= start_s) {
                    self.release(*job_id, &mut free);
                }
                return Some(Reservation { job_id, start_s, spare: free });
            }
            let (ends_by_s, job_id) = ends.next()?;
            // A job past its limit is about to be ended; it is not counted on before the next second.
            start_s = start_s.max(*ends_by_s).max(now_s.saturating_add(1));
            self.release(*job_id, &mut free);
        }
    }

    /// Where a job that runs past a reservation may run now without touching what is reserved.
    pub fn find_beside(&self, reservation: &Reservation, gpus: u32, excluded: &[WorkerId]) -> Option<Gang> {
        let free: Vec<u16> = self.free.iter().zip(&reservation.spare).map(|(now, then)| *now.min(then)).collect();
        find(&free, &self.capacity, gpus, excluded)
    }

    /// What is free now.
    pub(crate) fn room(&self) -> Room {
        self.room_of(self.free.iter().copied())
    }

    /// What is free now and will be spare when the reserved job starts.
    pub(crate) fn room_beside(&self, reservation: &Reservation) -> Room {
        self.room_of(self.free.iter().zip(&reservation.spare).map(|(now, then)| *now.min(then)))
    }

    fn room_of(&self, free: impl Iterator<Item = u16>) -> Room {
        let machine = self.capacity.iter().copied().max().unwrap_or(0);
        let room = Room { machine, widest: 0, total: 0 };
        free.fold(room, |room, free| Room {
            widest: room.widest.max(free),
            total: room.total + u32::from(free),
            ..room
        })
    }

    fn release(&self, job_id: JobId, free: &mut [u16]) {
        for (machine, gpus) in self.running.get(&job_id).into_iter().flat_map(|running| &running.gang) {
            free[*machine as usize] += gpus;
        }
    }
}

/// Room on machines, in short.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// GPUs of the largest machine.
    machine: u16,
    /// Free GPUs of the machine that has most.
    widest: u16,
    /// Free GPUs of all machines.
    total: u32,
}

impl Room {
    /// False only where a job certainly does not fit.
    pub(crate) fn may_hold(&self, gpus: u16) -> bool {
        if gpus <= self.machine { gpus <= self.widest } else { u32::from(gpus) <= self.total }
    }
}

impl Reservation {
    /// A job that runs past the reserved start has taken these GPUs.
    pub fn take(&mut self, gang: &Gang) {
        for (machine, gpus) in gang {
            let spare = &mut self.spare[*machine as usize];
            *spare = spare.saturating_sub(*gpus);
        }
    }
}

/// Places `gpus` on machines of which `free` are free.
fn find(free: &[u16], capacity: &[u16], gpus: u32, excluded: &[WorkerId]) -> Option<Gang> {
    let largest = capacity.iter().copied().max()?;
    let is_open = |machine: u32| excluded.is_empty() || excluded.binary_search(&WorkerId(machine)).is_err();
    if let Some(wanted) = u16::try_from(gpus).ok().filter(|wanted| *wanted <= largest) {
        return best_fit(free, wanted, is_open).map(|machine| vec![(machine, wanted)]);
    }
    let mut rest = gpus;
    let mut gang = Gang::new();
    for (machine, (free, capacity)) in (0_u32..).zip(free.iter().zip(capacity)) {
        let is_empty = free == capacity && *free > 0;
        if rest >= u32::from(largest) && is_empty && rest >= u32::from(*free) && is_open(machine) {
            gang.push((machine, *free));
            rest -= u32::from(*free);
        }
    }
    match u16::try_from(rest) {
        Ok(0) => Some(gang),
        Ok(wanted) => {
            // Machines are taken in ascending order, so that a search by halves finds them.
            let is_taken = |machine| gang.binary_search_by_key(&machine, |(taken, _)| *taken).is_ok();
            let machine = best_fit(free, wanted, |machine| is_open(machine) && !is_taken(machine))?;
            gang.push((machine, wanted));
            Some(gang)
        }
        Err(_) => None,
    }
}

fn best_fit(free: &[u16], wanted: u16, is_open: impl Fn(u32) -> bool) -> Option<u32> {
    let fits = (0_u32..).zip(free).filter(|(machine, free)| **free >= wanted && is_open(*machine));
    fits.min_by_key(|(machine, free)| (**free, *machine)).map(|(machine, _)| machine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_machine_is_taken_and_gangs_take_whole_ones() {
        let mut cluster = Cluster::new(vec![8, 8, 8]);
        cluster.start(JobId(1), cluster.find(5, &[]).unwrap(), 100);
        assert_eq!(cluster.find(3, &[]), Some(vec![(0, 3)]));
        assert_eq!(cluster.find(4, &[]), Some(vec![(1, 4)]));
        assert_eq!(cluster.find(16, &[]), Some(vec![(1, 8), (2, 8)]));
        assert_eq!(cluster.find(19, &[]), Some(vec![(1, 8), (2, 8), (0, 3)]));
        assert_eq!(cluster.find(20, &[]), None);
        assert!(cluster.could_hold(24, &[]) && !cluster.could_hold(25, &[]));
        cluster.finish(JobId(1)).unwrap();
        assert_eq!(cluster.free(), 24);
    }

    #[test]
    fn a_reservation_is_the_first_end_that_makes_room() {
        let mut cluster = Cluster::new(vec![8, 8]);
        cluster.start(JobId(1), vec![(0, 6)], 50);
        cluster.start(JobId(2), vec![(1, 8)], 80);
        cluster.start(JobId(3), vec![(0, 1)], 70);
        let reservation = cluster.reserve(JobId(9), 7, &[], 10).unwrap();
        assert_eq!(reservation.start_s, 50);
        assert_eq!(cluster.find_beside(&reservation, 1, &[]), None, "the machine's last GPU is the head's");
        assert_eq!(cluster.reserve(JobId(9), 16, &[], 10).unwrap().start_s, 80);
        assert_eq!(cluster.reserve(JobId(9), 17, &[], 10), None);
    }

    #[test]
    fn what_is_spare_at_the_reserved_start_may_be_taken_until_it_is_gone() {
        let mut cluster = Cluster::new(vec![8]);
        cluster.start(JobId(1), vec![(0, 5)], 50);
        let mut reservation = cluster.reserve(JobId(9), 6, &[], 10).unwrap();
        let gang = cluster.find_beside(&reservation, 2, &[]).unwrap();
        reservation.take(&gang);
        assert_eq!(cluster.find_beside(&reservation, 1, &[]), None);
    }

    #[test]
    fn a_machine_that_leaves_ends_its_jobs_and_comes_back_empty() {
        let mut cluster = Cluster::new(vec![8, 8]);
        cluster.start(JobId(1), vec![(0, 8), (1, 8)], 50);
        assert_eq!(cluster.remove_machine(WorkerId(0)), [JobId(1)]);
        assert_eq!((cluster.free(), cluster.capacity()), (8, 8));
        assert_eq!(cluster.find(9, &[]), None);
        cluster.add_machine(WorkerId(0), 8);
        cluster.add_machine(WorkerId(3), 4);
        assert_eq!((cluster.free(), cluster.capacity()), (20, 20));
    }

    #[test]
    fn excluded_machines_are_passed_over() {
        let mut cluster = Cluster::new(vec![8, 8]);
        assert_eq!(cluster.find(8, &[WorkerId(0)]), Some(vec![(1, 8)]));
        assert_eq!(cluster.find(16, &[WorkerId(0)]), None);
        cluster.start(JobId(1), vec![(1, 1)], 50);
        assert_eq!(cluster.reserve(JobId(2), 8, &[WorkerId(0)], 10).unwrap().start_s, 50);
        assert_eq!(cluster.reserve(JobId(2), 8, &[WorkerId(0), WorkerId(1)], 10), None);
    }
}
