//! Figures of parts that several kinds of devices share, under the name of the device that this process is.

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// Records in another one, what begins with a prefix under another prefix.
pub(super) struct Named<R> {
    pub inner: R,
    pub from: &'static str,
    pub to: &'static str,
}

impl<R> Named<R> {
    fn name(&self, name: &str) -> Option<KeyName> {
        let rest = name.strip_prefix(self.from)?;
        Some(KeyName::from(format!("{}{rest}", self.to)))
    }

    fn key(&self, key: &Key) -> Option<Key> {
        self.name(key.name()).map(|name| Key::from_parts(name, key.labels()))
    }

    fn described(&self, name: KeyName) -> KeyName {
        self.name(name.as_str()).unwrap_or(name)
    }
}

impl<R: Recorder> Recorder for Named<R> {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.inner.describe_counter(self.described(key), unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.inner.describe_gauge(self.described(key), unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.inner.describe_histogram(self.described(key), unit, description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.inner.register_counter(self.key(key).as_ref().unwrap_or(key), metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.inner.register_gauge(self.key(key).as_ref().unwrap_or(key), metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.inner.register_histogram(self.key(key).as_ref().unwrap_or(key), metadata)
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn what_is_shared_bears_the_name_of_the_device_and_all_else_its_own() {
        let inner = PrometheusBuilder::new().build_recorder();
        let handle = inner.handle();
        let named = Named { inner, from: "sightline_pu_", to: "sightline_nvr_" };
        metrics::with_local_recorder(&named, || {
            metrics::counter!("sightline_pu_gaps_total", "reason" => "away").increment(2);
            metrics::gauge!("sightline_nvr_related_cameras").set(3.0);
            metrics::histogram!("sightline_pu_lag_seconds").record(1.0);
            metrics::counter!("sightline_relay_sightline_pu_total").increment(1);
        });
        let text = handle.render();
        for line in [
            "sightline_nvr_gaps_total{reason=\"away\"} 2",
            "sightline_nvr_related_cameras 3",
            "sightline_nvr_lag_seconds_count 1",
            "sightline_relay_sightline_pu_total 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing:\n{text}");
        }
        assert!(!text.contains("sightline_pu_gaps"), "{text}");
    }
}
