//! The addresses that the endpoint's name may lead to. Whoever can change what a name leads to must
//! not reach the network that this service is in.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The one name that means this machine.
pub(super) const LOCALHOST: &str = "localhost";

/// Looks names up, and leaves private addresses out.
pub(super) struct PublicAddresses;

impl Resolve for PublicAddresses {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let is_local = name.as_str().eq_ignore_ascii_case(LOCALHOST);
            let allowed = |address: &SocketAddr| {
                let ip = address.ip().to_canonical();
                if is_local {
                    ip.is_loopback()
                } else {
                    is_public(ip)
                }
            };
            let addresses: Vec<SocketAddr> = found.filter(allowed).collect();
            if addresses.is_empty() {
                let reason = "its name leads to private addresses only";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason).into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is one of the internet's.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [first, second, third, _] = ip.octets();
    let is_shared = first == 100 && (64..128).contains(&second);
    let is_of_protocols = first == 192 && second == 0 && third == 0;
    let is_of_benchmarks = first == 198 && (18..20).contains(&second);
    let is_reserved = first == 0 || first >= 224;
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || is_shared
        || is_of_protocols
        || is_of_benchmarks
        || is_reserved)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    // What is translated or tunnelled to an IPv4 address is as public as that one.
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        [0x64, 0xff9b, ..] | [0x2001, 0 | 0xdb8, ..] => false,
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_internet_are_public_and_no_others() {
        for public in [
            "1.1.1.1",
            "100.63.0.1",
            "172.32.0.1",
            "198.20.0.1",
            "2606:4700::1111",
            "64:ff9b::101:101",
            "2002:101:101::1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fc00::1",
            "fe80::1",
            "ff02::1",
            "2001:db8::1",
            "64:ff9b::a00:1",
            "64:ff9b:1::a00:1",
            "2002:a00:1::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }

    #[tokio::test]
    async fn only_localhost_leads_to_this_machine() {
        let resolve = async |name: &str| {
            let addresses = PublicAddresses.resolve(name.parse().unwrap()).await;
            addresses.map(Iterator::collect::<Vec<_>>)
        };
        let local = resolve(LOCALHOST).await.unwrap();
        assert!(local.iter().all(|address| address.ip().is_loopback()));
        // As a name with another spelling of a private address would.
        let refused = resolve("127.0.0.1").await.unwrap_err().to_string();
        assert_eq!(refused, "its name leads to private addresses only");
    }
}
