use std::{
    future::pending,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::{sync::mpsc, task::JoinHandle, time::sleep};

use super::*;
use crate::services::signals::Signal;

/// A keeper of services that a test makes up.
struct Keeper {
    supervisor: Supervisor,
    health: Arc<Health>,
}

/// One that runs.
struct Running {
    signals: mpsc::Sender<Signal>,
    task: JoinHandle<Result<(), Stopped>>,
    health: Arc<Health>,
}

fn keeper() -> Keeper {
    let health = Arc::new(Health::new());
    Keeper { supervisor: Supervisor::new(health.clone()), health }
}

impl Keeper {
    /// Adds a service that counts its starts and does what `run` says, given which start it is, from 1.
    fn add<F, S>(&mut self, name: &'static str, stage: Stage, mut run: S) -> Arc<AtomicU32>
    where
        S: FnMut(u32, CancellationToken) -> F + Send + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let starts = Arc::new(AtomicU32::new(0));
        let count = starts.clone();
        self.supervisor.add(name, stage, move |cancel| run(count.fetch_add(1, Ordering::Relaxed) + 1, cancel));
        starts
    }

    fn run(self) -> Running {
        let (signals, received) = Signals::by_hand();
        Running { signals, task: tokio::spawn(self.supervisor.run(received)), health: self.health }
    }
}

impl Running {
    async fn signal(&self) {
        self.signals.send(Signal::Terminate).await.unwrap();
    }

    async fn ended(self) -> Result<(), Stopped> {
        self.task.await.unwrap()
    }
}

async fn until_cancelled(cancel: CancellationToken) -> Result<(), Failure> {
    cancel.cancelled().await;
    Ok(())
}

fn passing() -> Result<(), Failure> {
    Err(Failure::Passing(anyhow!("it broke")))
}

fn said(stopped: Stopped) -> String {
    format!("{:#}", anyhow::Error::from(stopped))
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_in_passing_is_started_again_after_longer_and_longer_pauses() {
    let mut keeper = keeper();
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = times.clone();
    let starts = keeper.add("the frail one", Stage::Work, move |start, cancel| {
        seen.lock().unwrap().push(Instant::now());
        async move { if start < 5 { passing() } else { until_cancelled(cancel).await } }
    });
    let others = keeper.add("the good one", Stage::Work, |_, cancel| until_cancelled(cancel));
    let running = keeper.run();
    sleep(Duration::from_secs(30)).await;
    assert_eq!((starts.load(Ordering::Relaxed), others.load(Ordering::Relaxed)), (5, 1), "the others are left alone");
    let times = times.lock().unwrap().clone();
    for (failures, pair) in (1..).zip(times.windows(2)) {
        let (pause, longest) = (pair[1] - pair[0], restarts::longest_pause(failures));
        // The clock of a paused runtime has milliseconds.
        assert!(pause >= longest / 2 && pause <= longest + Duration::from_millis(2), "{pause:?} of {longest:?}");
    }
    running.signal().await;
    running.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_service_that_was_well_for_long_begins_with_the_shortest_pause() {
    let mut keeper = keeper();
    let starts = keeper.add("the tired one", Stage::Work, |start, cancel| async move {
        match start {
            1..=6 => passing(),
            7 => {
                sleep(restarts::WELL_AFTER).await;
                passing()
            }
            _ => until_cancelled(cancel).await,
        }
    });
    let running = keeper.run();
    // Six pauses of 0.5 to 16 s, the good time, and one pause of half a second at most.
    sleep(Duration::from_millis(31_500) + restarts::WELL_AFTER + Duration::from_millis(520)).await;
    assert_eq!(starts.load(Ordering::Relaxed), 8);
    running.signal().await;
    running.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_final_failure_stops_the_others_and_is_named() {
    let mut keeper = keeper();
    let stopped = Arc::new(AtomicU32::new(0));
    let count = stopped.clone();
    keeper.add("the good one", Stage::Belief, move |_, cancel| {
        let count = count.clone();
        async move {
            cancel.cancelled().await;
            count.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    });
    keeper.add("the bad one", Stage::Work, |_, _| async { Err(Failure::Final(Cause::Store, anyhow!("it broke"))) });
    let error = keeper.run().ended().await.unwrap_err();
    assert_eq!(error.cause().exit_code(), 13);
    assert_eq!(said(error), "the bad one failed: it broke");
    assert_eq!(stopped.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_ends_by_itself_is_started_again() {
    let mut keeper = keeper();
    let starts = keeper.add("the short one", Stage::Work, |start, cancel| async move {
        if start == 1 { Ok(()) } else { until_cancelled(cancel).await }
    });
    let running = keeper.run();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(starts.load(Ordering::Relaxed), 2);
    running.signal().await;
    running.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn when_the_budget_of_restarts_is_spent_the_keeper_stops() {
    let mut keeper = keeper();
    let hopeless = keeper.add("the hopeless one", Stage::Work, |_, _| async { passing() });
    let other = keeper.add("the other", Stage::Work, |_, _| async {
        sleep(Duration::from_secs(60)).await;
        passing()
    });
    let error = keeper.run().ended().await.unwrap_err();
    assert_eq!(error.cause(), Cause::Restarts);
    assert!(said(error).starts_with("restarted 10 times within 600 s in vain, and the "));
    // The budget is for all of them: the restart of one may still be waited for when the other fails once too often.
    let restarted = (hopeless.load(Ordering::Relaxed) + other.load(Ordering::Relaxed)) as usize - 2;
    assert!((restarts::BUDGET - 1..=restarts::BUDGET).contains(&restarted), "{restarted} restarts");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_survived_once_and_the_second_names_the_service() {
    let mut keeper = keeper();
    let starts = keeper.add("the nervous one", Stage::Work, |start, cancel| async move {
        assert_ne!(start, 1, "a fright");
        sleep(restarts::WINDOW / 2).await;
        assert_ne!(start, 2, "another");
        until_cancelled(cancel).await
    });
    let error = keeper.run().ended().await.unwrap_err();
    assert_eq!((error.cause(), starts.load(Ordering::Relaxed)), (Cause::Panics, 2));
    let said = said(error);
    assert!(said.starts_with("the nervous one panicked again: ") && said.contains("another"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn panics_that_are_far_apart_are_survived() {
    let mut keeper = keeper();
    let starts = keeper.add("the nervous one", Stage::Work, |start, cancel| async move {
        sleep(restarts::WINDOW).await;
        assert!(start > 3, "a fright");
        until_cancelled(cancel).await
    });
    let running = keeper.run();
    sleep(restarts::WINDOW * 4).await;
    assert_eq!(starts.load(Ordering::Relaxed), 4);
    running.signal().await;
    running.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn stages_stop_one_after_the_other() {
    let mut keeper = keeper();
    let order = Arc::new(Mutex::new(Vec::new()));
    for (name, stage) in [("probes", Stage::Probes), ("belief", Stage::Belief), ("work", Stage::Work)] {
        let order = order.clone();
        keeper.add(name, stage, move |_, cancel| {
            let order = order.clone();
            async move {
                cancel.cancelled().await;
                order.lock().unwrap().push(format!("{name} was told"));
                sleep(Duration::from_millis(500)).await;
                order.lock().unwrap().push(format!("{name} ended"));
                Ok(())
            }
        });
    }
    let running = keeper.run();
    sleep(Duration::from_secs(1)).await;
    assert!(running.health.readiness().checks["supervisor"].ok);
    running.signal().await;
    sleep(Duration::from_millis(100)).await;
    assert!(!running.health.readiness().checks["supervisor"].ok, "who stops is not ready");
    running.ended().await.unwrap();
    let wanted = ["work was told", "work ended", "belief was told", "belief ended", "probes was told", "probes ended"];
    assert_eq!(*order.lock().unwrap(), wanted);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_stop_is_given_up() {
    let mut keeper = keeper();
    keeper.add("the deaf one", Stage::Work, |_, _| pending());
    keeper.add("the slow one", Stage::Work, |_, cancel| async move {
        cancel.cancelled().await;
        sleep(Duration::from_secs(7)).await;
        Ok(())
    });
    keeper.add("the last one", Stage::Probes, |_, cancel| until_cancelled(cancel));
    let running = keeper.run();
    running.signal().await;
    let told = Instant::now();
    let error = running.ended().await.unwrap_err();
    assert!(told.elapsed() <= STOP_LIMIT);
    assert_eq!(error.cause().exit_code(), 17);
    assert_eq!(error.to_string(), "the deaf one did not stop within 10 s");
}

#[tokio::test(start_paused = true)]
async fn services_that_all_hang_are_given_up_within_the_limit() {
    let mut keeper = keeper();
    for (name, stage) in [("one", Stage::Work), ("two", Stage::Belief), ("three", Stage::Probes)] {
        keeper.add(name, stage, |_, _| pending());
    }
    let running = keeper.run();
    running.signal().await;
    let told = Instant::now();
    let error = running.ended().await.unwrap_err();
    assert!(told.elapsed() <= STOP_LIMIT + Duration::from_millis(2), "{:?}", told.elapsed());
    assert_eq!(error.to_string(), "one, two, three did not stop within 10 s");
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_ends_it_at_once() {
    let mut keeper = keeper();
    keeper.add("the slow one", Stage::Work, |_, _| pending());
    let running = keeper.run();
    running.signal().await;
    sleep(Duration::from_secs(2)).await;
    let told = Instant::now();
    running.signal().await;
    let error = running.ended().await.unwrap_err();
    assert!(told.elapsed() < Duration::from_millis(10));
    assert_eq!(error.cause().exit_code(), 143);
}

#[tokio::test(start_paused = true)]
async fn a_signal_finds_a_service_that_waits_to_be_started_again() {
    let mut keeper = keeper();
    let starts = keeper.add("the frail one", Stage::Work, |_, _| async { passing() });
    let running = keeper.run();
    sleep(Duration::from_millis(100)).await;
    running.signal().await;
    running.ended().await.unwrap();
    assert_eq!(starts.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_database_costs_no_restart_however_long_it_is() {
    let mut keeper = keeper();
    let starts =
        keeper.add("writing", Stage::Work, async |_, _| Err(Failure::Outage(anyhow!("the server does not answer"))));
    let running = keeper.run();
    sleep(restarts::WINDOW / 2).await;
    let tries = starts.load(Ordering::Relaxed);
    assert!(tries > 100, "it was tried {tries} times: soon after its end it would be noticed");
    running.signal().await;
    running.ended().await.unwrap();
}
