//! How many packets a second a server carries when more is sent than it can.

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{
    Plan,
    cell::Cell,
    server::{Bed, Server},
};

/// All rounds of a cell with one server.
#[derive(Default)]
pub struct Carried {
    /// Packets per second that arrived.
    pub rates: Vec<f64>,
    /// Why rounds do not count.
    pub failed: Vec<String>,
}

impl Carried {
    /// One round.
    pub fn measure(&mut self, cell: &Cell, bed: &Bed, server: &Server, plan: &Plan) {
        let rate = cell.flood(bed, server, plan).and_then(|figures| rate(&figures));
        let words = match &rate {
            Ok(rate) => format!("{rate:.0} packets/s"),
            Err(error) => format!("does not count: {error:#}"),
        };
        let title = cell.direction.title();
        eprintln!("{:>10} {title:<31}  flood {:>6} idle: {words}", server.name, cell.beside);
        self.add(rate);
    }

    fn add(&mut self, rate: anyhow::Result<f64>) {
        match rate {
            Ok(rate) => self.rates.push(rate),
            Err(error) => self.failed.push(format!("{error:#}")),
        }
    }
}

/// Of what `load-relay` says.
fn rate(figures: &Value) -> anyhow::Result<f64> {
    let read = |name: &str| figures[name].as_f64().with_context(|| name.to_owned());
    let (delivered, seconds) = (read("delivered")?, read("seconds")?);
    ensure!(figures["wrong"] == 0, "{} packets are wrong", figures["wrong"]);
    ensure!(delivered > 0.0 && seconds > 0.0, "nothing came through");
    Ok(delivered / seconds)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_flood_counts_with_packets_that_came_and_were_the_right_ones() {
        let mut carried = Carried::default();
        for figures in [
            json!({ "delivered": 300_000, "seconds": 2.0, "wrong": 0 }),
            json!({ "delivered": 300_000, "seconds": 2.0, "wrong": 3 }),
            json!({ "delivered": 0, "seconds": 2.0, "wrong": 0 }),
            json!({ "seconds": 2.0, "wrong": 0 }),
        ] {
            carried.add(rate(&figures));
        }
        assert_eq!(carried.rates, [150_000.0]);
        assert_eq!(carried.failed, ["3 packets are wrong", "nothing came through", "delivered"]);
    }
}
