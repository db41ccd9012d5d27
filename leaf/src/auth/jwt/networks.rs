//! Networks a user must come from: `192.0.2.0/24`, `2001:db8::/32`.

use std::net::IpAddr;

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// Bits that count.
    length: u8,
}

impl Network {
    /// Reads `address/length`.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let digits = !length.is_empty() && length.len() <= 3 && length.bytes().all(|b| b.is_ascii_digit());
        let length: u8 = length.parse().ok().filter(|_| digits)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        (length <= most).then_some(Self { address, length })
    }

    /// Whether `address` is in it; an IPv4 address in IPv6 form is an IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                // A network given in IPv6 form counts its 96 leading bits.
                let length = if self.address.is_ipv6() { self.length.saturating_sub(96) } else { self.length };
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                net.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
                net.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// Whether `address` is in one of `networks`, or there are none. One that cannot be read matches nothing
/// and ends the search, as in nats-server.
pub fn admit(networks: &[Box<str>], address: IpAddr) -> bool {
    for text in networks {
        match Network::parse(text) {
            None => return false,
            Some(network) if network.contains(address) => return true,
            Some(_) => {}
        }
    }
    networks.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(network: &str, address: &str) -> bool {
        admit(&[network.into()], address.parse().expect("an address"))
    }

    #[test]
    fn members_and_strangers() {
        assert!(within("127.0.0.1/32", "127.0.0.1") && !within("127.0.0.1/32", "127.0.0.2"));
        assert!(within("192.0.2.77/24", "192.0.2.1") && !within("192.0.2.0/24", "192.0.3.1"));
        assert!(within("0.0.0.0/0", "8.8.8.8") && !within("0.0.0.0/0", "::1"));
        assert!(within("::/0", "::1") && within("2001:db8::/32", "2001:db8:1::1"));
        assert!(within("192.0.2.0/24", "::ffff:192.0.2.9"));
        assert!(!within("2001:db8::/32", "2001:db9::1"));
        assert!(admit(&[], IpAddr::from([1, 2, 3, 4])));
    }

    #[test]
    fn rubbish_is_no_network() {
        for text in
            ["", "/", "1.2.3.4", "1.2.3.4/33", "1.2.3/8", "::/129", "1.2.3.4/+8", "1.2.3.4/", "a/8", "1.2.3.4/-1"]
        {
            assert_eq!(Network::parse(text), None, "{text}");
        }
        assert!(!admit(&["x".into(), "0.0.0.0/0".into()], IpAddr::from([1, 2, 3, 4])));
    }
}
