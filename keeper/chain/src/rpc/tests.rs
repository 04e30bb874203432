//! What becomes of a node's answers, with a node that is a few lines over HTTP.

use keeper_types::BlockNumber;
use serde_json::json;
use starknet::core::types::{BlockId, FunctionCall};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

use super::*;

/// What a node answers to a method and its parameters: the result, or the error.
pub(crate) type Answers = Arc<dyn Fn(&str, &Value) -> Result<Value, Value> + Send + Sync>;

/// A node of a local chain that says who it is, and answers so to everything else.
pub(crate) async fn answering(answers: Answers) -> Rpc {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/rpc", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, answers.clone()));
        }
    });
    Rpc::connect(Network::Devnet, &url).await.unwrap()
}

/// A node of a local chain that refuses whatever is asked beyond who it is, by this code.
async fn refusing(code: i64, message: &'static str) -> Rpc {
    answering(Arc::new(move |_, _| Err(json!({ "code": code, "message": message })))).await
}

async fn serve(stream: TcpStream, answers: Answers) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            length = line.strip_prefix("content-length:").map_or(length, |told| told.trim().parse().unwrap());
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let request: Value = serde_json::from_slice(&body).unwrap();
        let mut answer = json!({ "jsonrpc": "2.0", "id": request["id"] });
        match request["method"].as_str().unwrap() {
            "starknet_specVersion" => answer["result"] = json!("0.10.0"),
            "starknet_chainId" => answer["result"] = json!("0x534e5f5345504f4c4941"),
            method => match answers(method, &request["params"]) {
                Ok(result) => answer["result"] = result,
                Err(error) => answer["error"] = error,
            },
        }
        let answer = answer.to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", answer.len());
        stream.write_all((head + &answer).as_bytes()).await?;
    }
}

/// What a call and a block's header come to.
async fn asked(rpc: &Rpc) -> [RpcError; 2] {
    let call = FunctionCall {
        contract_address: keeper_types::Felt::ONE,
        entry_point_selector: keeper_types::Felt::TWO,
        calldata: Vec::new(),
    };
    let called = rpc.client.call(call, BlockId::Number(7)).await.unwrap_err();
    let params = json!({ "block_id": { "block_number": BlockNumber(7).0 } });
    let read = rpc.of_block::<Value>("a block's header", "starknet_getBlockWithTxHashes", params).await;
    [rpc.error("a call", &called), read.unwrap_err()]
}

#[tokio::test]
async fn a_refusal_by_a_code_of_its_own_is_an_answer_and_no_node_that_cannot_be_reached() {
    // How a local chain says that it keeps no state but the newest.
    let rpc = refusing(-1, "No state at block 7; consider running with --state-archive-capacity full").await;
    for error in asked(&rpc).await {
        let told = error.to_string();
        assert!(matches!(error, RpcError::Unspecified { code: -1, .. }), "{told}");
        assert!(error.is_refusal() && error.is_transient(), "{told}");
        assert!(told.contains("refused") && told.contains("code -1: No state at block 7"), "{told}");
        assert!(!told.contains("cannot be reached"), "{told}");
    }
}

#[tokio::test]
async fn a_node_that_is_unwell_refuses_nothing() {
    let rpc = refusing(-32_603, "Internal error").await;
    for error in asked(&rpc).await {
        assert!(!error.is_refusal() && error.is_transient(), "{error}");
        assert!(error.to_string().contains("code -32603: Internal error"), "{error}");
    }
}

#[tokio::test]
async fn a_refusal_of_the_specification_is_told_in_its_words() {
    let rpc = refusing(20, "Contract not found").await;
    for error in asked(&rpc).await {
        assert!(matches!(error, RpcError::Refused { .. }) && !error.is_transient(), "{error}");
        assert!(error.is_refusal() && error.to_string().contains("Contract not found"), "{error}");
    }
}
