//! Which peers a request names.

use stun::{
    attributes::{ATTR_XOR_PEER_ADDRESS, Attributes},
    message::{Getter, Message},
};
use turn::proto::peeraddr::PeerAddress;

use super::peers::PeerFilter;

/// Whether any peer that the request names is denied; one that cannot be read counts as denied.
pub(crate) fn names_denied_peer(filter: &PeerFilter, message: &Message) -> bool {
    message.attributes.0.iter().filter(|a| a.typ == ATTR_XOR_PEER_ADDRESS).any(|attribute| {
        let one = Message {
            transaction_id: message.transaction_id,
            attributes: Attributes(vec![attribute.clone()]),
            ..Default::default()
        };
        let mut peer = PeerAddress::default();
        peer.get_from(&one).is_err() || !filter.allows_ip(peer.ip)
    })
}
