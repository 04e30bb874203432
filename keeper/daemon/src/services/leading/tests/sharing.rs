//! How keepers share out shards, by the test's own clock.

use std::collections::BTreeMap;

use keeper_chain::lane::LaneStatus;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::time::{advance, sleep};

use super::{
    super::sharing::{Division, shard_lease},
    memory::MemoryLeases,
    *,
};

const LEASE: Duration = Duration::from_secs(3);
/// Within so long what one led is another's.
const TAKEN_OVER: Duration = Duration::from_secs(6);
/// How often it is looked: a look between any two steps of theirs would find nothing else.
const LOOK: Duration = Duration::from_millis(25);
/// After so long nothing moves any more.
const SETTLED: Duration = Duration::from_secs(40);

/// A keeper that does nothing but keep its leases.
struct Member {
    service: Leasing,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), Failure>>,
    sending: watch::Sender<LaneStatus>,
}

fn service(leases: &Arc<MemoryLeases>, name: &str, account: &str, shards: u8) -> (Leasing, watch::Sender<LaneStatus>) {
    let health = Arc::new(Health::new());
    health.followed(BlockNumber(9), BlockNumber(9));
    let sending = watch::Sender::new(LaneStatus::default());
    let service = Leasing {
        leases: leases.clone(),
        holder: name.to_owned(),
        time: LEASE,
        silence: HOUR,
        lanes: vec![Claim::to(format!("lane/{account}"))],
        shards,
        leads: Arc::default(),
        sending: sending.subscribe(),
        held: Arc::new(AtomicBool::new(false)),
        health,
    };
    (service, sending)
}

impl Member {
    fn start(leases: &Arc<MemoryLeases>, name: &str, shards: u8) -> Self {
        Self::with_account(leases, name, name, shards)
    }

    fn with_account(leases: &Arc<MemoryLeases>, name: &str, account: &str, shards: u8) -> Self {
        let (service, sending) = service(leases, name, account, shards);
        let cancel = CancellationToken::new();
        let task = tokio::spawn(service.clone().run(cancel.clone()));
        Self { service, cancel, task, sending }
    }

    /// The shards that it would decide about now.
    fn leads(&self) -> Vec<u8> {
        let duty = self.service.leads.tenure().fence().unwrap_or_default();
        let shards: Vec<u8> = duty.shards.iter().flat_map(ShardSet::members).collect();
        assert_eq!(duty.fences.len(), shards.len(), "a grant for each");
        shards
    }

    /// As a kill: nothing is given back.
    fn kill(&self) {
        self.task.abort();
        self.service.leads.end();
    }

    fn is_able(&self, is_able: bool) {
        self.service.held.store(!is_able, Ordering::Relaxed);
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// How many shards each leads. Nobody leads what another does.
fn counted(members: &[&Member]) -> Vec<usize> {
    let all: Vec<u8> = members.iter().flat_map(|member| member.leads()).collect();
    let distinct: std::collections::BTreeSet<u8> = all.iter().copied().collect();
    assert_eq!(distinct.len(), all.len(), "two lead one shard: {all:?}");
    members.iter().map(|member| member.leads().len()).collect()
}

/// Waits for so long, and looks all the time that no two lead one shard.
async fn pass(time: Duration, members: &[&Member]) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        counted(members);
        sleep(LOOK).await;
    }
}

/// Waits until each leads so many; returns how long that took.
async fn until(members: &[&Member], expected: &[usize]) -> Duration {
    let began = Instant::now();
    while counted(members) != expected {
        assert!(began.elapsed() < SETTLED, "{:?} lead {:?}, not {expected:?}", members.len(), counted(members));
        sleep(LOOK).await;
    }
    began.elapsed()
}

fn even(mut counts: Vec<usize>) -> bool {
    counts.sort_unstable();
    counts.last().zip(counts.first()).is_none_or(|(most, fewest)| most - fewest <= 1)
}

#[tokio::test(start_paused = true)]
async fn shards_are_shared_out_evenly_and_stay_where_they_are() {
    for shards in [2, 3, 7, 16] {
        let leases = Arc::new(MemoryLeases::new());
        let members: Vec<Member> = ["a", "b", "c"].iter().map(|name| Member::start(&leases, name, shards)).collect();
        let members: Vec<&Member> = members.iter().collect();
        pass(SETTLED, &members).await;
        let settled = counted(&members);
        assert_eq!(settled.iter().sum::<usize>(), usize::from(shards), "all are led");
        assert!(even(settled.clone()), "{settled:?} of {shards}");
        let moved = leases.grants().len();
        pass(Duration::from_mins(1), &members).await;
        assert_eq!(leases.grants().len(), moved, "nothing goes to and fro");
    }
}

#[tokio::test(start_paused = true)]
async fn everything_is_taken_over_within_seconds_when_one_is_killed() {
    let leases = Arc::new(MemoryLeases::new());
    let members = ["a", "b", "c"].map(|name| Member::start(&leases, name, 6));
    until(&members.each_ref(), &[2, 2, 2]).await;
    members[1].kill();
    let took = until(&[&members[0], &members[2]], &[3, 3]).await;
    assert!(took <= TAKEN_OVER, "{took:?}");
    members[2].kill();
    let took = until(&[&members[0]], &[6]).await;
    assert!(took <= TAKEN_OVER, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_one_stops_doing_by_itself_is_anothers_at_once() {
    let leases = Arc::new(MemoryLeases::new());
    let [first, second] = ["a", "b"].map(|name| Member::start(&leases, name, 4));
    until(&[&first, &second], &[2, 2]).await;
    // It may send nothing, as one that reads the chain no more.
    first.is_able(false);
    let took = until(&[&first, &second], &[0, 4]).await;
    assert!(took <= Duration::from_millis(2_500), "two looks: {took:?}");
    first.is_able(true);
    until(&[&first, &second], &[2, 2]).await;
    second.stop().await;
    let took = until(&[&first], &[4]).await;
    assert!(took <= Duration::from_millis(2_500), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_is_given_its_share_at_a_calm_moment() {
    let leases = Arc::new(MemoryLeases::new());
    let first = Member::start(&leases, "a", 4);
    until(&[&first], &[4]).await;
    first.sending.send_modify(|status| status.in_flight = 1);
    let second = Member::start(&leases, "b", 4);
    pass(Duration::from_secs(10), &[&first, &second]).await;
    assert_eq!(counted(&[&first, &second]), [4, 0], "something of its is on its way");
    first.sending.send_modify(|status| status.in_flight = 0);
    let took = until(&[&first, &second], &[2, 2]).await;
    assert!(took <= Duration::from_secs(4), "{took:?}");
    // A keeper that always has something on its way gives back all the same.
    for member in [&first, &second] {
        member.sending.send_modify(|status| status.in_flight = 1);
    }
    let third = Member::start(&leases, "c", 4);
    until(&[&first, &second, &third], &[2, 1, 1]).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_and_goes_moves_nothing() {
    let leases = Arc::new(MemoryLeases::new());
    let first = Member::start(&leases, "a", 4);
    until(&[&first], &[4]).await;
    let led = |leases: &MemoryLeases| leases.grants().iter().filter(|(.., name)| name.starts_with(LEADER)).count();
    let before = led(&leases);
    for _ in 0..10 {
        let flapping = Member::start(&leases, "b", 4);
        pass(Duration::from_secs(3), &[&first, &flapping]).await;
        flapping.stop().await;
        pass(Duration::from_secs(2), &[&first]).await;
    }
    assert_eq!(counted(&[&first]), [4]);
    assert_eq!(led(&leases), before);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_started_again_goes_on_with_what_it_had() {
    let leases = Arc::new(MemoryLeases::new());
    let [first, second] = ["a", "b"].map(|name| Member::start(&leases, name, 4));
    until(&[&first, &second], &[2, 2]).await;
    let had = first.leads();
    first.kill();
    let again = Member::start(&leases, "a", 4);
    let took = until(&[&again, &second], &[2, 2]).await;
    assert!(took <= Duration::from_secs(1), "{took:?}");
    assert_eq!(again.leads(), had);
}

/// Of two with one account the holder of its lane leads, and the other only when that is gone.
#[tokio::test(start_paused = true)]
async fn keepers_with_one_account_do_not_lead_both() {
    let leases = Arc::new(MemoryLeases::new());
    let first = Member::with_account(&leases, "a", "one", 3);
    until(&[&first], &[3]).await;
    let second = Member::with_account(&leases, "b", "one", 3);
    let third = Member::with_account(&leases, "c", "another", 3);
    pass(SETTLED, &[&first, &second, &third]).await;
    assert_eq!(counted(&[&first, &second, &third]), [2, 0, 1], "two of the three accounts' holders share");
    first.kill();
    pass(SETTLED, &[&second, &third]).await;
    let counts = counted(&[&second, &third]);
    assert!(counts.iter().sum::<usize>() == 3 && even(counts.clone()), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn keepers_with_different_numbers_of_shards_never_both_lead() {
    for (theirs, ours) in [(1, 3), (3, 1), (2, 3)] {
        let leases = Arc::new(MemoryLeases::new());
        let first = Member::start(&leases, "a", theirs);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(first.service.leads.tenure().fence().unwrap().fences.len(), usize::from(theirs));
        let second = Member::start(&leases, "b", ours);
        while !second.task.is_finished() {
            assert_eq!(second.service.leads.tenure().fence(), None);
            sleep(LOOK).await;
        }
        let Err(Failure::Final(cause, error)) = second.task.await.unwrap() else { panic!("it goes on") };
        assert_eq!(cause.exit_code(), 18);
        let error = error.to_string();
        assert!(error.contains(&format!("keeper.shards = {theirs}, but this one has {ours}")), "{error}");
        assert!(error.contains("hint: give all keepers of a database the same number"), "{error}");
        assert!(!first.task.is_finished(), "the other leads on");
        assert!(first.service.leads.tenure().fence().is_some());
    }
}

/// Whoever was there stays there, able to lead or not: a newcomer with another number takes nothing and ends.
#[tokio::test(start_paused = true)]
async fn a_wrong_number_takes_nothing_and_ends_whoever_has_its_account() {
    for (theirs, ours) in [(1, 3), (3, 1), (2, 16)] {
        for account in ["b", "a"] {
            let leases = Arc::new(MemoryLeases::new());
            let first = Member::start(&leases, "a", theirs);
            sleep(Duration::from_secs(2)).await;
            let before = leases.grants().len();
            // With the account of one that is at work it would never have led, and so never ended.
            let second = Member::with_account(&leases, "b", account, ours);
            let ended = tokio::time::timeout(LEASE, second.task).await.expect("it ends within a lease's time");
            let Err(Failure::Final(cause, error)) = ended.unwrap() else { panic!("it goes on") };
            assert_eq!(cause.exit_code(), 18);
            assert!(
                error.to_string().contains(&format!("keeper.shards = {theirs}, but this one has {ours}")),
                "{error}"
            );
            let taken: Vec<_> =
                leases.grants().split_off(before).into_iter().filter(|(_, who, _)| who == "b").collect();
            assert!(taken.is_empty(), "it took {taken:?}");
            assert!(!first.task.is_finished() && first.service.leads.tenure().fence().is_some(), "the other leads on");
        }
    }
}

/// Keepers whose node is away lead nothing for a while; their number stands.
#[tokio::test(start_paused = true)]
async fn the_right_ones_are_not_pushed_out_while_none_of_them_leads() {
    let leases = Arc::new(MemoryLeases::new());
    let [first, second] = ["a", "b"].map(|name| Member::start(&leases, name, 2));
    until(&[&first, &second], &[1, 1]).await;
    [&first, &second].into_iter().for_each(|member| member.is_able(false));
    until(&[&first, &second], &[0, 0]).await;
    let wrong = Member::start(&leases, "0", 5);
    let ended = tokio::time::timeout(LEASE, wrong.task).await.expect("it ends within a lease's time");
    let Err(Failure::Final(_, error)) = ended.unwrap() else { panic!("it goes on") };
    assert!(error.to_string().contains("keeper.shards = 2, but this one has 5"), "{error}");
    [&first, &second].into_iter().for_each(|member| member.is_able(true));
    until(&[&first, &second], &[1, 1]).await;
    assert!(!first.task.is_finished() && !second.task.is_finished());
}

/// Before anything is set up: the same question, without a lease of one's own.
#[tokio::test(start_paused = true)]
async fn a_start_is_refused_while_another_number_lives_and_not_after() {
    let leases = Arc::new(MemoryLeases::new());
    let first = Member::start(&leases, "a", 3);
    until(&[&first], &[3]).await;
    let error = refuse_other_numbers(&*leases, 2, LEASE).await.unwrap_err();
    let failed = anyhow::Error::from(error);
    assert_eq!(super::super::super::failure::Cause::of(&failed).map(|cause| cause.exit_code()), Some(18));
    let (message, hint) = crate::output::described(&failed);
    assert!(message.contains("keeper.shards = 3, but this one has 2"), "{message}");
    assert!(hint.unwrap().contains("give all keepers of a database the same number (--shards, KEEPER_SHARDS)"));
    refuse_other_numbers(&*leases, 3, LEASE).await.unwrap();
    first.kill();
    refuse_other_numbers(&*leases, 2, LEASE).await.unwrap();
}

/// A fleet that is stopped may come back with another number, also where its leases have not ended yet.
#[tokio::test(start_paused = true)]
async fn leases_of_keepers_that_are_gone_do_not_forbid_another_number() {
    let leases = Arc::new(MemoryLeases::new());
    let first = Member::start(&leases, "a", 3);
    until(&[&first], &[3]).await;
    first.kill();
    let again = Member::start(&leases, "a", 4);
    let took = until(&[&again], &[4]).await;
    assert!(took <= TAKEN_OVER, "{took:?}");
}

/// Started together, with different numbers: whoever comes first, at no time do both lead.
#[tokio::test(start_paused = true)]
async fn of_two_numbers_at_the_same_moment_at_most_one_leads() {
    for delay_ms in [0, 1, 2, 3, 4, 5, 8, 13, 500] {
        let leases = Arc::new(MemoryLeases::new());
        let first = Member::start(&leases, "a", 3);
        sleep(Duration::from_millis(delay_ms)).await;
        let second = Member::start(&leases, "b", 1);
        let until = Instant::now() + SETTLED;
        while Instant::now() < until {
            let lead = [&first, &second].map(|member| member.service.leads.tenure().fence().is_some());
            assert_ne!(lead, [true, true], "after {delay_ms} ms");
            sleep(LOOK).await;
        }
        assert!(first.task.is_finished() || second.task.is_finished(), "one has given up");
    }
}

/// Keepers that are killed, stopped, held up and started in any order: whenever nothing has happened for a while, every
/// shard is led, evenly; and at no time by two.
#[tokio::test(start_paused = true)]
async fn whatever_happens_the_shards_are_led_again() {
    for seed in 0..8 {
        let mut rng = StdRng::seed_from_u64(seed);
        let shards = rng.random_range(2..=8_u8);
        let leases = Arc::new(MemoryLeases::new());
        let mut members: BTreeMap<u32, Member> =
            (0..3).map(|name| (name, Member::start(&leases, &name.to_string(), shards))).collect();
        for event in 0..15 {
            let name = rng.random_range(0..4_u32);
            match rng.random_range(0..4) {
                0 => _ = members.remove(&name).inspect(Member::kill),
                1 => {
                    if let Some(member) = members.remove(&name) {
                        member.stop().await;
                    }
                }
                2 => _ = members.get(&name).inspect(|member| member.is_able(rng.random_bool(0.5))),
                _ => {
                    members.remove(&name).inspect(Member::kill);
                    members.insert(name, Member::start(&leases, &name.to_string(), shards));
                }
            }
            let all: Vec<&Member> = members.values().collect();
            pass(Duration::from_millis(rng.random_range(0..9_000)), &all).await;
            let able: Vec<&Member> =
                members.values().filter(|member| !member.service.held.load(Ordering::Relaxed)).collect();
            if event % 5 == 4 && !able.is_empty() {
                pass(SETTLED, &all).await;
                let counts = counted(&able);
                assert_eq!(counts.iter().sum::<usize>(), usize::from(shards), "seed {seed}, event {event}: {counts:?}");
                assert!(even(counts.clone()), "seed {seed}, event {event}: {counts:?}");
            }
        }
    }
}

#[test]
fn names_of_leases_say_which_shard_they_are_of() {
    assert_eq!(shard_lease(0, 1), "leader", "one shard is what it always was");
    assert_eq!(shard_lease(2, 3), "leader/2-of-3");
    assert_eq!(shard_of_lease("leader"), Some((0, 1)));
    assert_eq!(shard_of_lease("leader/2-of-3"), Some((2, 3)));
    for other in ["lane/0x1", "leaders", "leader/", "leader/2", "leader/x-of-3", "candidate/leader"] {
        assert_eq!(shard_of_lease(other), None, "{other}");
    }
}

fn standing(leads: &[usize], shards: u8) -> Vec<Lease> {
    let lease = |name: String, holder: usize| Lease { name, holder: format!("k{holder}"), term: 1, expires_ms: 1 };
    let mut leases: Vec<Lease> = (0..leads.len()).map(|holder| lease(format!("candidate/k{holder}"), holder)).collect();
    let held = leads.iter().enumerate().flat_map(|(holder, count)| std::iter::repeat_n(holder, *count));
    leases.extend((0..shards).zip(held).map(|(shard, holder)| lease(shard_lease(shard, shards), holder)));
    leases
}

/// From the same leases all compute targets that add up, none above what it may be.
#[test]
fn targets_add_up_and_are_even() {
    for shards in 2..=16_u8 {
        for drawn in 0..625_usize {
            // Four keepers with up to four shards each, and fewer keepers where the last have none.
            let leads: Vec<usize> = [1, 5, 25, 125].map(|place| drawn / place % 5).into();
            for keepers in 1..=leads.len() {
                check_targets(&leads[..keepers], shards);
            }
        }
    }
}

fn check_targets(leads: &[usize], shards: u8) {
    let standing = standing(leads, shards);
    let target = |holder| Division::read(&standing, shards, &format!("k{holder}")).unwrap().target();
    let targets: Vec<usize> = (0..leads.len()).map(target).collect();
    assert_eq!(targets.iter().sum::<usize>(), usize::from(shards), "{leads:?}");
    assert!(even(targets.clone()), "{targets:?}");
    assert!(targets.iter().all(|target| *target <= usize::from(shards).div_ceil(leads.len())));
    let stranger = Division::read(&standing, shards, "stranger").unwrap();
    assert_eq!((stranger.target(), stranger.room()), (0, 0), "who does not say that it is able has none");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_not_renewed_in_time_is_not_acted_under() {
    let leases = Arc::new(MemoryLeases::new());
    let member = Member::start(&leases, "a", 2);
    until(&[&member], &[2]).await;
    // As a process that stands still: its time goes on.
    member.task.abort();
    advance(LEASE * COUNTED_PERCENT / 100).await;
    assert_eq!(member.leads(), [0_u8; 0]);
}
