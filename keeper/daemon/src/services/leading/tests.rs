mod memory;
mod sharing;

use std::sync::atomic::AtomicU64;

use futures::FutureExt as _;
use keeper_store::{Identity, Lease, SqliteStore, StoreError};
use keeper_types::{BlockNumber, ChainId, Felt};
use serde_json::Value;
use tokio::{task::JoinHandle, time::Instant};

use super::*;

fn duty(term: u64) -> Duty {
    Duty { fences: vec![Fence { name: LEADER.to_owned(), term }], shards: None }
}

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn work_is_done_under_each_grant_and_dropped_with_it() {
    let claim = TenureHolder::<Duty>::default();
    let (cancel, begun) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
    let seen = begun.clone();
    let leading = Leadership::Shared(claim.tenure()).while_leading(cancel.clone(), move |duty, cancel| {
        let seen = seen.clone();
        async move {
            seen.store(duty.fences[0].term, Ordering::SeqCst);
            cancel.cancelled().await;
            Ok(())
        }
    });
    let leading = tokio::spawn(leading);
    let until = async |term| {
        while begun.load(Ordering::SeqCst) != term {
            tokio::task::yield_now().await;
        }
    };
    claim.hold(duty(3), Instant::now() + HOUR);
    until(3).await;
    // Another grant to the same holder is another leadership: what was decided under the first is refused.
    claim.hold(duty(5), Instant::now() + HOUR);
    until(5).await;
    claim.end();
    assert!(!leading.is_finished(), "it stands by");
    claim.hold(duty(6), Instant::now() + HOUR);
    until(6).await;
    cancel.cancel();
    leading.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_the_database_refuses_ends_the_work_and_not_the_service() {
    let claim = TenureHolder::<Duty>::default();
    let (cancel, tries) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
    let counted = tries.clone();
    let leading = Leadership::Shared(claim.tenure()).while_leading(cancel.clone(), move |duty, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        let Fence { name, term } = duty.fences[0].clone();
        async move { Err(StoreError::Fenced { name, term }.into()) }
    });
    let leading = tokio::spawn(leading);
    for grant in 1..=3 {
        claim.hold(duty(grant), Instant::now() + HOUR);
        while tries.load(Ordering::SeqCst) != grant {
            tokio::task::yield_now().await;
        }
    }
    assert!(!leading.is_finished(), "the holder does not know yet");
    cancel.cancel();
    leading.await.unwrap().unwrap();
    assert_eq!(tries.load(Ordering::SeqCst), 3, "once for each grant");
}

#[tokio::test]
async fn who_has_the_database_for_itself_needs_no_grant() {
    let done = Leadership::Alone.while_leading(CancellationToken::new(), async |duty, _| {
        assert_eq!(duty, Duty::default());
        Ok(())
    });
    done.await.unwrap();
}

/// A keeper that does nothing but keep its leases.
struct Keeper {
    service: Leasing,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), Failure>>,
}

impl Keeper {
    fn start(store: &Arc<SqliteStore>, name: &str) -> Self {
        let (held, health) = (Arc::new(AtomicBool::new(true)), Arc::new(Health::new()));
        let service = Leasing {
            leases: store.clone(),
            holder: name.to_owned(),
            time: Duration::from_secs(1),
            silence: HOUR,
            lanes: vec![Claim::to(format!("lane/{name}"))],
            shards: 1,
            leads: Arc::default(),
            sending: watch::Sender::new(LaneStatus::default()).subscribe(),
            held,
            health,
        };
        let cancel = CancellationToken::new();
        let task = tokio::spawn(service.clone().run(cancel.clone()));
        Self { service, cancel, task }
    }

    async fn until(&self, is_so: impl Fn(&Value) -> bool) {
        loop {
            let told = serde_json::to_value(self.service.health.readiness()).unwrap();
            if is_so(&told) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn one_leads_that_reads_the_chain_and_another_takes_over_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = Address(Felt::ONE);
    let identity = Identity {
        chain_id: ChainId::SEPOLIA,
        job_mgr: nowhere,
        cdc_pool: nowhere,
        task_allocator: nowhere,
        deployment_block: BlockNumber(1),
    };
    let store = Arc::new(SqliteStore::open(&folder.path().join("keeper.sqlite"), identity).await.unwrap());
    let (first, second) = (Keeper::start(&store, "first"), Keeper::start(&store, "second"));
    let nobody = |told: &Value| told["role"] == "stands_by" && told["leader"].is_null();
    first.until(nobody).await;
    second.until(nobody).await;
    for keeper in [&first, &second] {
        assert!(keeper.service.lanes[0].tenure().fence().is_some(), "it may look after what it sent");
        keeper.service.held.store(false, Ordering::Relaxed);
    }
    first.service.health.followed(BlockNumber(9), BlockNumber(9));
    first.until(|told| told["role"] == "leads").await;
    second.service.health.followed(BlockNumber(9), BlockNumber(9));
    second.until(|told| told["leader"] == "first").await;
    first.stop().await;
    second.until(|told| told["role"] == "leads").await;
    assert_eq!(store.current("lane/first").await.unwrap(), None, "what it had is given back");
    // Too far behind, it may not go on.
    second.service.health.followed(BlockNumber(9), BlockNumber(90));
    second.until(nobody).await;
    second.stop().await;
}

#[tokio::test]
async fn what_was_decided_under_a_grant_counts_until_that_grant_is_over() {
    let claim = TenureHolder::<Duty>::default();
    let leadership = Leadership::Shared(claim.tenure());
    let shard = |shard, term| Fence { name: format!("leader/{shard}-of-2"), term };
    let leads = |fences: &[Fence]| {
        claim.hold(Duty { fences: fences.to_vec(), shards: None }, Instant::now() + HOUR);
    };
    let is_over = |duty: &[Fence]| leadership.over(duty).now_or_never().is_some();
    assert!(is_over(&[shard(0, 1)]), "nothing is led");
    leads(&[shard(0, 1), shard(1, 4)]);
    assert!(!is_over(&[shard(0, 1)]) && !is_over(&[shard(0, 1), shard(1, 4)]));
    assert!(is_over(&[shard(0, 2)]) && is_over(&[shard(0, 1), shard(1, 3)]), "another term is another grant");

    let (of_one, of_both) = ([shard(0, 1)], [shard(0, 1), shard(1, 4)]);
    let mut waiting = [Box::pin(leadership.over(&of_one)), Box::pin(leadership.over(&of_both))];
    let mut over = || waiting.each_mut().map(|waiting| waiting.now_or_never().is_some());
    assert_eq!(over(), [false, false]);
    leads(&[shard(0, 1)]);
    assert_eq!(over(), [false, true], "the other shard is led on");
    claim.end();
    assert!(is_over(&of_one) && is_over(&of_both));
    assert!(Leadership::Alone.over(&of_one).now_or_never().is_none(), "nobody else decides");
}
