//! Signing in, and who somebody is then.

use serde::{Deserialize, Serialize};
use sightline_model::{ClientId, PhoneNumber, PublicKey, SessionToken, UserId};

/// `POST /sms-codes`: send a one-time code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SmsCodeRequest {
    /// Where to.
    pub phone: PhoneNumber,
}

/// The code is on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SmsCodeSent {
    /// How long the code works.
    pub expires_in_s: u32,
    /// When another may be asked for.
    pub retry_after_s: u32,
}

/// `POST /sessions`: sign in; the first time makes the account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignInRequest {
    /// Whose account.
    pub phone: PhoneNumber,
    /// The code from the SMS.
    pub code: String,
    /// The client's own key; play tokens will be bound to it.
    pub client_key: PublicKey,
    /// What the person calls this client, such as "Chrome on Windows".
    #[serde(default)]
    pub client_name: String,
    /// Where the refresh token goes: a cookie that scripts cannot read, or the body.
    #[serde(default)]
    pub refresh_in: RefreshIn,
}

/// Where a refresh token travels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RefreshIn {
    /// `HttpOnly`, `SameSite=Strict` cookie.
    #[default]
    Cookie,
    /// JSON body, for programs.
    Body,
}

/// `POST /sessions/refresh`; the body may be empty when a cookie is sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RefreshRequest {
    /// The refresh token, when it did not come in a cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub refresh_token: Option<SessionToken>,
}

/// Signed in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignedIn {
    /// Bearer token for the API.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub access_token: SessionToken,
    /// How long it works.
    pub expires_in_s: u32,
    /// Only with [`RefreshIn::Body`]. Each use gives a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub refresh_token: Option<SessionToken>,
    /// Who.
    pub user: User,
    /// Which client.
    pub client: ClientId,
}

/// `GET /me`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct User {
    /// The account.
    pub id: UserId,
    /// The number with its middle hidden.
    pub phone_masked: String,
    /// Whether the operator has approved the subscription.
    pub subscription: Subscription,
    /// Whether the person works for the operator.
    pub is_operator: bool,
}

/// State of an account (A6.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Subscription {
    /// Waits for the operator.
    Pending,
    /// In use.
    Active,
    /// Refused or suspended by the operator.
    Suspended,
}
