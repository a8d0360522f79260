//! Which numbers get an SMS at all: SMS pumping sends codes to expensive numbers abroad.

use sightline_model::PhoneNumber;

/// Why a number gets no SMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such number can exist in its country's plan.
    #[error("this is not a number that can receive an SMS; please check it")]
    NotANumber,
    /// The operator does not serve the country.
    #[error("numbers of this country are not served here")]
    Country,
}

/// Checks a number against its country's numbering plan and the operator's list of countries
/// (ISO 3166 alpha-2, such as `CN`). An empty list admits every country.
///
/// # Errors
/// [`Refusal`], the caller's fault.
pub fn admit(phone: &PhoneNumber, countries: &[String]) -> Result<(), Refusal> {
    let number = phonenumber::parse(None, phone.expose()).map_err(|_| Refusal::NotANumber)?;
    if !phonenumber::is_valid(&number) {
        return Err(Refusal::NotANumber);
    }
    let country = number.country().id().ok_or(Refusal::NotANumber)?;
    let listed = countries.iter().any(|c| c.eq_ignore_ascii_case(country.as_ref()));
    if countries.is_empty() || listed { Ok(()) } else { Err(Refusal::Country) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(number: &str, countries: &[&str]) -> Result<(), Refusal> {
        let countries: Vec<String> = countries.iter().map(|c| (*c).to_owned()).collect();
        admit(&number.parse().expect("E.164"), &countries)
    }

    #[test]
    fn countries_off_the_list_get_nothing() {
        assert_eq!(check("+8613800138000", &["CN"]), Ok(()));
        assert_eq!(check("+8613800138000", &[]), Ok(()));
        assert_eq!(check("+4915112345678", &["CN"]), Err(Refusal::Country));
    }

    #[test]
    fn impossible_numbers_get_nothing() {
        for bad in ["+8600000000000", "+9991234567890"] {
            assert_eq!(check(bad, &[]), Err(Refusal::NotANumber), "{bad} was taken");
        }
    }
}
