// SPDX-License-Identifier: MIT

//! What keeps rare cases from making the ordinary case dear.

/// Stands at the beginning of a branch that is rarely taken and long. The compiler pads each branch
/// to the memory that the longest of them takes, and every padded cell costs as much as a step;
/// this takes the branch out of that comparison. It does nothing else.
#[inline(always)]
pub fn rare() {
    core::internal::revoke_ap_tracking();
}
