//! `[limits]`.

use cmu_domain::limit::Limit;
use serde::Deserialize;

/// Rate limits: so many (`count`) in so many seconds (`per_s`).
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitConfig {
    /// SMS to one number.
    pub sms_per_number: Limit,
    /// SMS asked for by one address.
    pub sms_per_address: Limit,
    /// SMS asked for by one network (/24, /64).
    pub sms_per_network: Limit,
    /// SMS in all.
    pub sms_total: Limit,
    /// Tries to sign in with one number, from wherever.
    pub sign_in_per_number: Limit,
    /// Tries to sign in from one address.
    pub sign_in_per_address: Limit,
    /// Tries to bind by one user.
    pub bind_per_user: Limit,
    /// Tries to bind from one address.
    pub bind_per_address: Limit,
    /// Requests of one user for cameras that are not theirs.
    pub not_found_per_user: Limit,
    /// Play requests of one user.
    pub play_per_user: Limit,
    /// Questions about recordings and changes of plans, for each user.
    pub recordings_per_user: Limit,
}

impl Default for LimitConfig {
    fn default() -> Self {
        let limit = |count, per_s| Limit { count, per_s };
        Self {
            sms_per_number: limit(5, 3_600),
            sms_per_address: limit(10, 3_600),
            sms_per_network: limit(50, 3_600),
            sms_total: limit(1_000, 3_600),
            sign_in_per_number: limit(15, 900),
            sign_in_per_address: limit(60, 900),
            bind_per_user: limit(10, 600),
            bind_per_address: limit(30, 600),
            not_found_per_user: limit(30, 60),
            play_per_user: limit(120, 60),
            recordings_per_user: limit(600, 60),
        }
    }
}
