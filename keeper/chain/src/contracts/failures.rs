//! Why attempts at a job came to nothing: only the events tell, the contracts keep no reasons.

use keeper_types::{Felt, JobId, MarketEvent};
use starknet::{
    core::types::{BlockId, BlockTag, Event, EventFilter},
    macros::selector,
    providers::Provider as _,
};

use super::Contracts;
use crate::{RpcError, decode::decode_event};

/// Events asked for at a time. A job has one for each failed attempt, so one page holds them all.
const PAGE: u64 = 100;

impl Contracts {
    /// What the contracts said about the job's failures, oldest first: `AttemptFailed` and `ResultRejected`.
    ///
    /// # Errors
    /// Fails where the node does not answer, or answers what makes no sense.
    pub async fn failures(&self, job_id: JobId) -> Result<Vec<MarketEvent>, RpcError> {
        let kinds = vec![selector!("AttemptFailed"), selector!("ResultRejected")];
        let filter = EventFilter {
            from_block: Some(BlockId::Number(self.deployment.block.0)),
            to_block: Some(BlockId::Tag(BlockTag::Latest)),
            address: Some(self.deployment.job_mgr.address.0),
            keys: Some(vec![kinds, vec![Felt::from(job_id.0)]]),
        };
        let addresses = self.deployment.addresses();
        let mut failures = Vec::new();
        let mut token = None;
        loop {
            let page = self.rpc.client.get_events(filter.clone(), token, PAGE).await;
            let page = page.map_err(|error| self.rpc.error("a job's failures", &error))?;
            for found in page.events {
                let event = Event { from_address: found.from_address, keys: found.keys, data: found.data };
                let decoded = decode_event(&event, &addresses);
                failures.push(
                    decoded.map_err(|error| RpcError::Malformed {
                        request: "a job's failures",
                        reason: error.to_string(),
                    })?,
                );
            }
            token = page.continuation_token;
            if token.is_none() {
                return Ok(failures);
            }
        }
    }
}
