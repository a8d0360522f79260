//! SMS through a provider's HTTP API: one JSON POST each.

use std::time::Duration;

use reqwest::{Client, Url};
use serde_json::Value;
use sightline_model::{PhoneNumber, Secret};

use super::{SmsError, SmsGateway};
use crate::config::HttpGatewayConfig;

/// Posts a JSON template.
#[derive(Debug)]
pub struct HttpGateway {
    client: Client,
    url: Url,
    body: Value,
    token: Option<Secret<String>>,
}

impl HttpGateway {
    /// Checks the settings and reads the token.
    ///
    /// # Errors
    /// [`SmsError::Settings`].
    pub fn new(config: &HttpGatewayConfig) -> Result<Self, SmsError> {
        let wrong = SmsError::Settings;
        let url: Url = config.url.parse().map_err(|_| wrong("url must be a URL"))?;
        let on_loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if url.scheme() != "https" && !on_loopback {
            return Err(wrong("url must be https: codes travel in it"));
        }
        let body: Value =
            serde_json::from_str(&config.body).map_err(|_| wrong("body must be JSON"))?;
        let text = body.to_string();
        if !text.contains("{phone}") || !text.contains("{text}") {
            return Err(wrong("body must hold {phone} and {text}"));
        }
        let token = config.token_file.as_deref().map(|path| {
            sightline_service_kit::config::read_secret(path)
                .map(|secret| Secret::new(secret.to_string()))
                .map_err(|_| wrong("token_file cannot be read or holds less than 16 characters"))
        });
        sightline_service_kit::tls::install_provider();
        let client = Client::builder()
            .timeout(Duration::from_millis(config.timeout_ms))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|_| wrong("the HTTP client cannot be set up"))?;
        Ok(Self { client, url, body, token: token.transpose()? })
    }
}

#[async_trait::async_trait]
impl SmsGateway for HttpGateway {
    async fn send(&self, phone: &PhoneNumber, text: &str) -> Result<(), SmsError> {
        let body = fill(&self.body, phone.expose(), text);
        let mut request = self.client.post(self.url.clone()).json(&body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let response = request.send().await.map_err(|error| {
            if error.is_timeout() {
                SmsError::Timeout
            } else {
                SmsError::Unreachable(error.without_url().to_string())
            }
        })?;
        let status = response.status();
        if status.is_success() { Ok(()) } else { Err(SmsError::Refused(status.to_string())) }
    }
}

/// Replaces in strings of the tree, so that no text can break out of its place.
fn fill(template: &Value, phone: &str, text: &str) -> Value {
    match template {
        // One pass: a number cannot contain a placeholder, so a text is never filled twice.
        Value::String(s) => Value::String(
            s.split("{text}")
                .map(|part| part.replace("{phone}", phone))
                .collect::<Vec<_>>()
                .join(text),
        ),
        Value::Array(items) => items.iter().map(|v| fill(v, phone, text)).collect(),
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), fill(v, phone, text))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => template.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_leave_its_place() {
        let template = serde_json::json!({"m": [{"to": "{phone}", "t": "x {text}"}], "n": 1});
        let filled = fill(&template, "+86138", r#"","to":"+1900 {phone}"#);
        assert_eq!(
            filled,
            serde_json::json!({"m": [{"to": "+86138", "t": r#"x ","to":"+1900 {phone}"#}], "n": 1})
        );
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let with = |url: &str, body: &str| {
            HttpGateway::new(&HttpGatewayConfig {
                url: url.into(),
                body: body.into(),
                ..HttpGatewayConfig::default()
            })
        };
        let good = HttpGatewayConfig::default().body;
        assert!(with("https://sms.example/send", &good).is_ok());
        for (url, body) in [
            ("", good.as_str()),
            ("http://sms.example/send", &good),
            ("https://sms.example/send", "{"),
            ("https://sms.example/send", r#"{"to":"{phone}"}"#),
        ] {
            assert!(with(url, body).is_err(), "{url} {body} was taken");
        }
    }
}
