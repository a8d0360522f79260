//! `login` and `logout`.

use std::{
    io::{BufRead, Write},
    path::Path,
    time::Duration,
};

use serde_json::json;
use sightline_protocol::cm::{RefreshIn, SignInRequest, SmsCodeRequest, SmsCodeSent, Subscription};

use super::Context;
use crate::{
    api::{Api, SignedInApi, tokens_from},
    cli::Login,
    error::{CuError, Exit},
    home::Portal,
    output,
};

/// How long a code file is waited for.
const CODE_FILE_WAIT: Duration = Duration::from_secs(30);

pub(super) async fn login(context: &Context, login: Login) -> Result<(), CuError> {
    let before = context.home.portal().ok();
    let url = login
        .portal
        .or_else(|| before.as_ref().map(|p| p.url.clone()))
        .ok_or_else(|| CuError::usage("say which portal: --portal https://cameras.example.org"))?;
    let ca_pem = match &login.ca {
        Some(file) => Some(read_text(file)?),
        // Another portal has another authority.
        None => before.filter(|p| p.url == url).and_then(|p| p.ca_pem),
    };
    let api = Api::new(&url, ca_pem.as_deref())?;
    let key = context.home.key()?;
    let code = match (login.code, login.code_file) {
        (Some(code), _) => code,
        (None, file) => {
            let seen = file.as_deref().and_then(newest_code);
            let sent = api.send_code(&SmsCodeRequest { phone: login.phone.clone() }).await?;
            match file {
                Some(file) => wait_for_code(&file, seen.as_deref()).await?,
                None => ask_for_code(login.phone.masked(), &sent).await?,
            }
        }
    };
    let request = SignInRequest {
        phone: login.phone,
        code: code.trim().to_owned(),
        client_key: key.public(),
        client_name: login.name,
        refresh_in: RefreshIn::Body,
    };
    let signed_in = api.sign_in(&request).await?;
    let portal = Portal {
        url,
        ca_pem,
        phone_masked: signed_in.user.phone_masked.clone(),
        client: signed_in.client.clone(),
    };
    context.home.save_sign_in(&portal, &tokens_from(&signed_in)?)?;
    if context.json {
        output::json(
            &json!({"signed_in": {"portal": portal.url, "user": signed_in.user, "client": portal.client}}),
        );
    } else {
        output::line(&format!("Signed in at {} as {}.", portal.url, portal.phone_masked));
        match signed_in.user.subscription {
            Subscription::Active => {}
            Subscription::Pending => output::line("The operator has still to approve the account."),
            Subscription::Suspended => output::line("The operator has suspended the account."),
        }
    }
    Ok(())
}

fn read_text(file: &Path) -> Result<String, CuError> {
    std::fs::read_to_string(file)
        .map_err(|e| CuError::usage(format!("cannot read {}: {e}", file.display())))
}

/// The last run of exactly six digits in the file.
fn newest_code(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '+');
    words.rfind(|w| w.len() == 6 && w.bytes().all(|b| b.is_ascii_digit())).map(str::to_owned)
}

async fn wait_for_code(file: &Path, seen: Option<&str>) -> Result<String, CuError> {
    let bar = output::progress("waiting for the code");
    let wait = async {
        loop {
            match newest_code(file) {
                Some(code) if Some(code.as_str()) != seen => return code,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let code = tokio::time::timeout(CODE_FILE_WAIT, wait).await;
    bar.finish_and_clear();
    // The same code can be drawn twice, and a file may have been filled by hand before.
    code.ok().or_else(|| newest_code(file)).ok_or_else(|| {
        CuError::timeout(format!("no code of six digits has come into {}", file.display()))
    })
}

async fn ask_for_code(phone_masked: String, sent: &SmsCodeSent) -> Result<String, CuError> {
    let minutes = sent.expires_in_s.div_ceil(60);
    output::note(&format!("A code is on its way to {phone_masked}; it works for {minutes} min."));
    tokio::task::spawn_blocking(|| {
        let mut err = std::io::stderr();
        let _ = write!(err, "Code: ").and_then(|()| err.flush());
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        match read {
            Ok(n) if n > 0 && !line.trim().is_empty() => Ok(line.trim().to_owned()),
            _ => Err(CuError::usage("no code was typed; give it with --code or --code-file")),
        }
    })
    .await
    .map_err(|e| CuError::other(e.to_string()))?
}

pub(super) async fn logout(context: &Context) -> Result<(), CuError> {
    let api = SignedInApi::open(&context.home)?;
    // The sign-in ends here even when the portal cannot be told: it ends there by itself.
    let told = match api.sign_out().await {
        Ok(()) => true,
        Err(e) if e.exit == Exit::NotSignedIn => true,
        Err(e) => {
            output::complain(&format!("the portal could not be told: {e}"));
            false
        }
    };
    context.home.forget_sign_in()?;
    if context.json {
        output::json(&json!({"signed_out": {"portal_told": told}}));
    } else {
        output::line("Signed out.");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_code_of_a_log_counts() {
        let dir = tempfile::tempdir().expect("dir");
        let file = dir.path().join("sms.log");
        assert_eq!(newest_code(&file), None);
        std::fs::write(&file, "2026-01-02T03:04:05.123456Z +8613800138000 code 111111\n{\"text\":\"222222 is your code\"}\n")
            .expect("write");
        assert_eq!(newest_code(&file).as_deref(), Some("222222"));
        std::fs::write(&file, "nothing 1234567 here abc123\n").expect("write");
        assert_eq!(newest_code(&file), None);
    }
}
