//! Which addresses webhooks may be sent to: those of the public internet. Anything else, such as a cloud's metadata service at a link-local address, could be made to do things by
//! whoever writes a pipeline file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::Uri;

/// Whether the address is one of the public internet (RFC 6890 lists what is not).
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let special = v4.is_loopback()
        || v4.is_private()
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_documentation()
        // This network; shared by carriers; assigned by IETF protocols; for benchmarks; reserved, broadcast with it.
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && (18..20).contains(&b))
        || a >= 240;
    !special
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    // Addresses that carry an IPv4 one are as public as that.
    let carried = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x0064, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            is_public_v4(carried(high, low))
        }
        [first, second, ..] => is_global_unicast(first, second),
    }
}

/// Of an address that begins so.
fn is_global_unicast(first: u16, second: u16) -> bool {
    // Teredo and what IETF protocols use; documentation.
    let special = (first == 0x2001 && (second < 0x0200 || second == 0x0db8)) || (first == 0x3fff && second < 0x1000);
    (0x2000..0x4000).contains(&first) && !special
}

/// The address that a URL names as it is, if it names none by a name that has to be looked up.
#[must_use]
pub fn literal(url: &Uri) -> Option<IpAddr> {
    let host = url.host()?;
    if host.eq_ignore_ascii_case("localhost") {
        return Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        for (address, expected) in [
            ("8.8.8.8", true),
            ("1.1.1.1", true),
            ("172.15.0.1", true),
            ("100.63.255.255", true),
            ("127.0.0.1", false),
            ("127.255.255.254", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("192.168.0.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("198.18.0.1", false),
            ("192.0.2.1", false),
            ("2606:4700:4700::1111", true),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("fc00::1", false),
            ("fd12:3456::1", false),
            ("ff02::1", false),
            ("2001:db8::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:8.8.8.8", true),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b::808:808", true),
            ("64:ff9b:1:a9fe:a9:fe00:808:808", false),
            ("2002:7f00:1::", false),
            ("2002:a00:1::", false),
            ("::7f00:1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn an_address_is_read_out_of_a_url() {
        for (url, expected) in [
            ("http://169.254.169.254/latest", Some("169.254.169.254")),
            ("https://[::1]:8443/x", Some("::1")),
            ("http://LocalHost:80/", Some("127.0.0.1")),
            ("https://hooks.example.com/a", None),
        ] {
            assert_eq!(literal(&url.parse().unwrap()), expected.map(|ip| ip.parse().unwrap()), "{url}");
        }
    }
}
