//! NATs and firewalls as rules of nftables. The outer device is `wan0`, the inner one `lan0`.

use std::net::Ipv4Addr;

use crate::kind::Kind;

/// How many lives of a mapping have a rule of their own.
const LIVES: u32 = 32;

/// The rules of a router with this outer address. `is_outermost`: private addresses go nowhere.
pub(crate) fn router(kind: Kind, outer: Ipv4Addr, is_outermost: bool) -> String {
    let blocked = blocked(kind);
    // Somebody in another home may have the same private addresses: they stay inside.
    let private = "oifname \"wan0\" ip daddr { 10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12, \
                   192.168.0.0/16 } drop";
    let private = if is_outermost { private } else { "" };
    let nat = nat(kind, outer);
    // The input chain drops what nobody asked for: with a refusal, an entry of the connection
    // tracking would remain, and the next mapping would get another port on its account.
    format!(
        "table inet fw {{
    chain input {{
        type filter hook input priority filter
        iifname \"wan0\" ct state new meta l4proto {{ tcp, udp, icmp }} drop
    }}
    chain forward {{
        type filter hook forward priority filter
        {private}
        {blocked}
        iifname \"wan0\" ct state new ct status dnat accept
        iifname \"wan0\" meta nfproto ipv4 ct state new drop
        iifname \"wan0\" meta nfproto ipv6 ct state new meta l4proto {{ tcp, udp }} drop
    }}
}}
{nat}"
    )
}

fn blocked(kind: Kind) -> &'static str {
    match kind {
        Kind::UdpBlocked => "meta l4proto udp drop",
        Kind::Only443 => {
            // After SYN and ACK comes the first packet with data: it must begin as TLS does.
            "tcp sport 443 ct state established accept
        meta l4proto != tcp drop
        tcp dport != 443 drop
        ct original packets 3 meta length > 60 @ih,0,8 != 22 ct mark set 1
        ct mark 1 drop"
        }
        _ => "",
    }
}

fn nat(kind: Kind, outer: Ipv4Addr) -> String {
    match kind {
        Kind::Public => String::new(),
        Kind::FullCone => cone(""),
        Kind::AddressRestricted => cone("udp dport . ip saddr @written_to"),
        Kind::Symmetric => postrouting("meta l4proto udp masquerade random,fully-random"),
        Kind::Carrier => dying(outer),
        Kind::PortRestricted
        | Kind::DoubleNat
        | Kind::UdpBlocked
        | Kind::Only443
        | Kind::Gateway
        | Kind::Nat64
        | Kind::OneHome => postrouting(""),
    }
}

/// Linux keeps the port where it can, and lets answers in only.
fn postrouting(first: &str) -> String {
    format!(
        "table ip nat {{
    chain post {{
        type nat hook postrouting priority srcnat
        oifname != \"wan0\" return
        {first}
        masquerade
    }}
}}"
    )
}

/// Who writes to a mapped port from outside is let in, if `condition` holds.
fn cone(condition: &str) -> String {
    format!(
        "table ip nat {{
    map mapped {{ type inet_service : ipv4_addr . inet_service; flags dynamic, timeout; \
         timeout 10m; }}
    set written_to {{ type inet_service . ipv4_addr; flags dynamic, timeout; timeout 10m; }}
    chain pre {{
        type nat hook prerouting priority dstnat
        iifname \"wan0\" {condition} dnat ip to udp dport map @mapped
    }}
    chain post {{
        type nat hook postrouting priority srcnat
        oifname != \"wan0\" return
        meta l4proto udp update @written_to {{ udp sport . ip daddr }}
        meta l4proto udp update @mapped {{ udp sport : ip saddr . udp sport }}
        masquerade
    }}
}}"
    )
}

/// One port for an inner address and port, until the mapping is sent into its next life by another
/// entry in `lives`.
fn dying(outer: Ipv4Addr) -> String {
    let life = |life: u32| {
        let seed = 7_919 * (life + 1);
        format!(
            "meta l4proto udp meta mark {life} snat ip to {outer} : jhash ip saddr . udp sport mod 40000 \
             seed {seed} offset 20000\n        "
        )
    };
    let lives: String = (1..LIVES).map(life).collect();
    let first = life(0);
    format!(
        "table ip nat {{
    map lives {{ type ipv4_addr . inet_service : mark; }}
    chain life {{
        type filter hook postrouting priority srcnat - 1
        meta l4proto udp meta mark set ip saddr . udp sport map @lives
    }}
    chain post {{
        type nat hook postrouting priority srcnat
        oifname != \"wan0\" return
        meta l4proto != udp masquerade
        {lives}{first}
    }}
}}"
    )
}

/// The life that follows, as the rules have it.
pub(crate) const fn next_life(life: u32) -> u32 {
    (life + 1) % LIVES
}
