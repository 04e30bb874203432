//! Prices, refunds, credit, and the paymaster.

use super::{Mutant, mutant};

const JOB_SPEC: &str = "job_mgr/job_spec.cairo";
const LEDGER: &str = "job_mgr/ledger.cairo";
const SETTLEMENT: &str = "job_mgr/settlement.cairo";
const MONEY: &str = "math/money.cairo";
const PAYMASTER: &str = "paymaster/contract.cairo";

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "prices: the highest rate is rounded up",
        MONEY,
        "    max_price / unit",
        "    (max_price + unit - 1) / unit",
    ),
    mutant(
        "prices: a job without GPUs is billed twice",
        MONEY,
        "    if gpu_count == 0 {\n        1\n",
        "    if gpu_count == 0 {\n        2\n",
    ),
    mutant("prices: too low is not refused", JOB_SPEC, "    assert(max_rate != 0, errors::PRICE_TOO_LOW);\n", ""),
    mutant(
        "prices: the highest rate is refused",
        JOB_SPEC,
        "assert(max_rate <= worker_slot::MAX_RATE_GFRI.into()",
        "assert(max_rate < worker_slot::MAX_RATE_GFRI.into()",
    ),
    mutant("refunds: half a payment", SETTLEMENT, "self._credit(owner, paid);", "self._credit(owner, paid / 2);"),
    mutant(
        "refunds: everything is refunded and paid",
        SETTLEMENT,
        "let refunded = escrow.max_price - paid;",
        "let refunded = escrow.max_price - paid / 2;",
    ),
    mutant(
        "refunds: a hold stays after a settlement",
        SETTLEMENT,
        "self._pool().record_settlement(worker_id, is_held)",
        "self._pool().record_settlement(worker_id, is_held && job_id == 0)",
    ),
    mutant(
        "refunds: a hold grows where nobody is to blame",
        SETTLEMENT,
        "self._pool().unhold(worker_id);",
        "self._pool().hold(worker_id);",
    ),
    mutant(
        "refunds: votes pay the client",
        SETTLEMENT,
        "let is_voted = terms.verification != verification::MATMUL;",
        "let is_voted = terms.verification == verification::RERUN;",
    ),
    mutant(
        "refunds: a committee's votes pay the client",
        SETTLEMENT,
        "let is_voted = terms.verification != verification::MATMUL;",
        "let is_voted = terms.verification == verification::NONE;",
    ),
    mutant(
        "refunds: what is proven pays nobody",
        SETTLEMENT,
        "let is_voted = terms.verification != verification::MATMUL;",
        "let is_voted = terms.verification != verification::MATMUL || terms.max_attempts != 0;",
    ),
    mutant(
        "refunds: faults are cheaper",
        SETTLEMENT,
        "const PENALTY_PRICES: u128 = 10;",
        "const PENALTY_PRICES: u128 = 9;",
    ),
    mutant(
        "credit: withdrawn before it is taken off",
        LEDGER,
        "        self.accounts.write(account, account_word::with_less_credit(word, amount));\n        assert(token(@self).transfer(account, amount.into()), errors::TRANSFER_FAILED);",
        "        assert(token(@self).transfer(account, amount.into()), errors::TRANSFER_FAILED);\n        self.accounts.write(account, account_word::with_less_credit(word, amount));",
    ),
    mutant(
        "credit: a transfer that fails is ignored",
        LEDGER,
        "assert(token(@self).transfer(account, amount.into()), errors::TRANSFER_FAILED);",
        "let _ = token(@self).transfer(account, amount.into());",
    ),
    mutant(
        "credit: a pull that fails is ignored",
        LEDGER,
        "assert(is_paid, errors::TRANSFER_FAILED);",
        "assert(is_paid || !is_paid, errors::TRANSFER_FAILED);",
    ),
    mutant(
        "credit: withdrawn twice",
        LEDGER,
        "self.accounts.write(account, account_word::with_less_credit(word, amount));",
        "self.accounts.write(account, account_word::with_less_credit(word, amount / 2));",
    ),
    mutant(
        "credit: spent and kept",
        LEDGER,
        "self.accounts.write(account, account_word::with_less_credit(word, spent));",
        "self.accounts.write(account, account_word::with_less_credit(word, spent / 2));",
    ),
    mutant("credit: the rest is not paid", LEDGER, "if amount != spent {", "if spent == 0 {"),
    mutant(
        "credit: what was owed is forgotten",
        LEDGER,
        "entry.write(account_word::with_more_credit(entry.read(), amount));",
        "entry.write(account_word::with_more_credit(0, amount));",
    ),
    mutant(
        "paymaster: a cap lasts for ever",
        PAYMASTER,
        "self.caps.write((client, gateway), cap - amount);",
        "self.caps.write((client, gateway), cap - amount / 2);",
    ),
    mutant(
        "paymaster: a fee above the terms",
        PAYMASTER,
        "assert(fee <= terms.max_fee, errors::FEE_TOO_HIGH);",
        "assert(fee <= terms.max_fee + 1, errors::FEE_TOO_HIGH);",
    ),
    mutant(
        "paymaster: a day too many is remembered",
        PAYMASTER,
        "if spending.epoch == epoch {",
        "if spending.epoch <= epoch {",
    ),
    mutant(
        "paymaster: the budget is never spent",
        PAYMASTER,
        "let amount: u256 = spent_in(terms.spending, epoch).into() + fee.into();",
        "let amount: u256 = 0 * spent_in(terms.spending, epoch).into() + fee.into();",
    ),
    mutant("paymaster: fees come from nowhere", PAYMASTER, "            self._lower_balance(sponsor, fee);\n", ""),
    mutant(
        "paymaster: any call is paid for",
        PAYMASTER,
        "call.selector == selector!(\"submit_job\")",
        "call.selector != selector!(\"approve\")",
    ),
    mutant(
        "paymaster: any spender is paid for",
        PAYMASTER,
        "spender == config.job_mgr.into() || spender == config.cdc_pool.into()",
        "spender != config.token.into()",
    ),
    mutant(
        "paymaster: a deposit is counted twice",
        PAYMASTER,
        "self.balances.write(account, self.balances.read(account) + amount);",
        "self.balances.write(account, self.balances.read(account) + amount + 1);",
    ),
    mutant(
        "paymaster: a failed transfer is ignored",
        PAYMASTER,
        "        fn _pay(self: @ContractState, recipient: ContractAddress, amount: u128) {\n            let is_paid = self._token().transfer(recipient, amount.into());\n            assert(is_paid, errors::TRANSFER_FAILED);",
        "        fn _pay(self: @ContractState, recipient: ContractAddress, amount: u128) {\n            let is_paid = self._token().transfer(recipient, amount.into());\n            assert(is_paid || !is_paid, errors::TRANSFER_FAILED);",
    ),
];
