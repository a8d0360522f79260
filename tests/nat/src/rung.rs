//! The rungs that each cell must reach.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use sightline_model::Rung;

use crate::{kind::Kind, viewer::Via};

/// A rung as the programs tell it.
#[must_use]
pub fn name(rung: Rung) -> String {
    let value = serde_json::to_value(rung).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// One cell of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cell {
    /// With what it is watched.
    pub via: Via,
    /// Where the camera is.
    pub camera: Kind,
    /// Where the viewer is.
    pub viewer: Kind,
}

impl Cell {
    /// Every cell there is, camera by camera.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let apart = Kind::APART.into_iter().flat_map(|c| Kind::APART.map(|v| (c, v)));
        let places = apart.chain([(Kind::OneHome, Kind::OneHome)]);
        places
            .flat_map(|(camera, viewer)| Via::ALL.map(|via| Self { via, camera, viewer }))
            .collect()
    }

    /// The rung that it must reach, by the committed table.
    ///
    /// # Panics
    /// When the table lacks it.
    #[must_use]
    pub fn expected(self) -> Rung {
        let cell = table().get(&self.via).and_then(|rows| rows.get(&self.camera));
        *cell.and_then(|row| row.get(&self.viewer)).unwrap_or_else(|| panic!("{self} is missing"))
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: camera {}, viewer {}", self.via.name(), self.camera, self.viewer)
    }
}

type Table = BTreeMap<Via, BTreeMap<Kind, BTreeMap<Kind, Rung>>>;

fn table() -> &'static Table {
    static TABLE: std::sync::OnceLock<Table> = std::sync::OnceLock::new();
    TABLE.get_or_init(|| toml::from_str(include_str!("../expected.toml")).expect("a good table"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::{Dependence, Theory};

    /// Who can be reached by whom, from what the NATs do alone.
    fn by_theory(cell: Cell) -> Rung {
        let Cell { via, camera, viewer } = cell;
        let blocked = |kind| camera == kind || viewer == kind;
        if blocked(Kind::Only443) {
            return Rung::RelayTls;
        }
        if blocked(Kind::UdpBlocked) {
            return Rung::RelayTcp;
        }
        match (camera, viewer) {
            // A browser does not write to IPv4 through NAT64, and hides its IPv6 address, which no
            // server tells either where the centre has IPv4 alone.
            (_, Kind::Nat64) if via == Via::Webrtc => return Rung::RelayUdp,
            (Kind::Public, Kind::Public)
            | (Kind::OneHome, Kind::OneHome)
            // Both have IPv6.
            | (Kind::Nat64, Kind::Nat64) => return Rung::Host,
            // A browser asks no gateway.
            (Kind::Gateway, _) => return Rung::Mapped,
            (_, Kind::Gateway) if via == Via::Quic => return Rung::Mapped,
            _ => {}
        }
        let theory = |kind: Kind| kind.theory().expect("lets UDP through");
        let symmetric = |t: Theory| t.mapping == Dependence::AddressAndPort;
        let strict = |t: Theory| t.filtering == Dependence::AddressAndPort;
        match [theory(camera), theory(viewer)] {
            [a, b] if symmetric(a) && symmetric(b) => Rung::RelayUdp,
            [a, b] if (symmetric(a) && strict(b)) || (symmetric(b) && strict(a)) => match via {
                Via::Quic => Rung::Probed,
                Via::Webrtc => Rung::RelayUdp,
            },
            _ => Rung::Punched,
        }
    }

    #[test]
    fn the_table_is_what_theory_allows() {
        let all = Cell::all();
        assert_eq!(all.len(), 2 * (11 * 11 + 1));
        let wrong: Vec<_> = all
            .into_iter()
            .filter(|cell| cell.expected() != by_theory(*cell))
            .map(|cell| {
                format!("{cell}: {} in place of {}", name(cell.expected()), name(by_theory(cell)))
            })
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
