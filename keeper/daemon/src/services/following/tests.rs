//! With a chain in memory, which counts what it is asked, and a real WebSocket.

use futures::{SinkExt as _, StreamExt as _};
use keeper_follow::simulation::SimulatedChain;
use keeper_store::{Identity, SqliteStore};
use keeper_types::{Address, BlockNumber, ChainId, Felt};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_tungstenite::{accept_async, tungstenite::Message};

use super::*;

/// Ends a test that is wrong; none waits for it.
const LONG: Duration = Duration::from_secs(60);
/// The chain is not looked at by its turn within a test.
const AN_HOUR: Duration = Duration::from_secs(3_600);

/// A server that grants one subscription and then says what it is given, or floods where it is given nothing.
async fn server(mut say: Option<mpsc::UnboundedReceiver<Message>>) -> Heads {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let heads = Heads::new(&format!("ws://{}", listener.local_addr().unwrap()).parse().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut socket = accept_async(stream).await.unwrap();
            socket.next().await.unwrap().unwrap();
            socket.send(Message::text(r#"{"jsonrpc":"2.0","id":1,"result":"1"}"#)).await.unwrap();
            match &mut say {
                Some(say) => {
                    while let Some(message) = say.recv().await {
                        socket.send(message).await.unwrap();
                    }
                }
                None => while socket.send(Message::text("a block")).await.is_ok() {},
            }
        }
    });
    let running = heads.clone();
    tokio::spawn(async move { running.run().await });
    heads
}

struct Followed {
    chain: Arc<SimulatedChain>,
    heads: Heads,
    believed: watch::Receiver<Option<Arc<Believed>>>,
    _folder: tempfile::TempDir,
    _task: tokio_util::sync::DropGuard,
}

impl Followed {
    /// Follows a chain with these notices, and waits until it is caught up with and notices may come.
    async fn start(heads: Heads) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = |number: u64| Address(Felt::from(number));
        let identity = Identity {
            chain_id: ChainId::SEPOLIA,
            job_mgr: address(1),
            cdc_pool: address(2),
            task_allocator: address(3),
            deployment_block: BlockNumber(0),
        };
        let store = SqliteStore::open(&folder.path().join("keeper.sqlite"), identity).await.unwrap();
        let chain = Arc::new(SimulatedChain::new(20));
        let (sender, believed) = watch::channel(None);
        let following = Following {
            chain: chain.clone(),
            store: Arc::new(store),
            poll: AN_HOUR,
            heads: Some(heads.clone()),
            believed: Arc::new(sender),
            reindexed: Arc::new(AtomicBool::new(false)),
            latch: Arc::new(Latch::new()),
            is_local: true,
            health: Arc::new(Health::new()),
        };
        let cancel = CancellationToken::new();
        tokio::spawn(following.run(cancel.clone()));
        let mut followed = Self { chain, heads, believed, _folder: folder, _task: cancel.drop_guard() };
        followed.is_at_newest().await;
        followed
    }

    async fn is_at_newest(&mut self) {
        let newest = self.chain.newest();
        let is_there = |believed: &Option<Arc<Believed>>| believed.as_ref().is_some_and(|known| known.head == newest);
        tokio::time::timeout(LONG, self.believed.wait_for(is_there)).await.unwrap().unwrap();
    }

    async fn notices(&self, count: u64) {
        let come = async {
            while self.heads.health().notices < count {
                sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LONG, come).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_of_whatever_brings_the_next_block_long_before_its_turn() {
    let (say, said) = mpsc::unbounded_channel();
    let mut followed = Followed::start(server(Some(said)).await).await;
    let lies = [r#"{"params":{"result":{"block_number":0,"block_hash":"0xbad"}}}"#, "nonsense", "{}"];
    for (turn, lie) in lies.into_iter().enumerate() {
        followed.chain.grow(1);
        say.send(Message::text(lie)).unwrap();
        followed.is_at_newest().await;
        followed.notices(turn as u64 + 1).await;
    }
    // Also where the chain was reorganised meanwhile.
    followed.chain.reorganise(5, 7);
    say.send(Message::binary(vec![0])).unwrap();
    followed.is_at_newest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_notices_is_no_flood_of_requests() {
    let mut followed = Followed::start(server(None).await).await;
    let (began, before) = (std::time::Instant::now(), followed.chain.requests());
    followed.notices(3_000).await;
    let (asked, seconds) = (followed.chain.requests() - before, began.elapsed().as_secs() + 1);
    // Five looks that were saved up, and one a second. Each takes a request, and once there may be a comparison with the
    // contracts, of a few.
    assert!(asked <= 2 * (5 + seconds) + 10, "{asked} requests in {seconds} s");
    followed.chain.grow(1);
    followed.is_at_newest().await;
}
