//! Calls that an account's owner signs and somebody else sends and pays for (SNIP-9, version 2).
//!
//! The account itself checks the signature, the times and that the nonce is new. What is signed names the only contract
//! that may hand it in, our Paymaster, so that nobody can use it beside the sponsor's terms.

use keeper_types::{Address, ChainId, Felt};
use serde::{Deserialize, Serialize};
use starknet::core::{
    types::{Call, TypedData},
    utils::get_selector_from_name,
};

use crate::Credentials;

/// A call by the function's name, which is what gets signed and what a person can read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedCall {
    /// The contract.
    pub to: Address,
    /// The function.
    pub function: String,
    /// Its arguments.
    pub calldata: Vec<Felt>,
}

/// Signed calls, as a person passes them on: a JSON document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SponsoredCalls {
    /// The account that makes the calls.
    pub account: Address,
    /// The contract that may hand them in.
    pub paymaster: Address,
    /// The account takes each once.
    pub nonce: Felt,
    /// Unix time in seconds, exclusive.
    pub execute_after: u64,
    /// Unix time in seconds, exclusive.
    pub execute_before: u64,
    /// What is to be done, in this order.
    pub calls: Vec<NamedCall>,
    /// The account's.
    pub signature: Vec<Felt>,
}

/// Calls cannot be signed or handed in.
#[derive(Debug, thiserror::Error)]
pub enum OutsideExecutionError {
    /// They cannot be hashed.
    #[error("the calls cannot be hashed: {0}")]
    Malformed(String),
    /// Signing failed.
    #[error("signing the calls failed: {0}")]
    Signing(String),
    /// No contract has a function of that name.
    #[error("`{0}` cannot be the name of a function")]
    Function(String),
}

impl NamedCall {
    /// The call as it is sent.
    ///
    /// # Errors
    /// Fails where the name is not one of a function.
    pub fn to_call(&self) -> Result<Call, OutsideExecutionError> {
        let selector = get_selector_from_name(&self.function)
            .map_err(|_| OutsideExecutionError::Function(self.function.clone()))?;
        Ok(Call { to: self.to.0, selector, calldata: self.calldata.clone() })
    }
}

impl SponsoredCalls {
    /// Signs calls of the account, to be handed in by the Paymaster between two times (s, exclusive).
    ///
    /// # Errors
    /// Fails where the calls cannot be hashed or signed.
    pub fn sign(
        credentials: &Credentials,
        chain_id: ChainId,
        paymaster: Address,
        nonce: Felt,
        (execute_after, execute_before): (u64, u64),
        calls: Vec<NamedCall>,
    ) -> Result<Self, OutsideExecutionError> {
        let account = credentials.address;
        let unsigned = Self { account, paymaster, nonce, execute_after, execute_before, calls, signature: Vec::new() };
        let signature = credentials.key.sign(&unsigned.hash(chain_id)?);
        let signature = signature.map_err(|error| OutsideExecutionError::Signing(error.to_string()))?;
        Ok(Self { signature: vec![signature.r, signature.s], ..unsigned })
    }

    /// The hash that the account signs, by SNIP-12 revision 1 and SNIP-9 version 2.
    ///
    /// # Errors
    /// Fails where a field cannot be encoded.
    pub fn hash(&self, chain_id: ChainId) -> Result<Felt, OutsideExecutionError> {
        let hex = |felt: &Felt| format!("{felt:#x}");
        let calls: Vec<_> = self
            .calls
            .iter()
            .map(|call| {
                let calldata: Vec<_> = call.calldata.iter().map(hex).collect();
                serde_json::json!({ "To": call.to.to_string(), "Selector": call.function, "Calldata": calldata })
            })
            .collect();
        let field = |name: &str, kind: &str| serde_json::json!({ "name": name, "type": kind });
        let document = serde_json::json!({
            "types": {
                "StarknetDomain": [
                    field("name", "shortstring"), field("version", "shortstring"),
                    field("chainId", "shortstring"), field("revision", "shortstring"),
                ],
                "OutsideExecution": [
                    field("Caller", "ContractAddress"), field("Nonce", "felt"), field("Execute After", "u128"),
                    field("Execute Before", "u128"), field("Calls", "Call*"),
                ],
                "Call": [field("To", "ContractAddress"), field("Selector", "selector"), field("Calldata", "felt*")],
            },
            "primaryType": "OutsideExecution",
            "domain": {
                "name": "Account.execute_from_outside", "version": "2",
                "chainId": chain_id.name(), "revision": "1",
            },
            "message": {
                "Caller": self.paymaster.to_string(),
                "Nonce": hex(&self.nonce),
                "Execute After": self.execute_after.to_string(),
                "Execute Before": self.execute_before.to_string(),
                "Calls": calls,
            },
        });
        let malformed = |error: String| OutsideExecutionError::Malformed(error);
        let typed: TypedData = serde_json::from_value(document).map_err(|error| malformed(error.to_string()))?;
        typed.message_hash(self.account.0).map_err(|error| malformed(error.to_string()))
    }

    /// The arguments of `Paymaster.relay` that follow the sponsor and the fee.
    ///
    /// # Errors
    /// Fails where a name is not one of a function.
    pub(crate) fn relay_arguments(&self) -> Result<Vec<Felt>, OutsideExecutionError> {
        let mut felts = vec![
            self.account.0,
            self.paymaster.0,
            self.nonce,
            self.execute_after.into(),
            self.execute_before.into(),
            self.calls.len().into(),
        ];
        for call in &self.calls {
            let Call { to, selector, calldata } = call.to_call()?;
            felts.extend([to, selector, calldata.len().into()]);
            felts.extend(calldata);
        }
        felts.push(self.signature.len().into());
        felts.extend_from_slice(&self.signature);
        Ok(felts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls() -> SponsoredCalls {
        SponsoredCalls {
            account: Address(Felt::from(1)),
            paymaster: Address(Felt::from(2)),
            nonce: Felt::from(3),
            execute_after: 4,
            execute_before: 5,
            calls: vec![NamedCall {
                to: Address(Felt::from(6)),
                function: "approve".to_owned(),
                calldata: vec![Felt::from(7)],
            }],
            signature: vec![Felt::from(8), Felt::from(9)],
        }
    }

    #[test]
    fn every_field_is_bound() {
        let hash = calls().hash(ChainId::SEPOLIA).unwrap();
        let call = |change: fn(&mut NamedCall)| {
            let mut changed = calls();
            change(&mut changed.calls[0]);
            changed
        };
        let changed = [
            SponsoredCalls { account: Address(Felt::TWO), ..calls() },
            SponsoredCalls { paymaster: Address(Felt::ONE), ..calls() },
            SponsoredCalls { nonce: Felt::ONE, ..calls() },
            SponsoredCalls { execute_after: 1, ..calls() },
            SponsoredCalls { execute_before: 1, ..calls() },
            SponsoredCalls { calls: Vec::new(), ..calls() },
            call(|call| call.to = Address(Felt::ONE)),
            call(|call| call.function = "transfer".to_owned()),
            call(|call| call.calldata.push(Felt::ZERO)),
        ];
        for other in changed {
            assert_ne!(other.hash(ChainId::SEPOLIA).unwrap(), hash, "{other:?}");
        }
        assert_ne!(calls().hash(ChainId::MAINNET).unwrap(), hash);
        // The signature is not part of what is signed.
        assert_eq!(SponsoredCalls { signature: Vec::new(), ..calls() }.hash(ChainId::SEPOLIA).unwrap(), hash);
    }

    #[test]
    fn it_is_handed_in_as_the_contract_reads_it() {
        let felts = calls().relay_arguments().unwrap();
        let approve = get_selector_from_name("approve").unwrap();
        let expected: Vec<Felt> = [1_u8, 2, 3, 4, 5, 1, 6].map(Felt::from).into_iter().chain([approve]).collect();
        assert_eq!(felts[..8], expected);
        assert_eq!(felts[8..], [1_u8, 7, 2, 8, 9].map(Felt::from));
    }

    #[test]
    fn it_survives_a_file() {
        let text = serde_json::to_string(&calls()).unwrap();
        assert_eq!(serde_json::from_str::<SponsoredCalls>(&text).unwrap(), calls());
        assert!(serde_json::from_str::<SponsoredCalls>(&text.replace("\"nonce\"", "\"nonse\"")).is_err());
    }
}
