//! The quality that is asked for, as it is typed.

use sightline_model::{QualityChoice, StreamTier};

/// `auto`, `main`, `sub`, `keyframes`, or `WIDTHxHEIGHT@FPS`.
///
/// # Errors
/// What may be typed, in words.
pub(crate) fn quality(text: &str) -> Result<QualityChoice, String> {
    let wrong = || "must be auto, main, sub, keyframes, or like 640x360@10".to_owned();
    match text {
        "auto" => return Ok(QualityChoice::Auto),
        "main" => return Ok(QualityChoice::Tier { tier: StreamTier::Main }),
        "sub" => return Ok(QualityChoice::Tier { tier: StreamTier::Sub }),
        "keyframes" => return Ok(QualityChoice::Keyframes),
        _ => {}
    }
    let (size, fps) = text.split_once('@').ok_or_else(wrong)?;
    let (width, height) = size.split_once('x').ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
    let (width, height, fps) = (number(width)?, number(height)?, number(fps)?);
    let even = width % 2 == 0 && height % 2 == 0;
    if !even
        || !(16..=3_840).contains(&width)
        || !(16..=2_160).contains(&height)
        || !(1..=60).contains(&fps)
    {
        return Err("width and height must be even, up to 3840x2160, the rate 1 to 60".to_owned());
    }
    Ok(QualityChoice::Exact { width, height, fps })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_in_words_and_figures() {
        assert_eq!(quality("auto"), Ok(QualityChoice::Auto));
        assert_eq!(
            quality("640x360@10"),
            Ok(QualityChoice::Exact { width: 640, height: 360, fps: 10 })
        );
        for bad in ["", "best", "640x360", "641x360@10", "640x360@0", "99999x10@5", "x@", "-2x2@2"]
        {
            assert!(quality(bad).is_err(), "{bad:?} was taken");
        }
    }
}
