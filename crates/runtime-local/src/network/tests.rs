#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

fn subnet(text: &str) -> Subnet {
    Subnet::parse(text).unwrap()
}

#[test]
fn subnets_are_parsed_and_normalised() {
    assert_eq!(subnet("10.80.1.2/16").to_string(), "10.80.0.0/16");
    for wrong in ["", "10.80.0.0", "10.80.0.0/33", "10.80.0/16", "::/64"] {
        assert_eq!(Subnet::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_part_of_the_pool_that_is_free_is_chosen() {
    let pool = subnet("10.80.0.0/16");
    assert_eq!(choose_subnet(pool, 0, &[]), Some(subnet("10.80.0.0/22")));
    assert_eq!(choose_subnet(pool, 63, &[]), Some(subnet("10.80.252.0/22")));
    let used = [subnet("10.80.252.0/24"), subnet("10.80.0.0/21")];
    assert_eq!(choose_subnet(pool, 63, &used), Some(subnet("10.80.8.0/22")));
    assert_eq!(choose_subnet(pool, 5, &[subnet("10.0.0.0/8")]), None);
    assert_eq!(choose_subnet(subnet("10.1.0.0/28"), 9, &[]), Some(subnet("10.1.0.0/28")));
}

#[test]
fn addresses_are_given_out_in_turn() {
    let small = subnet("10.1.0.0/29");
    let mut taken = BTreeSet::new();
    for last in 0..5 {
        assert!(taken.insert(choose_address(small, &taken, last).unwrap()));
    }
    let ends: Vec<u8> = taken.iter().map(|address| address.octets()[3]).collect();
    assert_eq!(ends, [2, 3, 4, 5, 6]);
    assert_eq!(choose_address(small, &taken, 5), None);
    taken.remove(&Ipv4Addr::new(10, 1, 0, 4));
    assert_eq!(choose_address(small, &taken, 4), Some(Ipv4Addr::new(10, 1, 0, 4)));
}

#[test]
fn routes_are_read() {
    let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
        eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
        jb1\t0000500A\t00000000\t0001\t0\t0\t0\t00FCFFFF\t0\t0\t0\n";
    assert_eq!(routes(table, "jb1"), [subnet("192.0.2.0/24")]);
    assert_eq!(default_interface(table), Some("eth0"));
}

#[test]
fn resolvers_on_the_loopback_are_replaced() {
    let plain = "search home\nnameserver 10.0.0.1\n";
    assert_eq!(resolv_conf(plain, None, &[]), plain);
    let stub = "nameserver 127.0.0.53\noptions edns0\n";
    assert_eq!(resolv_conf(stub, Some(plain), &[]), plain);
    let fallback = resolv_conf(stub, None, &[]);
    assert_eq!(fallback, "options edns0\nnameserver 1.1.1.1\nnameserver 8.8.8.8\n");
    let both = "nameserver ::1\nnameserver 127.0.0.1\nnameserver 10.0.0.2\n";
    assert_eq!(resolv_conf(both, None, &[]), "nameserver 10.0.0.2\n");
    let configured = ["9.9.9.9".parse().unwrap()];
    assert_eq!(resolv_conf(plain, None, &configured), "nameserver 9.9.9.9\n");
}

#[test]
fn interface_names_fit() {
    let bridge = Bridge { name: "jb01234567".into(), subnet: subnet("10.80.4.0/22"), mtu: 1500 };
    let port = bridge.port("a handle", Ipv4Addr::new(10, 80, 4, 2));
    assert!(port.veth.len() <= 15);
    assert_ne!(port.veth, bridge.port("a handle", Ipv4Addr::new(10, 80, 4, 3)).veth);
    assert_eq!(port.gateway, Ipv4Addr::new(10, 80, 4, 1));
}
