//! Transactions: the same bytes to two endpoints.
//!
//! One that takes a transaction and forgets it does no harm then, and one that knows it already has taken it. What is
//! certain is said; where an answer was lost, or two contradict each other and the chain does not know the transaction,
//! it is said that nothing is certain, never that the transaction failed.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    endpoint::{Fault, Refusal, Reply},
    essence::{DUPLICATE, INVALID_NONCE, NO_TRANSACTION},
    pool::{Asking, Gathered, Pool, PoolError},
    request::Request,
};

/// Endpoints that get a transaction.
const RECEIVERS: usize = 2;

impl Pool {
    /// Sends a transaction.
    ///
    /// # Errors
    /// Fails where it cannot be told whether it arrived.
    pub(super) async fn write(&self, request: &Request) -> Result<Reply, PoolError> {
        let request = Arc::new(request.clone());
        let ask = |place: usize| -> Asking<'_> {
            let (endpoint, request) = (self.endpoints[place].clone(), request.clone());
            // On its own: nobody waits for the second answer once the first two agree, but it must be sent all the same.
            let sending = tokio::spawn(async move { endpoint.ask(&request, &names_transaction).await });
            Box::pin(async move { (place, sending.await.unwrap_or(Err(Fault::NoAnswer("sending was cancelled")))) })
        };
        let gathered = self.gather(&self.order(), RECEIVERS, ask, meaning).await;
        let (taken, refused): (Vec<_>, Vec<_>) =
            gathered.replies.iter().map(|(_, reply)| reply).partition(|reply| is_taken(reply));
        match (taken.first(), refused.first()) {
            (Some(taken), None) => Ok((*taken).clone()),
            (Some(taken), Some(refusal)) => self.look_up(taken, refusal, &gathered).await,
            (None, Some(refusal)) if is_certain(refusal, &gathered.faults) => Ok((*refusal).clone()),
            (None, _) => Err(self.no_answer(&gathered.faults)),
        }
    }

    /// One endpoint took it, another refused it: whichever the chain knows is right.
    async fn look_up(&self, taken: &Reply, refusal: &Reply, gathered: &Gathered) -> Result<Reply, PoolError> {
        let Reply::Result(result) = taken else {
            // It was known already.
            return Ok(taken.clone());
        };
        let status = Request::status(&result["transaction_hash"]);
        match self.read(&status, &Value::is_object).await? {
            Reply::Result(_) => Ok(taken.clone()),
            Reply::Refusal(Refusal { code: NO_TRANSACTION, .. }) if is_certain(refusal, &gathered.faults) => {
                Ok(refusal.clone())
            }
            Reply::Refusal(_) => Err(self.no_answer(&gathered.faults)),
        }
    }
}

fn names_transaction(result: &Value) -> bool {
    result.get("transaction_hash").is_some_and(Value::is_string)
}

/// Whether an endpoint has the transaction.
fn is_taken(reply: &Reply) -> bool {
    matches!(reply, Reply::Result(_) | Reply::Refusal(Refusal { code: DUPLICATE, .. }))
}

fn meaning(reply: &Reply) -> Value {
    match reply {
        reply if is_taken(reply) => json!("taken"),
        Reply::Result(_) => json!("taken"),
        Reply::Refusal(refusal) => json!(refusal.code),
    }
}

/// Whether a refusal is the last word. A transaction that arrived elsewhere without an answer has used its nonce, and is
/// refused for that.
fn is_certain(refusal: &Reply, faults: &[(usize, Fault)]) -> bool {
    let is_about_nonce = matches!(refusal, Reply::Refusal(Refusal { code: INVALID_NONCE, .. }));
    !is_about_nonce || !faults.iter().any(|(_, fault)| fault.may_have_arrived())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_that_is_taken_proves_nothing_beside_a_lost_answer() {
        let refused = |code| Reply::Refusal(Refusal { code, message: String::new(), data: None });
        let lost = [(0, Fault::NoAnswer("the connection broke"))];
        assert!(!is_certain(&refused(INVALID_NONCE), &lost));
        assert!(is_certain(&refused(INVALID_NONCE), &[(0, Fault::NotConnected)]));
        assert!(is_certain(&refused(54), &lost), "without money it is nowhere taken");
        assert!(is_taken(&refused(DUPLICATE)));
        assert!(!is_taken(&refused(INVALID_NONCE)));
        assert_eq!(meaning(&refused(DUPLICATE)), meaning(&Reply::Result(json!({ "transaction_hash": "0x1" }))));
    }
}
