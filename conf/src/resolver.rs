//! What the grammar must ask the system: names, services, interfaces.
//! Owns the trait only.
//! Must never resolve anything itself.

use crate::model::Address;

/// Answers of the system; implemented outside so that this crate stays pure.
pub trait Resolver {
    /// Addresses of a host name (the DNS, hosts file).
    ///
    /// # Errors
    /// The resolver's reason.
    fn host(&self, name: &str) -> Result<Vec<Address>, String>;

    /// Addresses of an interface or interface group, IPv4 first; `None` if there is none of that name.
    fn interface(&self, name: &str) -> Option<Vec<Address>>;

    /// Index of an interface, for IPv6 scopes.
    fn interface_index(&self, name: &str) -> Option<u32>;

    /// Names of all interfaces, for suggestions.
    fn interfaces(&self) -> Vec<String>;

    /// Port of a service name.
    fn service(&self, name: &str) -> Option<u16>;

    /// Number of an IP protocol name.
    fn ip_protocol(&self, name: &str) -> Option<u8>;

    /// Whether the address is configured on this system.
    fn is_local(&self, address: &Address) -> bool;

    /// Whether an interface group of that name can be demoted.
    fn demotable(&self, group: &str) -> bool;
}
