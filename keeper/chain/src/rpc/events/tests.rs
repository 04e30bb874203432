use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    Network, PoolSettings,
    rpc::{health::Identity, pool::Pool},
};

/// How many events there are.
const EVENTS: usize = 23;

/// How a node tells of its events.
#[derive(Clone, Copy)]
struct Node {
    /// Events on one of its pages.
    page: usize,
    /// One that it leaves out.
    missing: Option<usize>,
    /// It gives the same token again and again from here on.
    stuck: Option<usize>,
}

const HONEST: Node = Node { page: 5, missing: None, stuck: None };

fn event_of(number: usize) -> Value {
    json!({
        "from_address": "0x1", "keys": [format!("{number:#x}")], "data": [], "transaction_hash": "0x2",
        "block_hash": "0x3", "block_number": 4, "transaction_index": 0, "event_index": number,
    })
}

impl Node {
    fn page(self, request: &Value) -> Value {
        let token = request["params"]["filter"]["continuation_token"].as_str();
        let from: usize = token.map_or(0, |token| token.parse().unwrap());
        let all: Vec<Value> = (0..EVENTS).filter(|number| Some(*number) != self.missing).map(event_of).collect();
        let to = all.len().min(from + self.page);
        let next = self.stuck.filter(|stuck| to > *stuck).unwrap_or(to);
        let mut page = json!({ "events": all[from..to] });
        if next < all.len() {
            page["continuation_token"] = json!(next.to_string());
        }
        page
    }

    async fn serve(self, mut client: TcpStream) {
        let mut read = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&read).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length =
                    head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                if body.len() >= length.unwrap_or(0_usize) {
                    let request: Value = serde_json::from_str(body).unwrap();
                    let answer =
                        json!({ "jsonrpc": "2.0", "id": request["id"], "result": self.page(&request) }).to_string();
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
                    client.write_all(answer.as_bytes()).await.unwrap();
                    read.clear();
                    continue;
                }
            }
            if client.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        }
    }
}

async fn pool(nodes: &[Node]) -> Pool {
    let mut urls = Vec::new();
    for node in nodes.iter().copied() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        urls.push(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(node.serve(client));
            }
        });
    }
    let pool = Pool::new(Network::Devnet, &urls, PoolSettings::default(), &reqwest::Client::new());
    for endpoint in &pool.endpoints {
        endpoint.health().identity = Identity::Right;
    }
    pool
}

/// All events, by pages of `chunk`.
async fn read_all(pool: &Pool, chunk: usize) -> Vec<Value> {
    let (mut events, mut token) = (Vec::new(), None::<String>);
    loop {
        let mut filter =
            json!({ "from_block": { "block_number": 0 }, "to_block": { "block_number": 4 }, "chunk_size": chunk });
        if let Some(token) = &token {
            filter["continuation_token"] = json!(token);
        }
        let request = Request::new("starknet_getEvents", json!({ "filter": filter }));
        let Reply::Result(mut page) = pool.send(&request, &is_page).await.unwrap() else { panic!("a page") };
        let Value::Array(found) = page["events"].take() else { panic!("events") };
        assert!(found.len() <= chunk);
        events.extend(found);
        token = page["continuation_token"].as_str().map(ToOwned::to_owned);
        if token.is_none() {
            return events;
        }
    }
}

fn truth() -> Vec<Value> {
    (0..EVENTS).map(event_of).collect()
}

#[tokio::test]
async fn nodes_that_cut_pages_differently_agree_on_every_event() {
    for chunk in [1, 4, 5, 7, EVENTS, 100] {
        let nodes = [3, 5, 8].map(|page| Node { page, ..HONEST });
        assert_eq!(read_all(&pool(&nodes).await, chunk).await, truth(), "pages of {chunk}");
    }
}

#[tokio::test]
async fn one_that_leaves_an_event_out_or_does_not_move_on_is_outvoted_wherever_it_begins() {
    for place in 0..3 {
        for at in [0, 6, EVENTS - 1] {
            for bad in [Node { missing: Some(at), ..HONEST }, Node { stuck: Some(at), page: 3, ..HONEST }] {
                let mut nodes = [HONEST, Node { page: 4, ..HONEST }, Node { page: 9, ..HONEST }];
                nodes[place] = bad;
                assert_eq!(read_all(&pool(&nodes).await, 7).await, truth(), "{place}, {at}");
            }
        }
    }
}

#[tokio::test]
async fn two_that_contradict_each_other_are_not_believed() {
    let pool = pool(&[HONEST, Node { missing: Some(3), ..HONEST }]).await;
    let filter = json!({ "from_block": { "block_number": 0 }, "to_block": { "block_number": 4 }, "chunk_size": 9 });
    let answer = pool.send(&Request::new("starknet_getEvents", json!({ "filter": filter })), &is_page).await;
    assert!(matches!(answer, Err(PoolError::Contradiction(_))), "{answer:?}");
}

#[test]
fn a_token_says_where_each_endpoint_goes_on_and_is_nobody_elses() {
    let place = Place { endpoint: 1, token: Some("7-3".to_owned()), skip: 2 };
    let cursor = Cursor { read: 9, to: json!({ "block_number": 4 }), places: vec![place] };
    let read = Cursor::read(&cursor.token().unwrap()).unwrap();
    assert_eq!((read.place(1).token.as_deref(), read.place(1).skip), (Some("7-3"), 2));
    assert_eq!((read.place(0).token, read.place(0).skip), (None, 9));
    assert!(Cursor::read("7-3").is_none());
}
