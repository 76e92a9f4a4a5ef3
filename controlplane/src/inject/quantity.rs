//! Whether Kubernetes will read a text as a quantity; the API server's own answer to a bad one names no annotation.

pub(super) fn is_valid(text: &str) -> bool {
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let decimal = number.bytes().filter(|b| *b == b'.').count() <= 1 && number.bytes().any(|b| b.is_ascii_digit());
    let exponent =
        |power: &str| !power.is_empty() && power.trim_start_matches(['+', '-']).bytes().all(|b| b.is_ascii_digit());
    let unit = matches!(
        suffix,
        "" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E" | "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei"
    );
    decimal && (unit || suffix.strip_prefix(['e', 'E']).is_some_and(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        let good = ["100m", "0.5", "1", "64Mi", "1e3", "2E-1", "1.5Gi", ".5"];
        let bad = ["", "m", "1 Gi", "64MB", "-1", "1.2.3", "1e", "zwei"];
        for text in good {
            assert!(is_valid(text), "quantity {text:?}");
        }
        for text in bad {
            assert!(!is_valid(text), "quantity {text:?}");
        }
    }
}
