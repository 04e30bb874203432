//! Against real WebSocket servers, most of which misbehave.

use tokio::net::TcpListener;
use tokio_tungstenite::accept_async;

use super::*;

/// Waits are for conditions, and none of them takes long; this ends a test that is wrong.
const LONG: Duration = Duration::from_secs(60);

type Served = WebSocketStream<TcpStream>;

fn quick() -> Patience {
    Patience { pause: Duration::from_millis(5), longest_pause: Duration::from_millis(20), ..Patience::default() }
}

/// Notices of a server that does this with each connection.
async fn heads_of<F: Future<Output = ()> + Send>(
    patience: Patience,
    serve: impl Fn(u64, TcpStream) -> F + Send + Sync + 'static,
) -> Heads {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            serve(number, stream).await;
        }
    });
    let heads = Heads { patience, ..Heads::new(&url) };
    let running = heads.clone();
    tokio::spawn(async move { running.run().await });
    heads
}

/// Takes the request for notices, and grants it.
async fn subscribed(stream: TcpStream) -> Served {
    let mut socket = accept_async(stream).await.unwrap();
    let Some(Ok(Message::Text(request))) = socket.next().await else { panic!("a request comes first") };
    let request: Value = serde_json::from_str(&request).unwrap();
    assert_eq!(request["method"], "starknet_subscribeNewHeads");
    let granted = json!({ "jsonrpc": "2.0", "id": request["id"], "result": "7" });
    socket.send(Message::text(granted.to_string())).await.unwrap();
    socket
}

async fn hold(mut socket: Served) {
    while let Some(Ok(_)) = socket.next().await {}
}

async fn until(heads: &Heads, what: &str, is_so: impl Fn(&HeadsHealth) -> bool) -> HeadsHealth {
    let waiting = async {
        loop {
            let health = heads.health();
            if is_so(&health) {
                return health;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("{what}: {:?}", heads.health()))
}

#[tokio::test]
async fn whatever_is_said_wakes_once() {
    let heads = heads_of(Patience::default(), |_, stream| async {
        let mut socket = subscribed(stream).await;
        for said in ["{\"params\":{\"result\":{\"block_number\":18446744073709551615}}}", "nonsense", "{}", ""] {
            socket.send(Message::text(said)).await.unwrap();
        }
        socket.send(Message::binary(vec![0, 255])).await.unwrap();
        hold(socket).await;
    })
    .await;
    let health = until(&heads, "five notices", |health| health.notices == 5).await;
    assert!(health.is_subscribed && health.age.is_some() && health.failure.is_none(), "{health:?}");
    timeout(LONG, heads.noticed()).await.unwrap();
    let again = timeout(Duration::from_millis(50), heads.noticed()).await;
    assert!(again.is_err(), "what came while nobody waited is one notice");
}

#[tokio::test]
async fn a_node_that_refuses_closes_or_talks_nonsense_is_connected_to_again() {
    let heads = heads_of(quick(), |number, stream| async move {
        match number {
            // No WebSocket at all.
            0 => drop(stream),
            1 => {
                let mut stream = stream;
                tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 404 Not Found\r\n\r\n").await.ok();
            }
            2 => {
                let mut socket = accept_async(stream).await.unwrap();
                let refused = json!({ "id": SUBSCRIBE, "error": { "code": -32_601, "message": "Method not found" } });
                socket.send(Message::text(refused.to_string())).await.unwrap();
                hold(socket).await;
            }
            3 => drop(subscribed(stream).await),
            _ => hold(subscribed(stream).await).await,
        }
    })
    .await;
    until(&heads, "a refusal", |health| health.failure.as_ref().is_some_and(|why| why.contains("Method not found")))
        .await;
    let health =
        until(&heads, "a subscription that lasts", |health| health.connections >= 3 && health.is_subscribed).await;
    assert_eq!(health.notices, 0);
}

#[tokio::test]
async fn a_node_without_a_sign_of_life_is_connected_to_again() {
    let patience = Patience { ping: Duration::from_millis(10), silence: Duration::from_millis(40), ..quick() };
    let heads = heads_of(patience, |number, stream| async move {
        let socket = subscribed(stream).await;
        if number == 0 {
            // It is not read, so that nothing answers; and it stays open.
            tokio::spawn(async move {
                tokio::time::sleep(LONG).await;
                drop(socket);
            });
        } else {
            hold(socket).await;
        }
    })
    .await;
    until(&heads, "another connection", |health| health.connections == 2 && health.is_subscribed).await;
}

#[tokio::test]
async fn a_node_that_answers_pings_and_sends_no_notices_is_connected_to_again() {
    let patience = Patience { ping: Duration::from_millis(10), quiet: Duration::from_millis(50), ..quick() };
    let heads = heads_of(patience, |_, stream| async { hold(subscribed(stream).await).await }).await;
    until(&heads, "another connection", |health| health.connections >= 2).await;
}

#[tokio::test]
async fn a_node_that_floods_is_left_alone() {
    let heads = heads_of(Patience { most_a_second: 100, ..quick() }, |_, stream| async {
        let mut socket = subscribed(stream).await;
        while socket.send(Message::text("head")).await.is_ok() {}
    })
    .await;
    let failure = until(&heads, "it is left alone", |health| health.failure.is_some()).await.failure;
    assert_eq!(failure.as_deref(), Some("it sends too many notices"));
}

#[tokio::test]
async fn a_check_says_whether_a_node_offers_notices() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap()).parse().unwrap();
    // Connected to by the system, and answered by nobody.
    let hasty = Heads { patience: Patience { connect: Duration::from_millis(50), ..quick() }, ..Heads::new(&url) };
    assert_eq!(hasty.check().await, Err("it cannot be connected to in time".to_owned()));
    let served = tokio::spawn(async move {
        drop(listener.accept().await.unwrap());
        hold(subscribed(listener.accept().await.unwrap().0).await).await;
    });
    Heads::new(&url).check().await.unwrap();
    served.await.unwrap();
}

#[test]
fn what_went_wrong_is_told_without_the_key() {
    let url: Url = "wss://me:hunter2@node.example/v2/abcdefghijklmnopqrstuv?key=hunter3".parse().unwrap();
    for reason in [
        format!("Unable to connect to {url}"),
        "no path /v2/abcdefghijklmnopqrstuv, key=hunter3, password hunter2".to_owned(),
    ] {
        let told = without_secrets(&url, &reason);
        assert!(!told.contains("hunter") && !told.contains("abcdefgh"), "{told}");
    }
    assert_eq!(without_secrets(&url, "it closed the connection"), "it closed the connection");
    let plain: Url = "ws://127.0.0.1:5050/ws".parse().unwrap();
    assert_eq!(without_secrets(&plain, "nobody at 127.0.0.1:5050/ws"), "nobody at 127.0.0.1:5050/ws");
}
