//! Flows of `route to`, which connection tracking does not know: ended by deleting what the packet path learned.
//! Owns the look into the flow maps.
//! Must never touch the flow of another host.

use super::adopt::OWNED;
use super::{Nftables, dump, raw};
use crate::filter::FilterError;
use crate::nftables::dsr::FLOWS;
use crate::nftables::model::Family;
use nftnl::nftnl_sys::libc;

impl Nftables {
    /// Forgets the flows whose host's mark equals `mark` under `mask`; answers how many.
    pub(super) fn kill_flows(&mut self, mark: u32, mask: u32) -> Result<u32, FilterError> {
        let mut killed = 0;
        for set in FLOWS {
            let answer = dump::elements(&mut self.netlink, Family::Netdev, &self.table, set);
            let host = |data: &[u8]| data.first_chunk().map(|b| u32::from_ne_bytes(*b));
            let ours = |data: &[u8]| host(data).is_some_and(|m| m & mask == mark & mask);
            let keys: Vec<Vec<u8>> = self
                .asked(answer)?
                .into_iter()
                .filter(|e| ours(&e.data))
                .map(|e| e.key)
                .collect();
            killed += u32::try_from(keys.len()).unwrap_or(u32::MAX);
            self.forget(set, &keys)?;
        }
        Ok(killed)
    }

    /// Deletes elements that may expire meanwhile.
    fn forget(&mut self, set: &str, keys: &[Vec<u8>]) -> Result<(), FilterError> {
        let elements: Vec<_> = keys.iter().map(|k| raw::ElementMessage::of(k)).collect();
        if self.flags == Some(OWNED) && !elements.is_empty() {
            let mut transaction = self.transaction();
            transaction.select(Family::Netdev);
            transaction.destroy(set, &elements);
            return self.transact(transaction);
        }
        // An older kernel refuses a transaction with an element that has gone.
        for element in elements {
            let mut transaction = self.transaction();
            transaction.select(Family::Netdev);
            transaction.delete(set, std::slice::from_ref(&element));
            let (bytes, _) = transaction.finish();
            match self.netlink.transact(&bytes) {
                Err(refusal) if refusal.error.raw_os_error() != Some(libc::ENOENT) => {
                    return self.asked(Err(refusal.error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
